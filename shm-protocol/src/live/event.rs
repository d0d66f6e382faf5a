//! Events from the engine to the bridge: hints, read by the bridge at its own pace.

use std::net::IpAddr;
use std::sync::atomic::{Ordering, fence};

use super::shape::Shape;
use crate::ids::{IfId, PolicySlot, SaUid, Slot, Spi};
use crate::layout::EVENT_OCTETS;
use crate::selector::{Family, octets};

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum EventKind {
    /// The soft octet limit was passed.
    SoftOctets = 1,
    /// The hard octet limit was reached; the engine stopped using the SA.
    HardOctets = 2,
    /// The soft packet limit was passed.
    SoftPackets = 3,
    /// The hard packet limit was reached; the engine stopped using the SA.
    HardPackets = 4,
    /// Sequence numbers come to their end: ask for a new SA.
    SeqSoft = 5,
    /// Sequence numbers are used up; the engine stopped using the SA.
    SeqHard = 6,
    /// A packet needs an SA that is not there.
    Acquire = 7,
    /// An authenticated packet came from another address or port.
    Mapping = 8,
}

/// The packet that raised an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    /// Source (for `Mapping` the new outer source).
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// IP protocol.
    pub proto: u8,
    /// Source port (for `Mapping` the new UDP source port).
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
}

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When. Units: nanoseconds of CLOCK_BOOTTIME.
    pub time_ns: u64,
    /// The SA, if it is about one.
    pub sa: Option<(Slot, SaUid)>,
    /// Its SPI, if it is about one.
    pub spi: Option<Spi>,
    /// The policy, for `Acquire`.
    pub policy: Option<PolicySlot>,
    /// The tunnel.
    pub if_id: IfId,
    /// The packet, for `Acquire` and `Mapping`.
    pub flow: Option<Flow>,
}

/// Place in the event ring up to which a reader has read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EventCursor(pub(crate) u64);

/// Words of an event: position, time, kind and slot, uid, if_id and SPI, policy and flags, flow head, 4 of addresses.
pub(super) const WORDS: usize = EVENT_OCTETS as usize / 8;
const NO_INDEX: u32 = u32::MAX;
const HAS_SPI: u32 = 1;

