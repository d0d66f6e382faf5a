//! One SA's counters in `live`: atomics only, laid out by who touches them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::arena::{Block, LARGEST_LOG2, SMALLEST_LOG2};
use crate::sa::MAX_WINDOW_PKTS;

/// Words of a replay window inside the record; they serve one of 1024.
pub const INLINE_RING_WORDS: usize = INLINE_WORDS as usize;
pub(super) const INLINE_WORDS: u32 = 33;

/// Counters of one SA; 448 octets, a line for each direction, then the inline window.
#[repr(C, align(64))]
pub struct LiveRecord {
    // Outbound line.
    /// Identity of the SA these counters belong to; 0 is nobody.
    pub uid: AtomicU64,
    /// Sequence number last taken; also the last IV. Taken by `fetch_add` only.
    pub next_seq: AtomicU64,
    /// Octets sealed.
    pub out_octets: AtomicU64,
    /// Packets sealed.
    pub out_packets: AtomicU64,
    /// When a packet was last sealed. Units: nanoseconds of CLOCK_BOOTTIME.
    pub out_last_use_ns: AtomicU64,
    /// Packets refused because numbers or a hard limit ran out.
    pub out_exhausted: AtomicU64,
    /// SA that had this record before it became nobody's: should it come back, its numbers go on.
    pub(crate) retired_uid: AtomicU64,
    /// Tunnel whose totals get these counters when the SA goes.
    pub(crate) if_id: AtomicU64,
    // Inbound line.
    /// Lower bound of the highest number accepted.
    pub window_top: AtomicU64,
    /// Octets opened.
    pub in_octets: AtomicU64,
    /// Packets opened.
    pub in_packets: AtomicU64,
    /// When a packet was last accepted. Units: nanoseconds of CLOCK_BOOTTIME.
    pub in_last_use_ns: AtomicU64,
    /// Packets seen before.
    pub err_replay: AtomicU64,
    /// Packets older than the window.
    pub err_too_old: AtomicU64,
    /// Packets whose ICV was wrong.
    pub err_integrity: AtomicU64,
    /// Packets whose inside was wrong (padding, selectors, version).
    pub err_inner: AtomicU64,
    // The window.
    /// A [`Place`] in one word, so that a window is never seen half moved.
    pub(crate) place: AtomicU64,
    pub(crate) spare: [AtomicU64; 6],
    /// Inline ring of window words {block 32 | bits 32}.
    pub(crate) ring: [AtomicU64; INLINE_RING_WORDS],
}

impl LiveRecord {
    /// Everything that is counted, as totals.
    pub(super) fn totals(&self) -> [u64; 5] {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let errors = [&self.err_replay, &self.err_too_old, &self.err_integrity, &self.err_inner];
        let errors = errors.into_iter().map(load).fold(load(&self.out_exhausted), u64::saturating_add);
        [
            load(&self.in_octets),
            load(&self.in_packets),
            load(&self.out_octets),
            load(&self.out_packets),
            errors,
        ]
    }

    /// Everything that `totals` counts, for clearing once it is in the totals.
    pub(super) fn counters(&self) -> [&AtomicU64; 9] {
        [
            &self.in_octets,
            &self.in_packets,
            &self.out_octets,
            &self.out_packets,
            &self.out_exhausted,
            &self.err_replay,
            &self.err_too_old,
            &self.err_integrity,
            &self.err_inner,
        ]
    }

    /// A record outside any segment.
    pub(super) fn nobody() -> Self {
        let word = || AtomicU64::new(0);
        Self {
            uid: word(),
            next_seq: word(),
            out_octets: word(),
            out_packets: word(),
            out_last_use_ns: word(),
            out_exhausted: word(),
            retired_uid: word(),
            if_id: word(),
            window_top: word(),
            in_octets: word(),
            in_packets: word(),
            in_last_use_ns: word(),
            err_replay: word(),
            err_too_old: word(),
            err_integrity: word(),
            err_inner: word(),
            place: word(),
            spare: std::array::from_fn(|_| word()),
            ring: std::array::from_fn(|_| word()),
        }
    }

