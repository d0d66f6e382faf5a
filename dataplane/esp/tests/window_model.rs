//! The replay window against a receiver that simply remembers every number, and against many threads.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use esp::window::{self, ReplayWindow};
use esp::{DropReason, Fresh};
use proptest::prelude::*;

/// The receiver of RFC 4303 section 3.4.3, without any cleverness.
struct Naive {
    top: u64,
    preset: u64,
    seen: BTreeSet<u64>,
    size: u64,
    esn: bool,
}

impl Naive {
    fn seq(&self, seq_lo: u32) -> Option<u64> {
        if !self.esn {
            return Some(seq_lo.into());
        }
        let bottom = i128::from(self.top) - i128::from(self.size) + 1;
        let mut seq = i128::from(seq_lo);
        while seq < bottom {
            seq += 1 << 32;
        }
        while seq - (1 << 32) >= bottom {
            seq -= 1 << 32;
        }
        u64::try_from(seq).ok()
    }

    fn receive(&mut self, seq_lo: u32) -> Result<u64, DropReason> {
        let seq = self.seq(seq_lo).filter(|seq| *seq != 0).ok_or(DropReason::TooOld)?;
        if seq + self.size <= self.top {
            return Err(DropReason::TooOld);
        }
        if seq <= self.preset || !self.seen.insert(seq) {
            return Err(DropReason::Replay);
        }
        self.top = self.top.max(seq);
        Ok(seq)
    }
}

struct Ring {
    top: AtomicU64,
    ring: Vec<AtomicU64>,
}

impl Ring {
    fn new(words: usize, preset: u64) -> Self {
        // Rubbish from a former user of the memory, which the preset has to overwrite.
        let ring = (0..words).map(|at| AtomicU64::new(0x5a5a_5a5a_5a5a_5a5a ^ at as u64)).collect();
        let this = Self { top: AtomicU64::new(77), ring };
        this.window(1, false).preset(preset);
        this
    }

    fn window(&self, size: u32, esn: bool) -> ReplayWindow<'_> {
        ReplayWindow::new(&self.top, &self.ring, size, esn)
    }
}

fn receive(window: &ReplayWindow<'_>, seq_lo: u32) -> Result<u64, DropReason> {
    let fresh = window.check(seq_lo)?;
    window.advance(fresh).map(|()| fresh.seq())
}

/// Places where something wraps: the seam of ESN, the sign and the width of a block number, the end of all numbers.
fn presets() -> impl Strategy<Value = u64> {
    let seams = [0u64, 1 << 31, 1 << 32, 1 << 36, 1 << 37, 3 << 36, 1 << 38, 1 << 63];
    (prop::sample::select(seams.to_vec()), -2000i64..2000)
        .prop_map(|(seam, off)| seam.saturating_add_signed(off))
}

/// Steps from the highest number so far: near, at both edges of the window, far ahead.
fn steps() -> impl Strategy<Value = Vec<i64>> {
    let step = prop_oneof![6 => -40i64..40, 3 => -1200i64..200, 1 => 0i64..100_000, 1 => 0i64..300_000_000];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn it_decides_as_the_naive_receiver(
        preset in presets(),
        steps in steps(),
        size in prop::sample::select(vec![32u32, 33, 34, 63, 64, 65, 128, 1000, 1024]),
        spare in 0usize..8,
        esn: bool,
    ) {
        let preset = if esn { preset } else { preset & 0xffff_ffff };
        let ring = Ring::new(window::ring_words(size) + spare, preset);
        let window = ring.window(size, esn);
        let mut naive = Naive { top: preset, preset, seen: BTreeSet::new(), size: size.into(), esn };
        for step in steps {
            // With ESN every old number looks 2^32 ahead, and a word untouched for 2^36 numbers counts as newer.
            if naive.top - preset > 1 << 35 {
                break;
            }
            let seq = naive.top.saturating_add_signed(step);
            let seq_lo = if esn { seq & 0xffff_ffff } else { seq.min(0xffff_ffff) };
            let seq_lo = u32::try_from(seq_lo).unwrap();
            prop_assert_eq!(receive(&window, seq_lo), naive.receive(seq_lo), "step {} top {:#x}", step, naive.top);
            prop_assert_eq!(ring.top.load(Ordering::Relaxed), naive.top);
            prop_assert_eq!(window.highest(), naive.top);
        }
    }

    #[test]
    fn a_burst_accepts_every_number_once(
        preset in presets(),
        bursts in prop::collection::vec(prop::collection::vec(-200i64..200, 1..100), 1..12),
        spare in 0usize..8,
    ) {
        let ring = Ring::new(window::ring_words(1024) + spare, preset);
        let window = ring.window(1024, true);
        let (mut accepted, mut top) = (BTreeSet::new(), preset);
        for burst in bursts {
            let seqs: Vec<u64> = burst.iter().map(|step| top.saturating_add_signed(*step)).collect();
            let fresh: Vec<Fresh> =
                seqs.iter().filter_map(|seq| window.check((seq & 0xffff_ffff) as u32).ok()).collect();
            let mut verdicts = vec![Err(DropReason::Integrity); fresh.len()];
            window.advance_burst(&fresh, &mut verdicts);
            for (fresh, verdict) in fresh.iter().zip(&verdicts) {
                let first = accepted.insert(fresh.seq());
                prop_assert_eq!(*verdict, if first { Ok(()) } else { Err(DropReason::Replay) });
                top = top.max(fresh.seq());
            }
            for seq in seqs.iter().filter(|seq| **seq > preset) {
                prop_assert!(accepted.contains(seq));
            }
            prop_assert_eq!(window.highest(), top);
        }
    }

    #[test]
    fn a_stop_between_word_and_top_admits_nothing_twice(preset in presets(), seqs in prop::collection::vec(1u64..900, 1..50)) {
        let ring = Ring::new(window::ring_words(1024), preset);
        let window = ring.window(1024, true);
        let mut accepted = BTreeSet::new();
        for seq in seqs.iter().map(|step| preset.saturating_add(*step)) {
            if let Ok(seq) = receive(&window, (seq & 0xffff_ffff) as u32) {
                prop_assert!(accepted.insert(seq));
            }
            // The process is stopped before `top` follows, and another goes on with what is there.
            ring.top.store(preset, Ordering::Relaxed);
            for seq in &accepted {
                prop_assert!(receive(&window, (seq & 0xffff_ffff) as u32).is_err());
                ring.top.store(preset, Ordering::Relaxed);
            }
            prop_assert_eq!(window.highest(), accepted.last().copied().unwrap_or(preset));
        }
    }

    #[test]
    fn a_ring_of_another_length_takes_over_what_was_seen(preset in presets(), steps in prop::collection::vec(1u64..50, 1..40)) {
        let (old, mut seqs, mut top) = (Ring::new(33, preset), Vec::new(), preset);
        for step in steps {
            top = top.saturating_add(step);
            if let Ok(seq) = receive(&old.window(1024, true), (top & 0xffff_ffff) as u32) {
                seqs.push(seq);
            }
        }
        let new = Ring::new(65, old.window(1024, true).highest());
        for seq in seqs {
            prop_assert!(receive(&new.window(2048, true), (seq & 0xffff_ffff) as u32).is_err());
        }
    }
}

