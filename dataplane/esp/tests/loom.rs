//! Every interleaving of a few threads at the window and at the sequence counter.
//! Run with `RUSTFLAGS='--cfg loom' cargo test -p esp --release --test loom`.
#![cfg(loom)]
#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

use esp::seq::{self, SeqLimit};
use esp::sync::{AtomicU64, Ordering};
use esp::{DropReason, Fresh, ReplayWindow};
use loom::sync::Arc;
use loom::thread;

struct Ring {
    top: AtomicU64,
    ring: [AtomicU64; 3],
    esn: bool,
}

impl Ring {
    fn new(preset: u64, esn: bool) -> Arc<Self> {
        let ring = [AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)];
        let this = Self { top: AtomicU64::new(0), ring, esn };
        this.window().preset(preset);
        Arc::new(this)
    }

    fn window(&self) -> ReplayWindow<'_> {
        ReplayWindow::new(&self.top, &self.ring, 64, self.esn)
    }

    fn receive(&self, seq_lo: u32) -> Result<(), DropReason> {
        let window = self.window();
        window.check(seq_lo).and_then(|fresh| window.advance(fresh))
    }
}

/// Runs two threads that receive these numbers each and returns what came of them.
fn race(ring: &Arc<Ring>, mine: &[u32], theirs: &'static [u32]) -> (Vec<bool>, Vec<bool>) {
    let other = ring.clone();
    let thread = thread::spawn(move || theirs.iter().map(|seq| other.receive(*seq).is_ok()).collect());
    let mine = mine.iter().map(|seq| ring.receive(*seq).is_ok()).collect();
    (mine, thread.join().unwrap())
}

#[test]
fn two_copies_in_two_threads_are_accepted_once() {
    loom::model(|| {
        let ring = Ring::new(0, false);
        let (mine, theirs) = race(&ring, &[5], &[5]);
        assert!(mine[0] != theirs[0]);
        assert!(ring.receive(5).is_err());
    });
}

#[test]
fn two_numbers_of_one_word_are_both_accepted() {
    loom::model(|| {
        let ring = Ring::new(0, false);
        assert_eq!(race(&ring, &[5], &[6]), (vec![true], vec![true]));
        assert!(ring.receive(5).is_err() && ring.receive(6).is_err());
        assert_eq!(ring.top.load(Ordering::Relaxed), 6);
    });
}

#[test]
fn a_newer_block_in_the_same_place_never_re_admits_an_older_number() {
    loom::model(|| {
        let ring = Ring::new(0, false);
        // 5 and 101 share a place of three words of 32; 101 pushes 5 out of the window.
        let (mine, theirs) = race(&ring, &[5, 5], &[101]);
        assert!(theirs[0] && !(mine[0] && mine[1]));
        assert!(ring.receive(5).is_err() && ring.receive(101).is_err());
        assert_eq!(ring.top.load(Ordering::Relaxed), 101);
    });
}

#[test]
fn copies_on_both_sides_of_the_seam_are_accepted_once() {
    loom::model(|| {
        let ring = Ring::new((1 << 32) - 3, true);
        let (mine, theirs) = race(&ring, &[0xffff_fffe, 1], &[1, 0xffff_fffe]);
        assert!(mine[0] != theirs[1] && mine[1] != theirs[0]);
        assert_eq!(ring.top.load(Ordering::Relaxed), (1 << 32) + 1);
    });
}

#[test]
fn a_burst_and_a_single_packet_share_no_number() {
    loom::model(|| {
        let ring = Ring::new(0, false);
        let other = ring.clone();
        let thread = thread::spawn(move || other.receive(32).is_ok());
        let window = ring.window();
        let fresh: Vec<Fresh> = [31, 32, 33].iter().filter_map(|seq| window.check(*seq).ok()).collect();
        let mut verdicts = vec![Err(DropReason::Integrity); fresh.len()];
        window.advance_burst(&fresh, &mut verdicts);
        let mine = fresh.iter().zip(&verdicts).any(|(fresh, verdict)| fresh.seq() == 32 && verdict.is_ok());
        assert!(mine != thread.join().unwrap());
        assert_eq!(ring.top.load(Ordering::Relaxed), 33);
    });
}

#[test]
fn two_threads_take_different_numbers_and_none_beyond_the_limit() {
    loom::model(|| {
        let counter = Arc::new(AtomicU64::new(u64::MAX - 4));
        let take = |counter: &AtomicU64| {
            let taken = seq::take(counter, 3, SeqLimit::ESN);
            (0..u64::from(taken.usable)).map(|n| taken.first + n).collect::<Vec<_>>()
        };
        let other = counter.clone();
        let thread = thread::spawn(move || take(&other));
        let mut all = take(&counter);
        all.extend(thread.join().unwrap());
        all.extend(take(&counter));
        all.sort_unstable();
        assert_eq!(all, (u64::MAX - 3..=u64::MAX).collect::<Vec<_>>());
        assert_eq!(counter.load(Ordering::Relaxed), u64::MAX);
    });
}

#[test]
fn a_short_counter_that_two_threads_exhaust_gives_each_number_once() {
    loom::model(|| {
        let counter = Arc::new(AtomicU64::new(0xffff_fffc));
        let take = |counter: &AtomicU64| {
            let taken = seq::take(counter, 2, SeqLimit::SHORT);
            (0..u64::from(taken.usable)).map(|n| taken.first + n).collect::<Vec<_>>()
        };
        let other = counter.clone();
        let thread = thread::spawn(move || take(&other));
        let mut all = take(&counter);
        all.extend(thread.join().unwrap());
        all.extend(take(&counter));
        all.sort_unstable();
        assert_eq!(all, [0xffff_fffd, 0xffff_fffe, 0xffff_ffff]);
    });
}