    /// Every word but the uid, for clearing.
    pub(super) fn all_but_uid(&self) -> impl Iterator<Item = &AtomicU64> {
        [&self.next_seq, &self.out_octets, &self.out_packets, &self.out_last_use_ns, &self.out_exhausted]
            .into_iter()
            .chain([&self.retired_uid, &self.if_id])
            .chain([&self.window_top, &self.in_octets, &self.in_packets, &self.in_last_use_ns])
            .chain([&self.err_replay, &self.err_too_old, &self.err_integrity, &self.err_inner])
            .chain([&self.place])
            .chain(&self.spare)
            .chain(&self.ring)
    }
}

/// Where a window is and how large: bits 0-20 packets, 21-25 class, 32-63 first word in the arena.
/// Class 0 is the ring inside the record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(super) size_pkts: u32,
    pub(super) block: Option<Block>,
}

impl Place {
    pub(super) fn pack(self) -> u64 {
        let (class, word) = self.block.map_or((0, 0), |block| (block.log2, block.word));
        u64::from(word) << 32 | u64::from(class) << 21 | u64::from(self.size_pkts)
    }

    /// Takes the word apart; `None` if it cannot be one of ours.
    pub(crate) fn unpack(word: u64) -> Option<Self> {
        let size_pkts = u32::try_from(word & 0x1f_ffff).ok()?;
        let log2 = u32::try_from(word >> 21 & 0x7ff).ok()?;
        let first = u32::try_from(word >> 32).ok()?;
        let block = match log2 {
            0 if first == 0 => None,
            SMALLEST_LOG2..=LARGEST_LOG2 => Some(Block { word: first, log2 }),
            _ => return None,
        };
        let place = Self { size_pkts, block };
        (size_pkts <= MAX_WINDOW_PKTS && words_for(size_pkts) <= place.words()).then_some(place)
    }

    /// Length of the ring. Units: words.
    pub(super) fn words(self) -> u32 {
        self.block.map_or(INLINE_WORDS, Block::words)
    }
}

/// Returns a number no accepted packet is above: `top` is only a lower bound, the newest block of the ring
/// may hold more. Block numbers are compared serially, being the low 32 bits of `seq / 32`.
pub(super) fn highest_possible(top: u64, ring: &[AtomicU64]) -> u64 {
    let top_block = top / 32;
    let ahead = ring
        .iter()
        .filter_map(|word| {
            let word = word.load(Ordering::Relaxed);
            let bits = word & u64::from(u32::MAX);
            let ahead = (word >> 32).wrapping_sub(top_block) & u64::from(u32::MAX);
            (bits != 0 && ahead < 1 << 31).then_some(ahead)
        })
        .max();
    match ahead {
        Some(ahead) => ((top_block + ahead) * 32) | 31,
        None => top,
    }
}

/// Length of the ring that a window needs: one block more than it spans. Units: words.
pub(super) const fn words_for(size_pkts: u32) -> u32 {
    size_pkts.div_ceil(32) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_word_but_the_uid_is_cleared() {
        let record = LiveRecord::nobody();
        assert_eq!(record.all_but_uid().count() * 8 + 8, size_of::<LiveRecord>());
    }

    proptest! {
        #[test]
        fn a_place_survives_its_word_and_a_wrong_word_is_refused(word in any::<u64>()) {
            if let Some(place) = Place::unpack(word) {
                prop_assert_eq!(place.pack(), word);
                prop_assert!(words_for(place.size_pkts) <= place.words());
            }
        }
    }

    #[test]
    fn a_window_larger_than_its_ring_is_refused() {
        assert!(Place::unpack(1024).is_some());
        assert!(Place::unpack(1025).is_none());
    }

    fn ring(words: &[(u64, u64)]) -> Vec<AtomicU64> {
        words.iter().map(|(block, bits)| AtomicU64::new(block << 32 | bits)).collect()
    }

    #[test]
    fn a_block_newer_than_the_top_counts_as_seen_to_its_end() {
        assert_eq!(highest_possible(100, &ring(&[(3, 1), (5, 1)])), 5 * 32 + 31);
        assert_eq!(highest_possible(100, &ring(&[(2, 1)])), 100);
        assert_eq!(highest_possible(100, &ring(&[(3, 1)])), 3 * 32 + 31);
    }

    #[test]
    fn block_numbers_wrap_without_turning_back() {
        let top = (1u64 << 37) - 40;
        let block = top / 32;
        assert_eq!(highest_possible(top, &ring(&[((block + 2) & 0xffff_ffff, 1)])), (block + 2) * 32 + 31);
    }
}
