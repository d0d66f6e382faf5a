//! Slots under keys that peers have a say in: found by a hash with a seed of its own, so that nobody can choose many keys
//! of one hash.

use std::collections::HashMap;
use std::hash::Hash;

use arrayvec::ArrayVec;
use foldhash::fast::RandomState;

/// Slots that stand under a key without memory of their own.
const FEW: usize = 4;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Index<K, S>(HashMap<K, Bag<S>, RandomState>);

#[derive(Debug)]
enum Bag<S> {
    Few(ArrayVec<S, FEW>),
    Many(Vec<S>),
}

impl<K, S> Default for Index<K, S> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Hash + Eq, S: Copy + Eq> Index<K, S> {
    /// Adds a slot that is not yet there, behind the others of its key.
    pub(crate) fn insert(&mut self, key: K, slot: S) {
        match self.0.entry(key).or_insert_with(|| Bag::Few(ArrayVec::new())) {
            Bag::Many(many) => many.push(slot),
            Bag::Few(few) if !few.is_full() => few.push(slot),
            full @ Bag::Few(_) => {
                let slots = full.slots().iter().copied();
                *full = Bag::Many(slots.chain([slot]).collect());
            }
        }
    }

    /// Takes a slot away, if it is there.
    pub(crate) fn remove(&mut self, key: &K, slot: S) {
        let Some(bag) = self.0.get_mut(key) else { return };
        match bag {
            Bag::Few(few) => few.retain(|other| *other != slot),
            Bag::Many(many) => many.retain(|other| *other != slot),
        }
        if bag.slots().is_empty() {
            self.0.remove(key);
        }
    }

    /// Returns the slots of a key.
    pub(crate) fn get(&self, key: &K) -> &[S] {
        self.0.get(key).map_or(&[], Bag::slots)
    }
}

impl<S> Bag<S> {
    fn slots(&self) -> &[S] {
        match self {
            Self::Few(few) => few,
            Self::Many(many) => many,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_a_key_keep_their_order_however_many_there_are() {
        let mut index = Index::default();
        for slot in 0..10_u32 {
            index.insert(slot % 2, slot);
        }
        assert_eq!(
            (index.get(&0), index.get(&1), index.get(&2)),
            (&[0, 2, 4, 6, 8][..], &[1, 3, 5, 7, 9][..], &[][..])
        );
        index.remove(&0, 4);
        index.remove(&0, 5);
        index.insert(0, 4);
        assert_eq!(index.get(&0), [0, 2, 6, 8, 4]);
    }

    #[test]
    fn a_key_without_slots_is_gone() {
        let mut index = Index::default();
        index.insert("a", 1);
        index.insert("a", 2);
        index.remove(&"a", 1);
        assert_eq!((index.get(&"a"), index.0.len()), (&[2][..], 1));
        index.remove(&"a", 2);
        assert!(index.0.is_empty());
    }
}
