//! A persistent array of optional shared values: a copy shares all branches, a change copies one leaf and its branch.
//!
//! The SAD of a snapshot is such an array by slot number, so a change of one SA costs work for one SA however many
//! there are, and a look-up is three loads, of which the first two stay in the cache.

use std::sync::Arc;

/// Values of one leaf, and leaves of one branch; a power of two.
const WIDTH: usize = 64;

type Leaf<T> = [Option<Arc<T>>; WIDTH];
type Branch<T> = [Option<Arc<Leaf<T>>>; WIDTH];

/// See the module's text.
#[derive(Debug)]
pub struct Slots<T> {
    branches: Vec<Option<Arc<Branch<T>>>>,
    len: usize,
}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Self {
        Self { branches: self.branches.clone(), len: self.len }
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { branches: Vec::new(), len: 0 }
    }
}

/// Takes an index apart: branch, leaf in it, place in that.
#[inline]
const fn place(index: u32) -> (usize, usize, usize) {
    let index = index as usize;
    (index / WIDTH / WIDTH, index / WIDTH % WIDTH, index % WIDTH)
}

impl<T> Slots<T> {
    /// Returns the value at `index`.
    #[must_use]
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Arc<T>> {
        self.entry(index)?.as_ref()
    }

    /// Returns where the value at `index` stands, if anything stands near it.
    #[must_use]
    #[inline]
    pub fn entry(&self, index: u32) -> Option<&Option<Arc<T>>> {
        let (branch, leaf, at) = place(index);
        self.branches.get(branch)?.as_ref()?.get(leaf)?.as_ref()?.get(at)
    }

    /// Starts to load what [`Self::get`] reads last.
    #[inline]
    pub fn prefetch(&self, index: u32) {
        if let Some(entry) = self.entry(index) {
            dpdk::prefetch(entry);
        }
    }

    /// Stores `value` at `index` and returns what was there.
    pub fn set(&mut self, index: u32, value: Option<Arc<T>>) -> Option<Arc<T>> {
        let (branch, leaf, at) = place(index);
        if value.is_none() {
            // Nothing is made or copied for a value that is not there.
            self.get(index)?;
        }
        if branch >= self.branches.len() {
            self.branches.resize(branch + 1, None);
        }
        let branch = self.branches.get_mut(branch)?;
        let leaves = Arc::make_mut(branch.get_or_insert_with(|| Arc::new([const { None }; WIDTH])));
        let leaf = leaves.get_mut(leaf)?.get_or_insert_with(|| Arc::new([const { None }; WIDTH]));
        let stored = value.is_some();
        let old = std::mem::replace(Arc::make_mut(leaf).get_mut(at)?, value);
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
        let leaves = self.branches.iter().flatten().flat_map(|branch| branch.iter().flatten());
        leaves.flat_map(|leaf| leaf.iter().flatten())
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
    fn a_change_copies_only_its_own_leaf_and_branch() {
        let mut slots = Slots::default();
        for index in [0, WIDTH, WIDTH * WIDTH] {
            slots.set(u32::try_from(index).unwrap(), Some(Arc::new(index)));
        }
        let before = slots.clone();
        slots.set(0, Some(Arc::new(2)));
        let branches = |slots: &Slots<usize>| [0, 1].map(|at| slots.branches[at].clone().unwrap());
        let (new, old) = (branches(&slots), branches(&before));
        assert!(!Arc::ptr_eq(&new[0], &old[0]) && Arc::ptr_eq(&new[1], &old[1]));
        let leaves = |branch: &Branch<usize>| [0, 1].map(|at| branch[at].clone().unwrap());
        let (new, old) = (leaves(&new[0]), leaves(&old[0]));
        assert!(!Arc::ptr_eq(&new[0], &old[0]) && Arc::ptr_eq(&new[1], &old[1]));
    }

    #[test]
    fn an_index_nobody_set_is_empty() {
        let mut slots = Slots::<u8>::default();
        assert!(slots.get(1 << 20).is_none());
        assert!(slots.set(1 << 20, None).is_none());
        assert!(slots.is_empty());
    }
}
