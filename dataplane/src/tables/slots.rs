//! A persistent array of optional shared values: a copy shares all leaves, a change copies one leaf.
//!
//! The SAD of a snapshot is such an array by slot number, so a change of one SA costs work for one SA however many
//! there are, and a look-up is two loads.

use std::sync::Arc;

/// Values of one leaf; a power of two.
const LEAF: usize = 128;

type Leaf<T> = [Option<Arc<T>>; LEAF];

/// See the module's text.
#[derive(Debug)]
pub struct Slots<T> {
    leaves: Vec<Option<Arc<Leaf<T>>>>,
    len: usize,
}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Self {
        Self { leaves: self.leaves.clone(), len: self.len }
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { leaves: Vec::new(), len: 0 }
    }
}

impl<T> Slots<T> {
    /// Returns the value at `index`.
    #[must_use]
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Arc<T>> {
        let index = index as usize;
        self.leaves.get(index / LEAF)?.as_ref()?.get(index % LEAF)?.as_ref()
    }

    /// Stores `value` at `index` and returns what was there.
    pub fn set(&mut self, index: u32, value: Option<Arc<T>>) -> Option<Arc<T>> {
        let index = index as usize;
        let leaf_index = index / LEAF;
        if leaf_index >= self.leaves.len() {
            value.as_ref()?;
            self.leaves.resize(leaf_index + 1, None);
        }
        let leaf = self.leaves.get_mut(leaf_index)?;
        let cells = leaf.get_or_insert_with(|| Arc::new([const { None }; LEAF]));
        let stored = value.is_some();
        let old = std::mem::replace(Arc::make_mut(cells).get_mut(index % LEAF)?, value);
        self.len = self.len + usize::from(stored) - usize::from(old.is_some());
        old
    }

    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Walks over all values in the order of their index.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.leaves.iter().flatten().flat_map(|leaf| leaf.iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_what_it_had_when_the_original_changes() {
        let mut slots = Slots::default();
        slots.set(5, Some(Arc::new("five")));
        slots.set(1000, Some(Arc::new("thousand")));
        let copy = slots.clone();
        assert_eq!(slots.set(5, None).as_deref(), Some(&"five"));
        assert!(slots.get(5).is_none());
        assert_eq!(copy.get(5).map(|value| **value), Some("five"));
        assert_eq!((slots.len(), copy.len()), (1, 2));
    }

    #[test]
    fn a_change_copies_only_its_own_leaf() {
        let mut slots = Slots::default();
        slots.set(0, Some(Arc::new(0)));
        slots.set(u32::try_from(LEAF).unwrap(), Some(Arc::new(1)));
        let before = slots.clone();
        slots.set(0, Some(Arc::new(2)));
        assert!(Arc::ptr_eq(slots.leaves[1].as_ref().unwrap(), before.leaves[1].as_ref().unwrap()));
        assert!(!Arc::ptr_eq(slots.leaves[0].as_ref().unwrap(), before.leaves[0].as_ref().unwrap()));
    }

    #[test]
    fn an_index_nobody_set_is_empty() {
        let mut slots = Slots::<u8>::default();
        assert!(slots.get(1 << 20).is_none());
        assert!(slots.set(1 << 20, None).is_none());
        assert!(slots.is_empty());
    }
}
