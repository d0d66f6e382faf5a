//! The SPD cache of a worker (RFC 4301 section 4.4.1): what became of the first packet of a flow, for those after it.
//!
//! An entry names its flow exactly and holds under the snapshot that it was learnt from, no longer: whatever changes in
//! policies, SAs, routes or neighbors known from the tables makes another snapshot. It never makes a decision of its own.

use esp::wire::eth::Mac;
use esp::wire::plain::FlowId;
use memmap2::{Advice, MmapMut};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ports::PortId;

/// Where the packets of a flow go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Sealed by the SA at `slot`, whose next hop is on `port`, if they have no more than `mtu` octets.
    Seal { slot: u32, port: PortId, mtu: u16, spread: bool },
    /// In clear out of `port`, if they have no more than `mtu` octets.
    Clear { port: PortId, mac: Mac, mtu: u16 },
}

/// A way in two words: equal words are the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Packed {
    /// From the low end: kind, `spread`, 16 bits of port, 16 of MTU.
    what: u64,
    /// The slot, or the station address.
    to: u64,
}

const SEAL: u64 = 1;
const SPREAD: u64 = 2;

impl Packed {
    /// Not that of any way.
    pub(super) const NONE: Self = Self { what: u64::MAX, to: u64::MAX };

    fn of(way: Way) -> Self {
        let fields = |port: PortId, mtu: u16| u64::from(port.0) << 16 | u64::from(mtu) << 32;
        match way {
            Way::Seal { slot, port, mtu, spread } => {
                let spread = if spread { SPREAD } else { 0 };
                Self { what: fields(port, mtu) | SEAL | spread, to: u64::from(slot) }
            }
            Way::Clear { port, mac, mtu } => {
                let [a, b, c, d, e, f] = mac.0;
                Self { what: fields(port, mtu), to: u64::from_be_bytes([0, 0, a, b, c, d, e, f]) }
            }
        }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the fields are taken out of their words")]
    pub(super) const fn way(self) -> Way {
        let (port, mtu) = (PortId((self.what >> 16) as u16), (self.what >> 32) as u16);
        if self.what & SEAL == 0 {
            let [_, _, mac @ ..] = self.to.to_be_bytes();
            Way::Clear { port, mac: Mac(mac), mtu }
        } else {
            Way::Seal { slot: self.to as u32, port, mtu, spread: self.what & SPREAD != 0 }
        }
    }
}

/// One cache line; all zeros is no flow's.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Entry {
    id: [u64; 5],
    snapshot: u64,
    way: Packed,
}

const ENTRY_OCTETS: usize = 64;
const _: () = assert!(size_of::<Entry>() == ENTRY_OCTETS);

/// Flows remembered by a worker.
const ENTRIES: usize = 1 << 15;
/// Entries that a flow may stand in, next to each other.
const WINDOW: usize = 4;
/// What the entries are aligned to: a huge page, so that a look at one costs no walk through the page tables.
const ALIGN_OCTETS: usize = 2 << 20;

/// See the module's text.
pub(super) struct Flows {
    /// `None` where the system gave none: every packet goes the long way then.
    memory: Option<MmapMut>,
    /// Where the entries begin in `memory`. Units: octets.
    start: usize,
    /// So that nobody outside can tell which flows meet in a window.
    seed: u64,
}

/// The first of the entries that a flow may stand in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(u32);

/// The entries as they are read by a burst.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    entries: &'a [Entry],
    seed: u64,
}

impl Flows {
    /// Makes an empty cache. `seed` is a random number.
    pub(super) fn new(seed: u64) -> Self {
        let memory = MmapMut::map_anon(ENTRIES * ENTRY_OCTETS + ALIGN_OCTETS).ok();
        let start = memory.as_ref().map_or(0, |memory| {
            // A system without huge pages is slower and no less right.
            let _ = memory.advise(Advice::HugePage);
            memory.as_ptr().align_offset(ALIGN_OCTETS).min(ALIGN_OCTETS)
        });
        Self { memory, start, seed }
    }

    /// Returns the entries for reading.
    #[inline]
    pub(super) fn view(&self) -> View<'_> {
        let octets = self.memory.as_ref().and_then(|memory| memory.get(self.start..)).unwrap_or_default();
        let entries = <[Entry]>::ref_from_prefix_with_elems(octets, ENTRIES);
        View { entries: entries.map_or(&[], |(entries, _)| entries), seed: self.seed }
    }

    /// Remembers the way of a flow: in its own entry, else in one that holds no longer, else in its first.
    pub(super) fn learn(&mut self, id: FlowId, snapshot: u64, way: Way) {
        let first = self.view().place(&id);
        let octets = self.memory.as_mut().and_then(|memory| memory.get_mut(self.start..)).unwrap_or_default();
        let Ok((entries, _)) = <[Entry]>::mut_from_prefix_with_elems(octets, ENTRIES) else { return };
        let fits = |fit: &dyn Fn(&Entry) -> bool| {
            (0..WINDOW).map(|step| first.step(step)).find(|at| entries.get(*at).is_some_and(fit))
        };
        let own = fits(&|entry| entry.id == *id.words());
        let at = own.or_else(|| fits(&|entry| entry.snapshot != snapshot)).unwrap_or(first.step(0));
        if let Some(entry) = entries.get_mut(at) {
            *entry = Entry { id: *id.words(), snapshot, way: Packed::of(way) };
        }
    }
}

impl View<'_> {
    /// Says where a flow stands, and starts to load it.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
    pub(super) fn place(&self, id: &FlowId) -> Place {
        let place = Place(id.hash(self.seed) as u32 % ENTRIES as u32);
        if let Some(entry) = self.entries.get(place.step(0)) {
            dpdk::prefetch(entry);
        }
        place
    }

    /// Returns the way of a flow that was learnt under `snapshot`, or [`Packed::NONE`].
    #[inline]
    pub(super) fn way(&self, id: &FlowId, place: Place, snapshot: u64) -> Packed {
        for step in 0..WINDOW {
            let Some(entry) = self.entries.get(place.step(step)) else { break };
            if id.is(&entry.id) && entry.snapshot == snapshot {
                return entry.way;
            }
        }
        Packed::NONE
    }
}

impl Place {
    #[inline]
    const fn step(self, step: usize) -> usize {
        self.0 as usize ^ step
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
        let view = flows.view();
        let packed = view.way(&id, view.place(&id), snapshot);
        (packed != Packed::NONE).then(|| packed.way())
    }

    #[test]
    fn each_way_comes_back_as_it_was_packed() {
        for way in [
            way(0),
            way(u32::MAX),
            Way::Seal { slot: 1, port: PortId(u16::MAX), mtu: 0, spread: true },
            Way::Clear { port: PortId(u16::MAX), mac: Mac([0xff; 6]), mtu: u16::MAX },
            Way::Clear { port: PortId(0), mac: Mac([1, 2, 3, 4, 5, 6]), mtu: 1500 },
        ] {
            assert_eq!(Packed::of(way).way(), way);
            assert_ne!(Packed::of(way), Packed::NONE);
        }
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
