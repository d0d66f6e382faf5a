//! The replay window: a ring of words that compare-and-swap alone changes. RFC: 4303 section 3.4.3, 6479.
//!
//! A word is {block number, 32 bits | one bit per packet of the block, 32 bits}; number `seq` belongs to block
//! `seq / 32`, whose place is that block modulo the ring's length. A word's block only ever grows and its bits are only ever
//! set, so what was accepted once is refused for ever, whichever instruction a process is stopped at. `top` follows the
//! words and is only a lower bound. All accesses are relaxed: each decision rests on one word.
//!
//! A word untouched while 2^36 numbers went by looks newer than it is: then packets are lost, none is accepted twice.

use crate::sync::{AtomicU64, Ordering};
use crate::{DropReason, esn};

/// Packets of one word of the ring.
pub const BLOCK_PKTS: u32 = 32;
/// The smallest window that a receiver may have. Units: packets. RFC: 4303 section 3.4.3.
pub const MIN_PKTS: u32 = 32;
/// The largest window supported. Units: packets.
pub const MAX_PKTS: u32 = 1 << 20;

/// No number that passed `check` lies 2^32 above the top of that moment, so no word is further ahead of `top`.
const MAX_LAG_BLOCKS: u64 = (1 << 32) / BLOCK_PKTS as u64;

/// Returns how many words a window needs: one block more than its packets fill.
/// Units of `size_pkts`: packets. RFC: 6479 section 3.
#[must_use]
pub const fn ring_words(size_pkts: u32) -> usize {
    size_pkts.div_ceil(BLOCK_PKTS) as usize + 1
}

/// A number that was not accepted yet when [`ReplayWindow::check`] looked, and that [`ReplayWindow::advance`] decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fresh {
    seq: u64,
}

impl Fresh {
    /// Returns the whole number, as it goes into the AAD with ESN.
    #[must_use]
    #[inline]
    pub const fn seq(self) -> u64 {
        self.seq
    }

    const fn block(self) -> u64 {
        self.seq / BLOCK_PKTS as u64
    }

    const fn bit(self) -> u64 {
        1 << (self.seq % BLOCK_PKTS as u64)
    }
}

/// An SA's window over atomics that live elsewhere, in a segment that outlives the process.
#[derive(Clone, Copy, Debug)]
pub struct ReplayWindow<'a> {
    top: &'a AtomicU64,
    ring: &'a [AtomicU64],
    size_pkts: u32,
    esn: bool,
    off: bool,
}

