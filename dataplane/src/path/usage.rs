//! Lifetimes: what an SA has carried, accounted once per SA and burst, and limits decided on the values the additions
//! return. RFC: 4301 section 4.4.2.1.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use shm_protocol::live::LiveRecord;

use super::shared::Limit;
use crate::tables::sa::{Common, Volume};

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

/// Accounts packets of an SA that has no limit to meet; by `alone`, the only worker that uses the SA in this direction, without
/// locked additions: nobody's can come in between.
#[inline]
pub(super) fn add(side: Side, record: &LiveRecord, octets: u64, packets: u64, now_ns: u64, alone: bool) {
    let counters = Counters::of(side, record);
    if alone {
        let add = |counter: &AtomicU64, n| counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
        add(counters.octets, octets);
        add(counters.packets, packets);
    } else {
        counters.octets.fetch_add(octets, Relaxed);
        counters.packets.fetch_add(packets, Relaxed);
    }
    counters.last_use_ns.store(now_ns, Relaxed);
}

/// Accounts one packet of `octets` cipher text to an SA that has limits to meet; tells each soft limit that it passes.
/// Errors: the hard limit that it would pass; it is not counted then.
#[inline(never)]
pub(super) fn take(
    side: Side,
    sa: &Common,
    octets: u64,
    now_ns: u64,
    mut tell: impl FnMut(Limit),
) -> Result<(), Limit> {
    let counters = Counters::of(side, &sa.live);
    let volume = sa.volume.as_deref().copied().unwrap_or(Volume::UNLIMITED);
    let Volume { soft_octets, hard_octets, soft_packets, hard_packets } = volume;
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
        tell(Limit::SoftOctets);
    }
    if before_packets < soft_packets && before_packets + 1 >= soft_packets {
        tell(Limit::SoftPackets);
    }
    Ok(())
}
