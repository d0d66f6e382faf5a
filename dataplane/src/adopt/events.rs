//! From a worker's notice to an event for the bridge.

use shm_protocol::ids::{IfId, PolicySlot, SaUid, Slot, Spi};
use shm_protocol::live::{Event, EventKind, Flow};
use shm_protocol::sa::Direction;

use super::book::Book;
use crate::path::shared::{Limit, Notice};
use crate::tables::Tables;

/// Returns the event that tells the bridge; `None` for a notice that is about the engine alone or about an SA that
/// is gone.
pub(super) fn of<K>(notice: &Notice, tables: &Tables<K>, book: &Book<K>, now_ns: u64) -> Option<Event> {
    match *notice {
        Notice::Limit { slot, uid, limit } => {
            let (slot, uid) = (Slot::new(slot)?, SaUid::new(uid)?);
            let kind = match limit {
                Limit::SoftOctets => EventKind::SoftOctets,
                Limit::HardOctets => EventKind::HardOctets,
                Limit::SoftPackets => EventKind::SoftPackets,
                Limit::HardPackets => EventKind::HardPackets,
                Limit::SoftSequence => EventKind::SeqSoft,
                Limit::HardSequence => EventKind::SeqHard,
            };
            let (spi, if_id, _) = about(tables, slot, uid)?;
            Some(event(kind, now_ns, Some((slot, uid)), Some(spi), if_id))
        }
        Notice::Mapping { slot, uid, address, port } => {
            let (slot, uid) = (Slot::new(slot)?, SaUid::new(uid)?);
            let (spi, if_id, direction) = about(tables, slot, uid)?;
            (direction == Direction::In).then_some(())?;
            let flow = Flow { src: address, dst: address, proto: UDP, sport: port, dport: 0 };
            Some(Event {
                flow: Some(flow),
                ..event(EventKind::Mapping, now_ns, Some((slot, uid)), Some(spi), if_id)
            })
        }
        Notice::Acquire { policy, ref flow } => {
            let policy = PolicySlot::new(policy)?;
            let if_id = IfId(book.policy_if_id(policy.index())?.0);
            let flow = Flow {
                src: flow.src,
                dst: flow.dst,
                proto: flow.proto.get(),
                sport: flow.sport,
                dport: flow.dport,
            };
            let acquire = event(EventKind::Acquire, now_ns, None, None, if_id);
            Some(Event { policy: Some(policy), flow: Some(flow), ..acquire })
        }
        Notice::Missing { .. } | Notice::Learnt { .. } => None,
    }
}

/// Returns SPI, interface id and direction of an SA that is still the one in its slot.
fn about<K>(tables: &Tables<K>, slot: Slot, uid: SaUid) -> Option<(Spi, IfId, Direction)> {
    let (direction, sa) = tables.sa(slot.index()).filter(|(_, sa)| sa.uid == uid.get())?;
    Some((Spi(sa.spi.0), IfId(sa.if_id.0), direction))
}

const UDP: u8 = 17;

fn event(kind: EventKind, time_ns: u64, sa: Option<(Slot, SaUid)>, spi: Option<Spi>, if_id: IfId) -> Event {
    Event { kind, time_ns, sa, spi, policy: None, if_id, flow: None }
}