impl<'a> ReplayWindow<'a> {
    /// Borrows a window. Size 0 switches replay protection off, which leaves `ring` unused.
    ///
    /// A size that the ring cannot hold becomes the largest it can; with a ring of less than two words that is none, and every
    /// packet is refused. Units of `size_pkts`: packets.
    #[must_use]
    #[inline]
    pub fn new(top: &'a AtomicU64, ring: &'a [AtomicU64], size_pkts: u32, esn: bool) -> Self {
        let blocks = u32::try_from(ring.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let held = blocks.saturating_mul(BLOCK_PKTS).min(MAX_PKTS);
        Self { top, ring, size_pkts: size_pkts.min(held), esn, off: size_pkts == 0 }
    }

    /// Makes everything up to `top` seen and nothing above it. Only while no other thread uses the window.
    ///
    /// A new SA needs this once, and so does one whose ring gets another length: its words stand in other places then, so
    /// `new.preset(old.highest())`.
    pub fn preset(&self, top: u64) {
        let block = Fresh { seq: top }.block();
        let words = self.ring.len() as u64;
        for (place, word) in (0..words).zip(self.ring) {
            let back = (block % words + words - place) % words;
            let bits = if back == 0 { u64::from(u32::MAX >> (31 - top % 32)) } else { u64::from(u32::MAX) };
            // A place whose first block is still to come gets block 0 without bits, which is older than that.
            let value = block.checked_sub(back).map_or(0, |old| pack(old, bits));
            word.store(value, Ordering::Relaxed);
        }
        self.top.store(top, Ordering::Relaxed);
    }

    /// Returns the highest number accepted, which `top` may lag behind when a process was stopped between the two.
    #[must_use]
    pub fn highest(&self) -> u64 {
        let top = self.top.load(Ordering::Relaxed);
        let block = Fresh { seq: top }.block();
        let mut highest = top;
        for word in self.ring {
            let word = word.load(Ordering::Relaxed);
            let ahead = (word >> 32).wrapping_sub(block) & u64::from(u32::MAX);
            let bits = word & u64::from(u32::MAX);
            let first = (block + ahead).checked_mul(u64::from(BLOCK_PKTS));
            if let Some(first) = first.filter(|_| bits != 0 && ahead <= MAX_LAG_BLOCKS) {
                highest = highest.max(first + u64::from(bits.ilog2()));
            }
        }
        highest
    }

    /// Looks whether a packet can still be accepted, before its ICV is computed. Changes nothing.
    /// Errors: `Replay` or `TooOld`. RFC: 4303 section 3.4.3.
    #[inline]
    pub fn check(&self, seq_lo: u32) -> Result<Fresh, DropReason> {
        let top = self.top.load(Ordering::Relaxed);
        let seq = if self.esn {
            esn::infer(top, seq_lo, self.size_pkts.max(1)).ok_or(DropReason::TooOld)?
        } else {
            u64::from(seq_lo)
        };
        let fresh = Fresh { seq };
        if self.off {
            return Ok(fresh);
        }
        //= rfc4303#3.4.3
        let behind = seq <= top && top - seq >= u64::from(self.size_pkts);
        if self.size_pkts == 0 || seq == 0 || behind {
            return Err(DropReason::TooOld);
        }
        let word = self.word(fresh.block()).ok_or(DropReason::TooOld)?.load(Ordering::Relaxed);
        match age(word, fresh.block()) {
            Age::Same if word & fresh.bit() != 0 => Err(DropReason::Replay),
            Age::Same | Age::Older => Ok(fresh),
            Age::Newer => Err(DropReason::TooOld),
        }
    }

    /// Accepts a packet whose ICV matched, once.
    /// Errors: `Replay` for the second of two copies, `TooOld` when the window has moved on meanwhile.
    #[inline]
    pub fn advance(&self, fresh: Fresh) -> Result<(), DropReason> {
        let mut verdict = Ok(());
        self.advance_burst(core::slice::from_ref(&fresh), core::slice::from_mut(&mut verdict));
        verdict
    }

    /// Accepts packets of one SA whose ICVs matched, each once: one compare-and-swap for neighbours that share a word.
    ///
    /// `verdicts[i]` becomes what [`Self::advance`] would say about `fresh[i]`. The two must be of one length; what is left
    /// over in the longer is neither accepted nor judged.
    #[inline]
    pub fn advance_burst(&self, fresh: &[Fresh], verdicts: &mut [Result<(), DropReason>]) {
        let both = fresh.len().min(verdicts.len());
        let (mut fresh, mut verdicts) = (fresh.get(..both).unwrap_or_default(), verdicts);
        let mut highest = 0;
        while let Some(first) = fresh.first() {
            let block = first.block();
            let (mut bits, mut pkts) = (0, 0);
            for other in fresh.iter().take_while(|other| other.block() == block) {
                bits |= other.bit();
                pkts += 1;
            }
            let (group, rest) = fresh.split_at(pkts);
            let (group_verdicts, rest_verdicts) = verdicts.split_at_mut(pkts);
            let before = self.set(block, bits);
            let accepted = judge(group, group_verdicts, before, self.off);
            highest = highest.max(accepted);
            (fresh, verdicts) = (rest, rest_verdicts);
        }
        if highest > self.top.load(Ordering::Relaxed) {
            self.top.fetch_max(highest, Ordering::Relaxed);
        }
    }

    /// Sets bits of a block and returns those that were set before; `None` when a newer block has its place.
    #[inline]
    fn set(&self, block: u64, bits: u64) -> Option<u64> {
        if self.off {
            return Some(0);
        }
        let word = self.word(block)?;
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            let before = match age(seen, block) {
                Age::Same => seen & u64::from(u32::MAX),
                Age::Older => 0,
                Age::Newer => return None,
            };
            let wanted = pack(block, before | bits);
            match word.compare_exchange_weak(seen, wanted, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Some(before),
                Err(now) => seen = now,
            }
        }
    }

    /// Returns the word that will judge a number, for loading it ahead; another one when the number's high half matters.
    #[must_use]
    #[inline]
    pub fn likely_word(&self, seq_lo: u32) -> Option<&'a AtomicU64> {
        self.word(Fresh { seq: u64::from(seq_lo) }.block())
    }

    /// Returns the word that has a block's place.
    #[inline]
    fn word(&self, block: u64) -> Option<&'a AtomicU64> {
        let words = self.ring.len() as u64;
        let place = if words.is_power_of_two() { block & (words - 1) } else { block.checked_rem(words)? };
        self.ring.get(usize::try_from(place).ok()?)
    }
}

/// Gives each packet of one block its verdict by the bits set `before`, and returns the highest number accepted or 0.
#[inline]
fn judge(group: &[Fresh], verdicts: &mut [Result<(), DropReason>], before: Option<u64>, off: bool) -> u64 {
    let (mut seen, mut highest) = (before.unwrap_or_default(), 0);
    for (fresh, verdict) in group.iter().zip(verdicts) {
        *verdict = match before {
            None => Err(DropReason::TooOld),
            Some(_) if seen & fresh.bit() != 0 && !off => Err(DropReason::Replay),
            Some(_) => Ok(()),
        };
        seen |= fresh.bit();
        if verdict.is_ok() {
            highest = highest.max(fresh.seq);
        }
    }
    highest
}

/// How a word's block stands to another.
enum Age {
    Older,
    Same,
    Newer,
}

/// Compares by serial arithmetic, so that the 32 bits kept of a block number may wrap. RFC: 1982.
#[inline]
const fn age(word: u64, block: u64) -> Age {
    match (word >> 32).wrapping_sub(block) << 32 {
        0 => Age::Same,
        ahead if ahead >> 63 == 0 => Age::Newer,
        _ => Age::Older,
    }
}

#[inline]
const fn pack(block: u64, bits: u64) -> u64 {
    block << 32 | bits
}