fn pair(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

#[allow(clippy::cast_possible_truncation, reason = "the two halves of a word")]
fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// Writes an event behind the head, then moves the head.
pub(super) fn append(shape: &Shape, event: &Event) {
    let Ok(header) = shape.header() else { return };
    let head = header.event_head.load(Ordering::Relaxed);
    let Some(words) = shape.event(head) else { return };
    // A reader of the entry that is overwritten sees the head beyond it.
    fence(Ordering::Release);
    for (place, word) in words.iter().zip(encode(event, head)) {
        place.store(word, Ordering::Relaxed);
    }
    header.event_head.store(head + 1, Ordering::Release);
}

fn encode(event: &Event, position: u64) -> [u64; WORDS] {
    let slot = event.sa.map_or(NO_INDEX, |(slot, _)| slot.index());
    let uid = event.sa.map_or(0, |(_, uid)| uid.get());
    let policy = event.policy.map_or(NO_INDEX, PolicySlot::index);
    let flags = event.spi.map_or(0, |_| HAS_SPI);
    let spi = event.spi.map_or(0, |spi| spi.0);
    let (mut flow, mut src, mut dst) = (0u128, 0u128, 0u128);
    if let Some(of) = event.flow {
        flow = u128::from(Family::of(of.src) as u8)
            | u128::from(of.proto) << 8
            | u128::from(of.sport) << 16
            | u128::from(of.dport) << 32;
        (src, dst) = (u128::from_le_bytes(octets(of.src)), u128::from_le_bytes(octets(of.dst)));
    }
    let [src_low, src_high] = wide(src);
    let [dst_low, dst_high] = wide(dst);
    let [flow, _] = wide(flow);
    let known = [
        position,
        event.time_ns,
        pair(event.kind as u32, slot),
        uid,
        pair(event.if_id.0, spi),
        pair(policy, flags),
        flow,
        0,
        src_low,
        src_high,
        dst_low,
        dst_high,
    ];
    let mut words = [0; WORDS];
    words.iter_mut().zip(known).for_each(|(place, word)| *place = word);
    words
}

#[allow(clippy::cast_possible_truncation, reason = "the two halves of 128 bits")]
fn wide(value: u128) -> [u64; 2] {
    [value as u64, (value >> 64) as u64]
}

/// Reads an event; `None` if it is not the one of `position` or has a value it cannot have.
pub(super) fn decode(words: &[u64; WORDS], position: u64) -> Option<Event> {
    let [
        at,
        time_ns,
        kind_slot,
        uid,
        if_spi,
        policy_flags,
        flow,
        _,
        src_low,
        src_high,
        dst_low,
        dst_high,
        ..,
    ] = *words;
    let ((kind, slot), (if_id, spi), (policy, flags)) =
        (halves(kind_slot), halves(if_spi), halves(policy_flags));
    let sa = match slot {
        NO_INDEX => None,
        index => Some((Slot::new(index)?, SaUid::new(uid)?)),
    };
    let policy = match policy {
        NO_INDEX => None,
        index => Some(PolicySlot::new(index)?),
    };
    let flow = match flow.to_le_bytes() {
        [0, ..] => None,
        [family, proto, s0, s1, d0, d1, _, _] => {
            let family = match family {
                4 => Family::V4,
                6 => Family::V6,
                _ => return None,
            };
            let address = |low: u64, high: u64| {
                family.address((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
            };
            Some(Flow {
                src: address(src_low, src_high)?,
                dst: address(dst_low, dst_high)?,
                proto,
                sport: u16::from_le_bytes([s0, s1]),
                dport: u16::from_le_bytes([d0, d1]),
            })
        }
    };
    let spi = (flags & HAS_SPI != 0).then_some(Spi(spi));
    (at == position).then_some(Event {
        kind: read_kind(kind)?,
        time_ns,
        sa,
        spi,
        policy,
        if_id: IfId(if_id),
        flow,
    })
}

fn read_kind(kind: u32) -> Option<EventKind> {
    const ALL: [EventKind; 8] = [
        EventKind::SoftOctets,
        EventKind::HardOctets,
        EventKind::SoftPackets,
        EventKind::HardPackets,
        EventKind::SeqSoft,
        EventKind::SeqHard,
        EventKind::Acquire,
        EventKind::Mapping,
    ];
    ALL.into_iter().find(|known| *known as u32 == kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_event_survives_its_words(
            kind in 1u32..=8, time_ns: u64, sa in proptest::option::of((0u32..1 << 20, 1u64..)),
            spi in proptest::option::of(any::<u32>()), policy in proptest::option::of(0u32..1 << 21),
            if_id: u32, flow in proptest::option::of((any::<bool>(), any::<u128>(), any::<u128>(), any::<(u8, u16, u16)>()))
        ) {
            let address = |four: bool, bits: u128| if four {
                IpAddr::V4(std::net::Ipv4Addr::from_bits((bits >> 96) as u32))
            } else {
                IpAddr::V6(std::net::Ipv6Addr::from_bits(bits))
            };
            let event = Event {
                kind: read_kind(kind).unwrap(),
                time_ns,
                sa: sa.map(|(slot, uid)| (Slot::new(slot).unwrap(), SaUid::new(uid).unwrap())),
                spi: spi.map(Spi),
                policy: policy.map(|slot| PolicySlot::new(slot).unwrap()),
                if_id: IfId(if_id),
                flow: flow.map(|(four, src, dst, (proto, sport, dport))| Flow {
                    src: address(four, src), dst: address(four, dst), proto, sport, dport
                }),
            };
            prop_assert_eq!(decode(&encode(&event, 7), 7), Some(event));
            prop_assert_eq!(decode(&encode(&event, 7), 8), None);
        }

        #[test]
        fn any_words_are_read_without_panic(words in any::<[u64; WORDS]>()) {
            let _ = decode(&words, 0);
        }
    }
}