#[test]
fn a_copy_inside_the_window_is_dropped_as_replay() {
    let ring = Ring::new(33, 0);
    let window = ring.window(1024, false);
    assert_eq!(receive(&window, 5), Ok(5));
    assert_eq!(receive(&window, 5), Err(DropReason::Replay));
}

#[test]
fn two_copies_checked_together_are_accepted_once() {
    let ring = Ring::new(33, 0);
    let window = ring.window(1024, false);
    let (first, second) = (window.check(5).unwrap(), window.check(5).unwrap());
    assert_eq!(window.advance(first), Ok(()));
    assert_eq!(window.advance(second), Err(DropReason::Replay));
}

#[test]
fn a_number_that_the_ring_has_left_behind_is_too_old_for_advance_too() {
    let ring = Ring::new(33, 0);
    let window = ring.window(1024, false);
    let old = window.check(5).unwrap();
    assert_eq!(receive(&window, 5 + 33 * 32), Ok(5 + 33 * 32));
    assert_eq!(window.advance(old), Err(DropReason::TooOld));
    assert_eq!(window.check(5), Err(DropReason::TooOld));
}

#[test]
fn number_zero_is_never_accepted_without_esn() {
    let ring = Ring::new(33, 0);
    assert_eq!(receive(&ring.window(1024, false), 0), Err(DropReason::TooOld));
}

#[test]
fn a_check_alone_moves_nothing() {
    let ring = Ring::new(33, 0);
    let window = ring.window(1024, false);
    let before: Vec<u64> = ring.ring.iter().map(|word| word.load(Ordering::Relaxed)).collect();
    assert!(window.check(1_000_000).is_ok());
    assert_eq!(ring.ring.iter().map(|word| word.load(Ordering::Relaxed)).collect::<Vec<_>>(), before);
    assert_eq!(receive(&window, 5), Ok(5));
}

#[test]
fn a_ring_too_short_for_any_window_refuses_everything() {
    for words in 0..2 {
        let ring = Ring::new(words, 0);
        assert_eq!(receive(&ring.window(1024, false), 5), Err(DropReason::TooOld));
    }
}

#[test]
fn size_zero_lets_copies_pass_and_follows_the_top() {
    let ring = Ring::new(0, 0);
    let window = ring.window(0, true);
    assert_eq!(receive(&window, 0xffff_ffff), Ok(0xffff_ffff));
    assert_eq!(receive(&window, 0xffff_ffff), Ok(0xffff_ffff));
    assert_eq!(receive(&window, 3), Ok(0x1_0000_0003));
    let twice = [window.check(9).unwrap(); 2];
    let mut verdicts = [Err(DropReason::Replay); 2];
    window.advance_burst(&twice, &mut verdicts);
    assert_eq!(verdicts, [Ok(()); 2]);
}

#[test]
fn many_threads_accept_every_number_at_most_once() {
    const PACKETS: u32 = 40_000;
    let ring = Ring::new(33, 0);
    let next = AtomicUsize::new(0);
    let accepted: Vec<AtomicUsize> = (0..=PACKETS + 64).map(|_| AtomicUsize::new(0)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let window = ring.window(1024, false);
                loop {
                    // Every thread gets overlapping bursts, so that each number is offered about twice.
                    let first = u32::try_from(next.fetch_add(16, Ordering::Relaxed)).unwrap();
                    if first >= PACKETS {
                        return;
                    }
                    let fresh: Vec<Fresh> =
                        (first + 1..first + 33).filter_map(|seq| window.check(seq).ok()).collect();
                    let mut verdicts = vec![Err(DropReason::Integrity); fresh.len()];
                    window.advance_burst(&fresh, &mut verdicts);
                    for (fresh, _) in fresh.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_ok()) {
                        accepted[usize::try_from(fresh.seq()).unwrap()].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert!(accepted.iter().all(|count| count.load(Ordering::Relaxed) <= 1));
    assert!(
        accepted.iter().filter(|count| count.load(Ordering::Relaxed) == 1).count() > PACKETS as usize / 2
    );
}
