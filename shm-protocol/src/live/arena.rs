//! Which parts of the window arena are free: blocks of power-of-two length, in the engine's own memory.
//!
//! Nothing of it is in the segment: at attach everything is free and the slots' windows are reserved again.

use std::collections::BTreeSet;

/// Smallest block: 64 words serve a window of 2016. Units: log2 of words.
pub(super) const SMALLEST_LOG2: u32 = 6;
/// Largest block: 2^16 words serve a window of 2^20. Units: log2 of words.
pub(super) const LARGEST_LOG2: u32 = 16;
const CLASSES: usize = (LARGEST_LOG2 - SMALLEST_LOG2 + 1) as usize;

/// Free blocks by class; a block of class n begins at a multiple of its length.
pub(super) struct Arena {
    free: [BTreeSet<u32>; CLASSES],
    /// Everything from here on was never used. Units: words.
    untouched: u32,
    words: u32,
}

/// A block: first word and class. Units: words, log2 of words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Block {
    pub(super) word: u32,
    pub(super) log2: u32,
}

impl Block {
    /// Length. Units: words.
    pub(super) const fn words(self) -> u32 {
        1 << self.log2
    }
}

impl Arena {
    /// Returns an arena in which everything is free.
    pub(super) fn new(words: u32) -> Self {
        Self { free: std::array::from_fn(|_| BTreeSet::new()), untouched: 0, words }
    }

    /// Returns the class of the smallest block that holds `words`; `None` if none does.
    pub(super) fn class(words: u32) -> Option<u32> {
        let log2 = words.checked_next_power_of_two()?.trailing_zeros().max(SMALLEST_LOG2);
        (log2 <= LARGEST_LOG2).then_some(log2)
    }

    fn class_of(&mut self, log2: u32) -> Option<&mut BTreeSet<u32>> {
        usize::try_from(log2.checked_sub(SMALLEST_LOG2)?).ok().and_then(|class| self.free.get_mut(class))
    }

    /// Takes a block of class `log2`; `None` when there is no room.
    pub(super) fn take(&mut self, log2: u32) -> Option<Block> {
        for larger in log2..=LARGEST_LOG2 {
            if let Some(word) = self.class_of(larger)?.pop_first() {
                // The upper halves stay free.
                for half in log2..larger {
                    self.class_of(half)?.insert(word + (1 << half));
                }
                return Some(Block { word, log2 });
            }
        }
        if self.words.checked_sub(self.untouched)? < 1 << LARGEST_LOG2 {
            return None;
        }
        let word = self.untouched;
        self.untouched += 1 << LARGEST_LOG2;
        self.class_of(LARGEST_LOG2)?.insert(word);
        self.take(log2)
    }

    /// Takes exactly `block`, found in a slot at attach; false if it is no block or not free.
    pub(super) fn reserve(&mut self, block: Block) -> bool {
        let end = block.word.checked_add(block.words());
        if !(SMALLEST_LOG2..=LARGEST_LOG2).contains(&block.log2)
            || !block.word.is_multiple_of(block.words())
            || end.is_none_or(|end| end > self.words)
        {
            return false;
        }
        while self.untouched <= block.word {
            let word = self.untouched;
            self.untouched += 1 << LARGEST_LOG2;
            if let Some(class) = self.class_of(LARGEST_LOG2) {
                class.insert(word);
            }
        }
        // Find the free block around it, then split down to it.
        for larger in block.log2..=LARGEST_LOG2 {
            let around = block.word & !((1 << larger) - 1);
            if self.class_of(larger).is_some_and(|class| class.remove(&around)) {
                for half in (block.log2..larger).rev() {
                    let buddy = (block.word & !((1 << half) - 1)) ^ (1 << half);
                    if let Some(class) = self.class_of(half) {
                        class.insert(buddy);
                    }
                }
                return true;
            }
        }
        false
    }

    /// Gives a block back and joins it with its free buddies.
    pub(super) fn give(&mut self, block: Block) {
        let Block { mut word, mut log2 } = block;
        while log2 < LARGEST_LOG2 {
            let buddy = word ^ (1 << log2);
            if !self.class_of(log2).is_some_and(|class| class.remove(&buddy)) {
                break;
            }
            word &= !(1 << log2);
            log2 += 1;
        }
        if let Some(class) = self.class_of(log2) {
            class.insert(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn overlap(a: Block, b: Block) -> bool {
        a.word < b.word + b.words() && b.word < a.word + a.words()
    }

    proptest! {
        #[test]
        fn blocks_never_overlap_also_after_the_free_lists_were_rebuilt(
            steps in proptest::collection::vec((SMALLEST_LOG2..=LARGEST_LOG2, any::<bool>(), any::<u16>()), 1..200)
        ) {
            let words = 1 << 20;
            let mut arena = Arena::new(words);
            let mut taken: Vec<Block> = Vec::new();
            for (log2, take, which) in steps {
                if take || taken.is_empty() {
                    if let Some(block) = arena.take(log2) {
                        prop_assert!(taken.iter().all(|other| !overlap(*other, block)));
                        prop_assert!(block.word % block.words() == 0 && block.word + block.words() <= words);
                        taken.push(block);
                    }
                } else {
                    let at = usize::from(which) % taken.len();
                    arena.give(taken.swap_remove(at));
                }
                if which % 16 == 0 {
                    arena = Arena::new(words);
                    for block in &taken {
                        prop_assert!(arena.reserve(*block));
                        prop_assert!(!arena.reserve(*block));
                    }
                }
            }
            for block in taken.drain(..) {
                arena.give(block);
            }
            // Everything is free again: as many of the largest as fit.
            for _ in 0..words >> LARGEST_LOG2 {
                prop_assert!(arena.take(LARGEST_LOG2).is_some());
            }
            prop_assert!(arena.take(SMALLEST_LOG2).is_none());
        }
    }

    #[test]
    fn a_window_of_every_size_has_a_class() {
        assert_eq!(Arena::class(41), Some(SMALLEST_LOG2));
        assert_eq!(Arena::class(65), Some(7));
        assert_eq!(Arena::class((1 << 15) + 1), Some(16));
        assert_eq!(Arena::class((1 << 16) + 1), None);
    }

    #[test]
    fn a_block_that_is_none_is_not_reserved() {
        let mut arena = Arena::new(1 << 20);
        assert!(!arena.reserve(Block { word: 3, log2: 6 }));
        assert!(!arena.reserve(Block { word: 1 << 20, log2: 6 }));
        assert!(!arena.reserve(Block { word: 0, log2: 17 }));
        assert!(!arena.reserve(Block { word: 0, log2: 5 }));
    }
}
