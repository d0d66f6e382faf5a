//! A persistent hash table: a copy shares everything, a change copies one path.
//!
//! Values are found by a hash of 64 bits alone; whoever looks up compares what it finds. A node splits 32 ways, five
//! bits of the hash at a time, so 100 000 values are three nodes deep, of which the upper two stay in the cache.

use std::sync::Arc;

use arrayvec::ArrayVec;

/// Bits of the hash a branch decides by.
const STEP_BITS: u32 = 5;
const WIDTH: usize = 1 << STEP_BITS;
/// Branches on the way to a leaf at most: by then every bit of the hash is used up.
const MOST_BRANCHES: u32 = u64::BITS.div_ceil(STEP_BITS);
/// Values a leaf may hold before it is split, unless they all have one hash: half as many as a branch has room for, lest
/// it be nearly empty when a leaf has just become one.
const LEAF: usize = 16;

#[derive(Clone, Debug)]
struct Entry<V> {
    hash: u64,
    /// None only while it is moved to another leaf.
    value: Option<V>,
}

impl<V> Entry<V> {
    const fn take(&mut self) -> Self {
        Self { hash: self.hash, value: self.value.take() }
    }
}

#[derive(Clone, Debug)]
enum Node<V> {
    Empty,
    Leaf(Arc<[Entry<V>]>),
    Branch(Arc<[Self; WIDTH]>),
}

/// See the module's text.
#[derive(Clone, Debug)]
pub(crate) struct Trie<V> {
    root: Node<V>,
    len: usize,
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self { root: Node::Empty, len: 0 }
    }
}

impl<V> Trie<V> {
    /// Number of values.
    #[must_use]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no value.
    #[must_use]
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Walks over the values of a hash, in the order [`Self::insert`] gave them.
    #[inline]
    pub(crate) fn get(&self, hash: u64) -> impl Iterator<Item = &V> {
        self.leaf(hash)
            .iter()
            .filter(move |entry| entry.hash == hash)
            .filter_map(|entry| entry.value.as_ref())
    }

    #[inline]
    fn leaf(&self, hash: u64) -> &[Entry<V>] {
        let mut node = &self.root;
        let mut rest = hash;
        loop {
            match node {
                Node::Empty => return &[],
                Node::Leaf(entries) => return entries,
                Node::Branch(nodes) => {
                    // The index is below the width, so there is always one.
                    let Some(next) = nodes.get(index(rest)) else { return &[] };
                    node = next;
                    rest >>= STEP_BITS;
                }
            }
        }
    }

    /// Walks over all values, those of one hash together.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &V> {
        let mut walk = Walk { leaf: [].iter(), branches: ArrayVec::new() };
        walk.enter(&self.root);
        walk
    }
}

impl<V: Clone> Trie<V> {
    /// Adds a value, before the first of its hash that `follows` it.
    pub(crate) fn insert(&mut self, hash: u64, value: V, follows: impl Fn(&V) -> bool) {
        let (mut node, mut depth) = (&mut self.root, 0);
        while let Node::Branch(nodes) = node {
            let Some(next) = Arc::make_mut(nodes).get_mut(index(hash >> (STEP_BITS * depth))) else { return };
            (node, depth) = (next, depth + 1);
        }
        let follows = |entry: &Entry<V>| entry.hash == hash && entry.value.as_ref().is_some_and(&follows);
        let entry = Entry { hash, value: Some(value) };
        *node = match node {
            Node::Leaf(entries) => {
                let at = entries.iter().position(follows).unwrap_or(entries.len());
                let mut larger = larger(entries, at, entry);
                if larger.len() > LEAF { grown(moved(&mut larger), depth) } else { Node::Leaf(larger) }
            }
            Node::Empty | Node::Branch(_) => Node::Leaf(Arc::new([entry])),
        };
        self.len += 1;
    }

