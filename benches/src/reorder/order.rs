//! In which order numbers come: how late each is, and which of them a peer's window refuses.

use esp::ReplayWindow;
use esp::sync::AtomicU64;
use esp::window::ring_words;

/// Returns for each number how far it is behind the highest before it; 0 for those in order. A window of that many packets,
/// or fewer, refuses it. RFC: 4303 section 3.4.3.
pub fn distances(seqs: impl IntoIterator<Item = u32>) -> impl Iterator<Item = u32> {
    let mut highest = 0;
    seqs.into_iter().map(move |seq| {
        highest = highest.max(seq);
        highest - seq
    })
}

/// Returns how many of the numbers the engine's own window of `size_pkts` packets refuses, as a peer without ESN has it.
#[must_use]
pub fn refused(seqs: impl IntoIterator<Item = u32>, size_pkts: u32) -> u64 {
    let top = AtomicU64::new(0);
    let ring: Vec<_> = (0..ring_words(size_pkts)).map(|_| AtomicU64::new(0)).collect();
    let window = ReplayWindow::new(&top, &ring, size_pkts, false);
    window.preset(0);
    let accepts = |seq: u32| window.check(seq).and_then(|fresh| window.advance(fresh)).is_ok();
    seqs.into_iter().filter(|seq| !accepts(*seq)).count() as u64
}

/// How late the packets of a window are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lateness {
    /// All packets.
    pub packets: u64,
    /// Those that come behind a higher number.
    pub late: u64,
    /// Half of all packets are behind the highest by no more. Units: packets.
    pub p50: u32,
    /// 99 % are.
    pub p99: u32,
    /// All are.
    pub max: u32,
}

impl Lateness {
    /// Returns that of numbers in the order they come; `None` without one.
    #[must_use]
    pub fn of(seqs: &[u32]) -> Option<Self> {
        let mut all: Vec<u32> = distances(seqs.iter().copied()).collect();
        all.sort_unstable();
        // The smallest that at least this part of all does not exceed.
        let at = |percent: usize| all.get((all.len() * percent).div_ceil(100).checked_sub(1)?).copied();
        let late = all.iter().filter(|distance| **distance > 0).count() as u64;
        Some(Self { packets: all.len() as u64, late, p50: at(50)?, p99: at(99)?, max: at(100)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_late_by_what_it_is_behind_the_highest_before_it() {
        let seqs = [1, 2, 5, 3, 4, 6, 36, 7];
        assert_eq!(distances(seqs).collect::<Vec<_>>(), [0, 0, 0, 2, 1, 0, 0, 29]);
        let lateness = Lateness::of(&seqs).unwrap();
        assert_eq!(lateness, Lateness { packets: 8, late: 3, p50: 0, p99: 29, max: 29 });
        assert_eq!(Lateness::of(&[]), None);
    }

    #[test]
    fn percentiles_are_those_of_all_packets() {
        // Of 100 packets 40 are late by 60, two by 98 and 99.
        let seqs: Vec<u32> = (61..=118).chain((58..=58).cycle().take(40)).chain([20, 19]).collect();
        let lateness = Lateness::of(&seqs).unwrap();
        assert_eq!((lateness.packets, lateness.late), (100, 42));
        assert_eq!((lateness.p50, lateness.p99, lateness.max), (0, 98, 99));
    }

    #[test]
    fn a_window_takes_what_is_less_late_than_its_size_and_refuses_the_rest() {
        // 100 comes first; 69 is behind by 31, 68 by 32.
        assert_eq!(refused([100, 69], 32), 0);
        assert_eq!(refused([100, 68], 32), 1);
        assert_eq!(refused([100, 68], 64), 0);
        assert_eq!(refused([1, 2, 3, 3], 32), 1, "a copy");
    }

    #[test]
    fn the_window_refuses_as_many_as_the_distances_say() {
        // Two workers with bursts of up to 200 packets, the shorter ahead of the longer or not.
        let mut seqs = Vec::new();
        let mut random = crate::traffic::Random(7);
        while seqs.len() < 20_000 {
            let first = u32::try_from(seqs.len()).unwrap() + 1;
            let (one, other) =
                (u32::try_from(random.below(200)).unwrap(), u32::try_from(random.below(200)).unwrap());
            seqs.extend((first + one..first + one + other).chain(first..first + one));
        }
        for size_pkts in [32, 64, 128, 1024] {
            let late =
                distances(seqs.iter().copied()).filter(|distance| *distance >= size_pkts).count() as u64;
            assert_eq!(refused(seqs.iter().copied(), size_pkts), late, "{size_pkts}");
            assert_eq!(late == 0, size_pkts > 200);
        }
    }
}
