//! What this process has asked its allocator for, by the size of the piece that glibc gives for it.
#![allow(unsafe_code, reason = "a counting allocator is an allocator")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Octets glibc puts before each piece, and what lengths are rounded up to.
const HEAD: usize = 8;
const UNIT: usize = 16;
const LEAST: usize = 32;
/// Lengths up to this many units are told apart; longer ones are counted together.
const UNITS: usize = 256;

/// Pieces held now, by their length in units; the last counts octets, not pieces.
static HELD: [AtomicI64; UNITS + 1] = [const { AtomicI64::new(0) }; UNITS + 1];

struct Counting;

fn count(octets: usize, sign: i64) {
    let piece = (octets + HEAD).next_multiple_of(UNIT).max(LEAST);
    match HELD.get(..UNITS).and_then(|held| held.get(piece / UNIT)) {
        Some(pieces) => pieces.fetch_add(sign, Relaxed),
        None => HELD[UNITS].fetch_add(sign * i64::try_from(piece).unwrap_or(i64::MAX), Relaxed),
    };
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Pieces held at one time.
pub(crate) struct Heap([i64; UNITS + 1]);

impl Heap {
    pub(crate) fn now() -> Self {
        Self(std::array::from_fn(|at| HELD.get(at).map_or(0, |held| held.load(Relaxed))))
    }

    /// Prints what is held more than `before`, by length: pieces a pair and their octets.
    pub(crate) fn print_since(&self, before: &Self, pairs: u32) {
        let pairs = f64::from(pairs);
        #[allow(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let more = self.0.iter().zip(before.0).map(|(now, before)| (now - before) as f64 / pairs);
        let mut all = 0.0;
        for (units, pieces) in more.enumerate() {
            let (piece, octets) =
                if units == UNITS { (0, pieces) } else { (units * UNIT, pieces * (units * UNIT) as f64) };
            all += octets;
            if octets.abs() >= 1.0 {
                match piece {
                    0 => println!("  {octets:>8.1} octets in pieces above {} octets", (UNITS - 1) * UNIT),
                    _ => println!("  {octets:>8.1} octets in {pieces:>7.4} pieces of {piece}"),
                }
            }
        }
        println!("  {all:>8.1} octets asked of the allocator for each pair");
    }
}