    /// Takes the first value of a hash out that `is` the one.
    pub(crate) fn remove(&mut self, hash: u64, is: impl Fn(&V) -> bool) -> Option<V> {
        // Nothing is copied for a value that is not there.
        self.get(hash).find(|value| is(value))?;
        let taken = take(&mut self.root, hash, hash, &is);
        self.len -= usize::from(taken.is_some());
        taken
    }

    /// Changes the first value of a hash that `is` the one; false if there is none.
    pub(crate) fn change(&mut self, hash: u64, is: impl Fn(&V) -> bool, change: impl FnOnce(&mut V)) -> bool {
        if !self.get(hash).any(&is) {
            return false;
        }
        let (mut node, mut rest) = (&mut self.root, hash);
        while let Node::Branch(nodes) = node {
            let Some(next) = Arc::make_mut(nodes).get_mut(index(rest)) else { return false };
            (node, rest) = (next, rest >> STEP_BITS);
        }
        let Node::Leaf(entries) = node else { return false };
        let of_hash = Arc::make_mut(entries).iter_mut().filter(|entry| entry.hash == hash);
        let mut values = of_hash.filter_map(|entry| entry.value.as_mut());
        values.find(|value| is(value)).map(change).is_some()
    }
}

/// Returns a leaf with one entry more; those there are are moved if no copy shares them.
fn larger<V: Clone>(leaf: &mut Arc<[Entry<V>]>, at: usize, entry: Entry<V>) -> Arc<[Entry<V>]> {
    // The length is known before: it takes one piece of memory and no copy of that.
    let one = std::iter::once(entry);
    if let Some(own) = Arc::get_mut(leaf) {
        let (before, behind) = own.split_at_mut(at);
        return before
            .iter_mut()
            .map(Entry::take)
            .chain(one)
            .chain(behind.iter_mut().map(Entry::take))
            .collect();
    }
    let (before, behind) = leaf.split_at(at);
    before.iter().cloned().chain(one).chain(behind.iter().cloned()).collect()
}

/// Takes the entries of a leaf that is made anew: moved if no copy shares it.
fn moved<V: Clone>(leaf: &mut Arc<[Entry<V>]>) -> Vec<Entry<V>> {
    match Arc::get_mut(leaf) {
        Some(own) => own.iter_mut().map(Entry::take).collect(),
        None => leaf.to_vec(),
    }
}

/// Returns a node for entries that all come to it at this depth.
fn grown<V: Clone>(entries: Vec<Entry<V>>, depth: u32) -> Node<V> {
    let alike = entries.iter().zip(entries.iter().skip(1)).all(|(one, other)| one.hash == other.hash);
    if entries.len() <= LEAF || alike || depth == MOST_BRANCHES {
        return if entries.is_empty() { Node::Empty } else { Node::Leaf(entries.into()) };
    }
    let mut parts = [const { Vec::new() }; WIDTH];
    for entry in entries {
        if let Some(part) = parts.get_mut(index(entry.hash >> (STEP_BITS * depth))) {
            part.push(entry);
        }
    }
    Node::Branch(Arc::new(parts.map(|part| grown(part, depth + 1))))
}

/// Takes a value out below a node; a branch that has nothing left goes too.
fn take<V: Clone>(node: &mut Node<V>, hash: u64, rest: u64, is: &impl Fn(&V) -> bool) -> Option<V> {
    let (taken, empty) = match node {
        Node::Empty => return None,
        Node::Leaf(entries) => {
            let is = |entry: &Entry<V>| entry.hash == hash && entry.value.as_ref().is_some_and(is);
            let at = entries.iter().position(is)?;
            let mut left = moved(entries);
            let taken = left.remove(at).value?;
            let empty = left.is_empty();
            *entries = left.into();
            (taken, empty)
        }
        Node::Branch(nodes) => {
            let nodes = Arc::make_mut(nodes);
            let taken = take(nodes.get_mut(index(rest))?, hash, rest >> STEP_BITS, is)?;
            (taken, nodes.iter().all(|node| matches!(node, Node::Empty)))
        }
    };
    if empty {
        *node = Node::Empty;
    }
    Some(taken)
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
const fn index(hash: u64) -> usize {
    hash as usize % WIDTH
}

/// A walk over all values; it allocates nothing.
struct Walk<'a, V> {
    leaf: std::slice::Iter<'a, Entry<V>>,
    branches: ArrayVec<std::slice::Iter<'a, Node<V>>, { MOST_BRANCHES as usize }>,
}

