//! Values by key in the keys' order, in one piece of memory: for a few hundred keys, most of which come in order.

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Ordered<K, V>(Vec<(K, V)>);

impl<K, V> Default for Ordered<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Ord, V> Ordered<K, V> {
    /// Returns one without values, with room for as many.
    pub(crate) fn with_capacity(values: usize) -> Self {
        Self(Vec::with_capacity(values))
    }

    /// Puts a value under a key, in place of the one there.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.0.last().is_none_or(|(last, _)| *last < key) {
            return self.0.push((key, value));
        }
        match self.0.binary_search_by(|(other, _)| other.cmp(&key)) {
            Ok(at) => {
                if let Some(place) = self.0.get_mut(at) {
                    place.1 = value;
                }
            }
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// Returns the value under a key.
    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        let at = self.0.binary_search_by(|(other, _)| other.cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Returns how many keys there are.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the values by key.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }
}

impl<K, V> IntoIterator for Ordered<K, V> {
    type Item = (K, V);
    type IntoIter = std::vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_in_the_order_of_their_keys_and_the_last_of_a_key_counts() {
        let mut ordered = Ordered::default();
        for (key, value) in [(3, 'a'), (7, 'b'), (5, 'c'), (1, 'd'), (7, 'e'), (3, 'f'), (9, 'g')] {
            ordered.insert(key, value);
        }
        assert_eq!((ordered.len(), ordered.get(&5), ordered.get(&6)), (5, Some(&'c'), None));
        assert_eq!(ordered.values().collect::<String>(), "dfceg");
        assert!(ordered.into_iter().map(|(key, _)| key).eq([1, 3, 5, 7, 9]));
    }
}
