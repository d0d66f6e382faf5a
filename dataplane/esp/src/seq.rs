//! Sequence numbers of an outbound SA, taken from the counter that outlives the process. RFC: 4303 section 3.3.3.
//!
//! The counter holds the number last taken, in 64 bits also without ESN, because it is the IV too: a number taken and not
//! sent is lost and never returned.

use crate::sync::{AtomicU64, Ordering};

/// The last number that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeqLimit(pub u64);

impl SeqLimit {
    /// What 32 bits can hold.
    pub const SHORT: Self = Self(u32::MAX as u64);
    /// What 64 bits can hold.
    pub const ESN: Self = Self(u64::MAX);

    /// Returns the limit of the number's own width.
    #[must_use]
    pub const fn of_width(esn: bool) -> Self {
        if esn { Self::ESN } else { Self::SHORT }
    }
}

/// Consecutive numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The first of them.
    pub first: u64,
    /// How many may be used; fewer than asked for means that the limit was met.
    pub usable: u32,
}

/// Near the end of 64 bits the addition must not wrap, so there it is a compare-and-swap. No set of threads can have
/// this many numbers between a look at the counter and the addition.
const NEAR_THE_END: u64 = u64::MAX - (1 << 40);

/// Takes `n` numbers for packets that will surely be built. The first number ever taken is 1.
///
/// The limit is compared with the counter after the addition, so no two callers use one number; once it is met the counter
/// stands still.
#[inline]
pub fn take(next_seq: &AtomicU64, n: u32, limit: SeqLimit) -> Taken {
    let seen = next_seq.load(Ordering::Relaxed);
    if seen >= limit.0 {
        return Taken { first: limit.0, usable: 0 };
    }
    let before = if seen < NEAR_THE_END {
        next_seq.fetch_add(u64::from(n), Ordering::Relaxed)
    } else {
        take_near_the_end(next_seq, n)
    };
    //= rfc4303#3.3.3
    let left = limit.0.saturating_sub(before);
    Taken { first: before.saturating_add(1), usable: u32::try_from(left).unwrap_or(u32::MAX).min(n) }
}

#[cold]
fn take_near_the_end(next_seq: &AtomicU64, n: u32) -> u64 {
    let mut seen = next_seq.load(Ordering::Relaxed);
    loop {
        let wanted = seen.saturating_add(u64::from(n));
        match next_seq.compare_exchange_weak(seen, wanted, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(before) => return before,
            Err(now) => seen = now,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_packet_carries_one() {
        let counter = AtomicU64::new(0);
        assert_eq!(take(&counter, 3, SeqLimit::SHORT), Taken { first: 1, usable: 3 });
        assert_eq!(take(&counter, 1, SeqLimit::SHORT), Taken { first: 4, usable: 1 });
        assert_eq!(counter.into_inner(), 4);
    }

    #[test]
    fn without_esn_the_last_number_is_the_largest_of_32_bits() {
        let counter = AtomicU64::new(0xffff_fffd);
        assert_eq!(take(&counter, 64, SeqLimit::SHORT), Taken { first: 0xffff_fffe, usable: 2 });
        let stands = counter.load(Ordering::Relaxed);
        assert_eq!(take(&counter, 64, SeqLimit::SHORT).usable, 0);
        assert_eq!(counter.into_inner(), stands);
    }

    #[test]
    fn the_counter_of_64_bits_never_wraps() {
        let counter = AtomicU64::new(u64::MAX - 3);
        assert_eq!(take(&counter, 2, SeqLimit::ESN), Taken { first: u64::MAX - 2, usable: 2 });
        assert_eq!(take(&counter, 64, SeqLimit::ESN), Taken { first: u64::MAX, usable: 1 });
        for _ in 0..4 {
            assert_eq!(take(&counter, 64, SeqLimit::ESN).usable, 0);
        }
        assert_eq!(counter.into_inner(), u64::MAX);
    }

    #[test]
    fn many_threads_take_every_number_once() {
        let counter = AtomicU64::new(0);
        let mut all = std::thread::scope(|scope| {
            let takers: Vec<_> = (1..=4)
                .map(|n| {
                    let counter = &counter;
                    scope.spawn(move || {
                        let mut mine = Vec::new();
                        loop {
                            let taken = take(counter, n, SeqLimit(20_000));
                            mine.extend(taken.first..taken.first + u64::from(taken.usable));
                            if taken.usable == 0 {
                                return mine;
                            }
                        }
                    })
                })
                .collect();
            takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect::<Vec<_>>()
        });
        all.sort_unstable();
        assert_eq!(all, (1..=20_000).collect::<Vec<_>>());
    }
}