impl<'a, V> Walk<'a, V> {
    fn enter(&mut self, node: &'a Node<V>) {
        match node {
            Node::Empty => {}
            Node::Leaf(entries) => self.leaf = entries.iter(),
            Node::Branch(nodes) => self.branches.push(nodes.iter()),
        }
    }
}

impl<'a, V> Iterator for Walk<'a, V> {
    type Item = &'a V;

    fn next(&mut self) -> Option<&'a V> {
        loop {
            if let Some(entry) = self.leaf.next() {
                return entry.value.as_ref();
            }
            match self.branches.last_mut()?.next() {
                Some(node) => self.enter(node),
                None => drop(self.branches.pop()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Hashes that meet in all their bits, in some, and in none.
    fn hash() -> impl Strategy<Value = u64> {
        prop_oneof![0..4_u64, (0..64_u64).prop_map(|n| n << 59), any::<u64>()]
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_table_holds_and_copies_keep_what_they_had(
            changes in proptest::collection::vec((hash(), 0..40_u8, any::<bool>()), 1..300)
        ) {
            let mut trie = Trie::default();
            let mut plain: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
            let mut copy = (trie.clone(), plain.clone());
            for (at, (hash, value, put)) in changes.into_iter().enumerate() {
                let values = plain.entry(hash).or_default();
                if put {
                    trie.insert(hash, value, |other| *other > value);
                    values.push(value);
                    values.sort_unstable();
                } else {
                    let found = values.iter().position(|other| *other == value).map(|at| values.remove(at));
                    prop_assert_eq!(trie.remove(hash, |other| *other == value), found);
                }
                prop_assert!(trie.get(hash).eq(&plain[&hash]));
                if at % 50 == 0 {
                    copy = (trie.clone(), plain.clone());
                }
            }
            for (trie, plain) in [(&trie, &plain), (&copy.0, &copy.1)] {
                prop_assert!(plain.iter().all(|(hash, values)| trie.get(*hash).eq(values)));
                let mut all: Vec<u8> = trie.iter().copied().collect();
                let mut expected: Vec<u8> = plain.values().flatten().copied().collect();
                all.sort_unstable();
                expected.sort_unstable();
                prop_assert_eq!(trie.len(), all.len());
                prop_assert_eq!(all, expected);
            }
        }
    }

    #[test]
    fn a_change_copies_one_path_and_shares_the_rest() {
        let mut trie = Trie::default();
        for number in 0..4096_u64 {
            trie.insert(number, number, |_| false);
        }
        let before = trie.clone();
        assert!(trie.change(7, |value| *value == 7, |value| *value = 8));
        let (Node::Branch(new), Node::Branch(old)) = (&trie.root, &before.root) else { panic!("a leaf") };
        let shared = new.iter().zip(old.iter()).filter(|pair| match pair {
            (Node::Branch(new), Node::Branch(old)) => Arc::ptr_eq(new, old),
            _ => false,
        });
        assert_eq!(shared.count(), WIDTH - 1);
        assert_eq!((trie.get(7).next(), before.get(7).next()), (Some(&8), Some(&7)));
    }

    #[test]
    fn what_is_taken_out_leaves_no_node_behind() {
        let mut trie = Trie::default();
        for number in 0..1000_u64 {
            trie.insert(number << 40, number, |_| false);
        }
        for number in 0..1000_u64 {
            assert_eq!(trie.remove(number << 40, |_| true), Some(number));
        }
        assert!(matches!(trie.root, Node::Empty) && trie.is_empty());
    }
}
