//! Values under keys that are hashes: mostly one or two under each, under some thousands, in order.
//!
//! A hash table that grows is filled anew as a whole, which would take the control thread milliseconds; of these many
//! small ones each grows by itself.

use std::collections::BTreeSet;
use std::collections::hash_map::Entry;
use std::ops::RangeInclusive;

use arrayvec::ArrayVec;
use rustc_hash::FxHashMap;

/// Tables the keys are shared out to: with a million keys each has a few hundred.
const SHARDS: usize = 4096;
/// Values that stand under a key without memory of their own.
const FEW: usize = 2;

enum Bucket<T> {
    Few(ArrayVec<T, FEW>),
    Many(BTreeSet<T>),
}

/// See the module's text.
pub(super) struct Buckets<T>(Box<[FxHashMap<u64, Bucket<T>>]>);

impl<T> Default for Buckets<T> {
    fn default() -> Self {
        Self((0..SHARDS).map(|_| FxHashMap::default()).collect())
    }
}

impl<T: Copy + Ord> Buckets<T> {
    /// By bits that the table itself does not look at.
    #[allow(clippy::cast_possible_truncation, reason = "the high bits shifted down")]
    const fn shard(key: u64) -> usize {
        (key >> 32) as usize % SHARDS
    }

    /// Puts a value under a key; there is one of its kind at the most.
    pub(super) fn insert(&mut self, key: u64, value: T) {
        let Some(shard) = self.0.get_mut(Self::shard(key)) else { return };
        match shard.entry(key) {
            Entry::Occupied(mut there) => there.get_mut().insert(value),
            Entry::Vacant(place) => _ = place.insert(Bucket::Few([value].into_iter().collect())),
        }
    }

    /// Takes a value away, if it is there.
    pub(super) fn remove(&mut self, key: u64, value: &T) {
        let Some(shard) = self.0.get_mut(Self::shard(key)) else { return };
        let Entry::Occupied(mut there) = shard.entry(key) else { return };
        there.get_mut().remove(value);
        if there.get().is_empty() {
            there.remove();
            if shard.is_empty() {
                *shard = FxHashMap::default();
            }
        }
    }

    fn bucket(&self, key: u64) -> Option<&Bucket<T>> {
        self.0.get(Self::shard(key))?.get(&key)
    }

    /// Returns every value under a key.
    pub(super) fn all(&self, key: u64) -> impl Iterator<Item = &T> {
        self.bucket(key).into_iter().flat_map(Bucket::iter)
    }

    /// Returns the values under a key that lie in a range.
    pub(super) fn range(&self, key: u64, range: RangeInclusive<T>) -> impl Iterator<Item = &T> {
        self.bucket(key).into_iter().flat_map(move |bucket| bucket.range(range.clone()))
    }
}

impl<T: Copy + Ord> Bucket<T> {
    fn insert(&mut self, value: T) {
        match self {
            Self::Few(few) if few.contains(&value) => {}
            Self::Few(few) if few.is_full() => {
                *self = Self::Many(few.iter().copied().chain([value]).collect())
            }
            Self::Few(few) => few.push(value),
            Self::Many(many) => _ = many.insert(value),
        }
    }

    fn remove(&mut self, value: &T) {
        match self {
            Self::Few(few) => few.retain(|other| other != value),
            Self::Many(many) => _ = many.remove(value),
        }
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    fn parts(&self) -> (&[T], Option<&BTreeSet<T>>) {
        match self {
            Self::Few(few) => (few, None),
            Self::Many(many) => (&[], Some(many)),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        let (few, many) = self.parts();
        few.iter().chain(many.into_iter().flatten())
    }

    fn range(&self, range: RangeInclusive<T>) -> impl Iterator<Item = &T> {
        let (few, many) = self.parts();
        let of_many = many.map(|many| many.range(range.clone()));
        few.iter().filter(move |value| range.contains(value)).chain(of_many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_set_for_each_key_holds(
            changes in proptest::collection::vec((0..3_u64, 0..12_u8, any::<bool>()), 1..120)
        ) {
            let mut buckets = Buckets::default();
            let mut plain: BTreeMap<u64, BTreeSet<u8>> = BTreeMap::new();
            for (key, value, put) in changes {
                let values = plain.entry(key).or_default();
                if put {
                    buckets.insert(key, value);
                    values.insert(value);
                } else {
                    buckets.remove(key, &value);
                    values.remove(&value);
                }
                prop_assert_eq!(buckets.all(key).copied().collect::<BTreeSet<_>>(), values.clone());
                let part: BTreeSet<u8> = buckets.range(key, 3..=8).copied().collect();
                prop_assert!(part.iter().eq(values.range(3..=8)));
                prop_assert_eq!(buckets.bucket(key).is_some(), !values.is_empty());
            }
        }
    }
}
