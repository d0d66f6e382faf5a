//! Lifetimes: what an SA has carried, accounted once per SA and burst, and limits decided on the values the additions
//! return. RFC: 4301 section 4.4.2.1.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use arrayvec::ArrayVec;
use shm_protocol::live::LiveRecord;

use super::shared::Limit;
use crate::tables::sa::{Common, Limits};

/// Which counters of an SA's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    In,
    Out,
}

/// Counters of one SA and direction in `live`.
struct Counters<'a> {
    octets: &'a AtomicU64,
    packets: &'a AtomicU64,
    last_use_ns: &'a AtomicU64,
}

impl<'a> Counters<'a> {
    #[inline]
    fn of(side: Side, record: &'a LiveRecord) -> Self {
        match side {
            Side::In => Self {
                octets: &record.in_octets,
                packets: &record.in_packets,
                last_use_ns: &record.in_last_use_ns,
            },
            Side::Out => Self {
                octets: &record.out_octets,
                packets: &record.out_packets,
                last_use_ns: &record.out_last_use_ns,
            },
        }
    }
}

/// The packets in a row that share an SA.
struct Run<'a> {
    side: Side,
    sa: &'a Common,
    octets: u64,
    packets: u64,
    now_ns: u64,
}

/// Soft limits passed in one burst.
type Passed = ArrayVec<(u32, u64, Limit), 8>;

/// The account of one burst.
#[derive(Default)]
pub(super) struct Usage<'a> {
    run: Option<Run<'a>>,
    passed: Passed,
}

impl<'a> Usage<'a> {
    /// Accounts one packet of `octets` cipher text. Errors: the hard limit that it would pass; it is not counted then.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the common case is two additions")]
    pub(super) fn take(&mut self, side: Side, sa: &'a Common, octets: u64, now_ns: u64) -> Result<(), Limit> {
        if sa.limits.counts() {
            // Each packet is decided by itself where there is a limit to meet.
            return self.take_limited(side, sa, octets, now_ns);
        }
        match &mut self.run {
            Some(run) if std::ptr::eq(run.sa, sa) => {
                run.octets += octets;
                run.packets += 1;
            }
            _ => {
                self.settle();
                self.run = Some(Run { side, sa, octets, packets: 1, now_ns });
            }
        }
        Ok(())
    }

    /// Accounts packets of an SA that has no limit to meet.
    #[inline]
    pub(super) fn add(side: Side, record: &'a LiveRecord, octets: u64, packets: u64, now_ns: u64) {
        let counters = Counters::of(side, record);
        counters.octets.fetch_add(octets, Relaxed);
        counters.packets.fetch_add(packets, Relaxed);
        counters.last_use_ns.store(now_ns, Relaxed);
    }

    /// As [`Self::add`], by the only worker that uses the SA in this direction: nobody's addition can come in between.
    #[inline]
    pub(super) fn add_alone(side: Side, record: &'a LiveRecord, octets: u64, packets: u64, now_ns: u64) {
        let counters = Counters::of(side, record);
        let add = |counter: &AtomicU64, n| counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
        add(counters.octets, octets);
        add(counters.packets, packets);
        counters.last_use_ns.store(now_ns, Relaxed);
    }

    /// Writes the last run and returns the soft limits that were passed.
    pub(super) fn finish(mut self) -> Passed {
        self.settle();
        self.passed
    }

    #[inline(never)]
    fn settle(&mut self) {
        if let Some(run) = self.run.take() {
            Self::add(run.side, run.sa.live.record(), run.octets, run.packets, run.now_ns);
        }
    }

    #[inline(never)]
    fn take_limited(&mut self, side: Side, sa: &'a Common, octets: u64, now_ns: u64) -> Result<(), Limit> {
        let counters = Counters::of(side, sa.live.record());
        let Limits { soft_octets, hard_octets, soft_packets, hard_packets, .. } = sa.limits;
        let before_octets = counters.octets.fetch_add(octets, Relaxed);
        let after_octets = before_octets.saturating_add(octets);
        if after_octets > hard_octets {
            counters.octets.fetch_sub(octets, Relaxed);
            return Err(Limit::HardOctets);
        }
        let before_packets = counters.packets.fetch_add(1, Relaxed);
        if before_packets >= hard_packets {
            counters.packets.fetch_sub(1, Relaxed);
            counters.octets.fetch_sub(octets, Relaxed);
            return Err(Limit::HardPackets);
        }
        counters.last_use_ns.store(now_ns, Relaxed);
        if before_octets < soft_octets && after_octets >= soft_octets {
            let _ = self.passed.try_push((sa.slot, sa.uid, Limit::SoftOctets));
        }
        if before_packets < soft_packets && before_packets + 1 >= soft_packets {
            let _ = self.passed.try_push((sa.slot, sa.uid, Limit::SoftPackets));
        }
        Ok(())
    }
}
