//! Buffers that go round between workers: each has some at hand, and gives and takes whole baskets where it has too many or
//! none, as the caches before DPDK's pools do. Nothing is allocated on the way.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::ports::Frame;

/// Buffers of a basket; a cache has two of them at the most.
const BASKET: usize = 256;

/// What all caches share.
#[derive(Debug)]
struct Baskets {
    full: ArrayQueue<Vec<Frame>>,
    empty: ArrayQueue<Vec<Frame>>,
}

/// One worker's buffers.
#[derive(Debug)]
pub struct Cache {
    at_hand: Vec<Frame>,
    shared: Arc<Baskets>,
}

/// Makes a pool of `each` buffers for each of so many workers, and returns their caches, which are empty.
#[must_use]
pub fn caches(workers: usize, each: usize) -> Vec<Cache> {
    let count = (workers * each).div_ceil(BASKET).max(1);
    // A basket more for each worker: one that is being filled while all others are full.
    let room = count + workers;
    let shared = Arc::new(Baskets { full: ArrayQueue::new(room), empty: ArrayQueue::new(room) });
    for _ in 0..count {
        let _ = shared.full.push((0..BASKET).map(|_| Frame::empty()).collect());
    }
    for _ in 0..workers {
        let _ = shared.empty.push(Vec::with_capacity(BASKET));
    }
    let cache = |_| Cache { at_hand: Vec::with_capacity(2 * BASKET), shared: Arc::clone(&shared) };
    (0..workers).map(cache).collect()
}

impl Cache {
    /// Takes the buffer that was used last; `None` when the pool is dry.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        if self.at_hand.is_empty() {
            self.fetch();
        }
        self.at_hand.pop()
    }

    /// Gives a buffer back.
    #[inline]
    pub fn give(&mut self, frame: Frame) {
        if self.at_hand.len() == 2 * BASKET {
            self.put_away();
        }
        self.at_hand.push(frame);
    }

    #[inline(never)]
    fn fetch(&mut self) {
        if let Some(mut basket) = self.shared.full.pop() {
            self.at_hand.append(&mut basket);
            let _ = self.shared.empty.push(basket);
        }
    }

    /// Puts those away that were not used for the longest time.
    #[inline(never)]
    fn put_away(&mut self) {
        if let Some(mut basket) = self.shared.empty.pop() {
            basket.extend(self.at_hand.drain(..BASKET));
            let _ = self.shared.full.push(basket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back_through_another_worker_and_none_is_lost_or_made() {
        let mut caches = caches(2, 3 * BASKET);
        let (mut one, mut other) = (caches.remove(0), caches.remove(0));
        for _ in 0..20 {
            let taken: Vec<_> = std::iter::from_fn(|| one.take()).collect();
            assert!(taken.len() >= 4 * BASKET, "the other keeps two baskets at the most: {}", taken.len());
            taken.into_iter().for_each(|frame| other.give(frame));
        }
        let all = std::iter::from_fn(|| one.take()).count() + std::iter::from_fn(|| other.take()).count();
        assert_eq!(all, 6 * BASKET);
    }
}
