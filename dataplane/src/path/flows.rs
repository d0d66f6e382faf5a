//! The SPD cache of a worker (RFC 4301 section 4.4.1): what became of the first packet of a flow, for those after it.
//!
//! An entry names its flow exactly and holds under the snapshot that it was learnt from, no longer: whatever changes in
//! policies, SAs, routes or neighbors known from the tables makes another snapshot. It never makes a decision of its own.

use esp::wire::eth::Mac;
use esp::wire::plain::FlowId;

use crate::ports::PortId;

/// Where the packets of a flow go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Sealed by the SA at `slot`, whose next hop is on `port`, if they have no more than `mtu` octets.
    Seal { slot: u32, port: PortId, mtu: u16, spread: bool },
    /// In clear out of `port`, if they have no more than `mtu` octets.
    Clear { port: PortId, mac: Mac, mtu: u16 },
}

/// One cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Entry {
    id: FlowId,
    snapshot: u64,
    way: Way,
}

const _: () = assert!(size_of::<Entry>() == 64);

/// Flows remembered by a worker.
const ENTRIES: usize = 1 << 15;
/// Entries that a flow may stand in, next to each other.
const WINDOW: usize = 4;
/// The number of no snapshot.
const NEVER: u64 = 0;

/// See the module's text.
pub(super) struct Flows {
    entries: Box<[Entry]>,
    /// So that nobody outside can tell which flows meet in a window.
    seed: u64,
}

/// A flow's windows and its place in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(usize);

impl Flows {
    /// Makes an empty cache. `seed` is a random number.
    pub(super) fn new(seed: u64) -> Self {
        let way = Way::Clear { port: PortId(0), mac: Mac([0; 6]), mtu: 0 };
        let entry = Entry { id: FlowId::NONE, snapshot: NEVER, way };
        Self { entries: vec![entry; ENTRIES].into_boxed_slice(), seed }
    }

    /// Says where a flow stands, and starts to load it.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
    pub(super) fn place(&self, id: &FlowId) -> Place {
        let place = Place(id.hash(self.seed) as usize % ENTRIES);
        if let Some(entry) = self.entries.get(place.0) {
            dpdk::prefetch(entry);
        }
        place
    }

    /// Returns the way of a flow that was learnt under `snapshot`.
    #[inline]
    pub(super) fn way(&self, id: &FlowId, place: Place, snapshot: u64) -> Option<Way> {
        let of_window = (0..WINDOW).filter_map(|step| self.entries.get(place.0 ^ step));
        let mut matching = of_window.filter(|entry| entry.id == *id && entry.snapshot == snapshot);
        matching.next().map(|entry| entry.way)
    }

    /// Remembers the way of a flow: in its own entry, else in one that holds no longer, else in its first.
    pub(super) fn learn(&mut self, id: FlowId, snapshot: u64, way: Way) {
        let Place(first) = self.place(&id);
        let fits = |fit: &dyn Fn(&Entry) -> bool| {
            (0..WINDOW).map(|step| first ^ step).find(|at| self.entries.get(*at).is_some_and(fit))
        };
        let own = fits(&|entry| entry.id == id);
        let at = own.or_else(|| fits(&|entry| entry.snapshot != snapshot)).unwrap_or(first);
        if let Some(entry) = self.entries.get_mut(at) {
            *entry = Entry { id, snapshot, way };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use esp::wire::{FlowKey, Proto};

    fn id(flow: u16) -> FlowId {
        let key = FlowKey {
            src: [10, 1, 0, 1].into(),
            dst: [10, 2, 0, 1].into(),
            proto: Proto::UDP,
            sport: flow,
            dport: 9,
            fragment: false,
        };
        FlowId::of_key(&key, 0).unwrap()
    }

    fn way(slot: u32) -> Way {
        Way::Seal { slot, port: PortId(1), mtu: 1446, spread: false }
    }

    fn find(flows: &Flows, id: FlowId, snapshot: u64) -> Option<Way> {
        flows.way(&id, flows.place(&id), snapshot)
    }

    #[test]
    fn a_way_holds_under_its_snapshot_and_for_its_flow() {
        let mut flows = Flows::new(7);
        assert_eq!(find(&flows, id(1), 1), None);
        flows.learn(id(1), 1, way(5));
        assert_eq!(find(&flows, id(1), 1), Some(way(5)));
        assert_eq!(find(&flows, id(1), 2), None);
        assert_eq!(find(&flows, id(2), 1), None);
        flows.learn(id(1), 2, way(6));
        assert_eq!((find(&flows, id(1), 1), find(&flows, id(1), 2)), (None, Some(way(6))));
    }

    #[test]
    fn a_crowd_of_flows_finds_its_own_ways_or_none() {
        let mut flows = Flows::new(7);
        let mut known = 0;
        for flow in 0..u16::MAX {
            flows.learn(id(flow), 1, way(flow.into()));
        }
        for flow in 0..u16::MAX {
            let found = find(&flows, id(flow), 1);
            assert!(found.is_none() || found == Some(way(flow.into())));
            known += usize::from(found.is_some());
        }
        assert!(known > ENTRIES / 2 && known <= ENTRIES, "{known}");
    }

    #[test]
    fn what_holds_no_longer_makes_place_first() {
        let mut flows = Flows::new(7);
        for flow in 0..u16::MAX {
            flows.learn(id(flow), 1, way(1));
        }
        for flow in 0..1000 {
            flows.learn(id(flow), 2, way(2));
        }
        assert!((0..1000).all(|flow| find(&flows, id(flow), 2) == Some(way(2))));
    }
}
