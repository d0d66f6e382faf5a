//! The SPD cache of a worker (RFC 4301 section 4.4.1): what became of the first packet of a flow, for those after it.
//!
//! An entry names its flow exactly. It holds under the snapshot it was last found to hold under, and under a later one when
//! nothing that may concern its two ends has changed in between. It never makes a decision of its own.

use esp::wire::eth::Mac;
use esp::wire::plain::FlowId;
use memmap2::{Advice, MmapMut};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout};

use crate::ports::PortId;
use crate::tables::epochs::Epochs;

/// Where the packets of a flow go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Sealed by the SA at `slot`, whose next hop is on `port`, if they have no more than `mtu` octets.
    Seal { slot: u32, port: PortId, mtu: u16, spread: bool },
    /// In clear out of `port`, if they have no more than `mtu` octets.
    Clear { port: PortId, mac: Mac, mtu: u16 },
}

/// A way as it is stored: equal ones are the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    /// The slot or the station address, then from the 48th bit on the MTU.
    to: u64,
    /// Kind and `spread`, then from the 16th bit on the port.
    what: u32,
}

const SEAL: u32 = 1;
const SPREAD: u32 = 2;

impl Packed {
    /// Not that of any way.
    pub(super) const NONE: Self = Self { to: u64::MAX, what: u32::MAX };

    fn of(way: Way) -> Self {
        match way {
            Way::Seal { slot, port, mtu, spread } => {
                let spread = if spread { SPREAD } else { 0 };
                let to = u64::from(slot) | u64::from(mtu) << 48;
                Self { to, what: u32::from(port.0) << 16 | SEAL | spread }
            }
            Way::Clear { port, mac, mtu } => {
                let ([a, b, c, d, e, f], [high, low]) = (mac.0, mtu.to_be_bytes());
                let to = u64::from_be_bytes([high, low, a, b, c, d, e, f]);
                Self { to, what: u32::from(port.0) << 16 }
            }
        }
    }

    /// Slot of the SA that seals the flow's packets; `None` for another way.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "as for `way`")]
    pub(super) const fn slot(self) -> Option<u32> {
        let seals = self.what & SEAL != 0 && self.what != Self::NONE.what;
        if seals { Some(self.to as u32) } else { None }
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the fields are taken out of their words")]
    pub(super) const fn way(self) -> Way {
        let (port, mtu) = (PortId((self.what >> 16) as u16), (self.to >> 48) as u16);
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
    /// Epoch of the flow's ends when it was learnt.
    epoch: u64,
    to: u64,
    what: u32,
    /// Low half of the number of the snapshot it was last found to hold under.
    snapshot: u32,
}

const ENTRY_OCTETS: usize = 64;
const _: () = assert!(size_of::<Entry>() == ENTRY_OCTETS);

/// The snapshot a burst works under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now<'a> {
    /// Its number, never 0.
    pub(super) snapshot: u64,
    /// What changed when.
    pub(super) epochs: &'a Epochs,
}

impl Now<'_> {
    #[allow(clippy::cast_possible_truncation, reason = "see `Flows::forget_the_old`")]
    const fn short(&self) -> u32 {
        self.snapshot as u32
    }

    fn epoch(&self, id: &FlowId) -> u64 {
        let (src, dst) = id.address_bits();
        self.epochs.between(src, dst)
    }
}

/// Flows that a worker has room for at the least.
pub(super) const LEAST: usize = 1 << 15;
/// Entries in use for each that holds a flow, while there are more to take into use: nearly every flow stands in its first
/// place then, and few flows stand in few pages.
const SPACE: usize = 8;
/// Flows that a worker has room for at the most.
const MOST: usize = 1 << 24;
/// Entries that a flow may stand in: half of them next to each other, the other half too, but elsewhere.
const WINDOW: usize = 8;
/// Entries of a half.
const HALF: usize = WINDOW / 2;
/// What the entries are aligned to: a huge page, so that a look at one costs no walk through the page tables.
const ALIGN_OCTETS: usize = 2 << 20;

/// See the module's text.
pub(super) struct Flows {
    /// `None` where the system gave none: every packet goes the long way then.
    memory: Option<MmapMut>,
    /// Where the entries begin in `memory`. Units: octets.
    start: usize,
    /// How many entries there are; a power of two.
    count: usize,
    /// How many of them are in use, from the first on; a power of two.
    in_use: usize,
    /// How many entries hold a flow, or one that stands elsewhere since more are in use.
    taken: usize,
    /// So that nobody outside can tell which flows meet in a window.
    seed: u64,
    /// The upper part of the newest snapshot's number.
    era: u64,
}

/// The first of the entries that a flow may stand in, and how the other half is away from it, in bits to change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    first: u32,
    other: u32,
}

/// What tells where flows stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    seed: u64,
    mask: u32,
    /// Where the entries begin, for asking for them alone.
    first: *const Entry,
}

impl Flows {
    /// Makes an empty cache for `flows` flows, as far as that is between [`LEAST`] and [`MOST`]. `seed` is a random number.
    pub(super) fn new(seed: u64, flows: usize) -> Self {
        let count = flows.clamp(LEAST, MOST).next_power_of_two();
        let memory = MmapMut::map_anon(count * ENTRY_OCTETS + ALIGN_OCTETS).ok();
        let start = memory.as_ref().map_or(0, |memory| {
            // A system without huge pages is slower and no less right.
            let _ = memory.advise(Advice::HugePage);
            memory.as_ptr().align_offset(ALIGN_OCTETS).min(ALIGN_OCTETS)
        });
        let mut flows = Self { memory, start, count, in_use: LEAST, taken: 0, seed, era: 0 };
        // The system finds the memory now and not under a packet.
        flows.entries_mut().fill(Entry::new_zeroed());
        flows
    }

    /// Returns what tells where flows stand.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "there are no more than `MOST`")]
    pub(super) fn places(&self) -> Places {
        let octets = self.memory.as_ref().and_then(|memory| memory.get(self.start..)).unwrap_or_default();
        Places { seed: self.seed, mask: self.in_use as u32 - 1, first: octets.as_ptr().cast() }
    }

    #[inline]
    fn entries_mut(&mut self) -> &mut [Entry] {
        let octets = self.memory.as_mut().and_then(|memory| memory.get_mut(self.start..)).unwrap_or_default();
        <[Entry]>::mut_from_prefix_with_elems(octets, self.count).map_or(&mut [], |(entries, _)| entries)
    }

    /// Forgets everything before half of a snapshot's number comes round, so that equal halves are equal numbers.
    #[inline]
    pub(super) fn forget_the_old(&mut self, now: Now<'_>) {
        let era = now.snapshot >> 31;
        if era != self.era {
            self.era = era;
            self.entries_mut().fill(Entry::new_zeroed());
            self.taken = 0;
        }
    }

    /// Calls `found` for each flow with its way, or with [`Packed::NONE`] where none is known that still holds.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the common case is one comparison")]
    pub(super) fn ways<'f>(
        &mut self,
        flows: impl Iterator<Item = Option<(&'f FlowId, Place)>>,
        now: Now<'_>,
        mut found: impl FnMut(Packed),
    ) {
        let entries = self.entries_mut();
        for flow in flows {
            found(flow.map_or(Packed::NONE, |(id, place)| way(entries, id, place, now)));
        }
    }

    /// Remembers the way of a flow: in its own entry, else in a free one, else in one that was not used under this snapshot,
    /// else in its first.
    pub(super) fn learn(&mut self, id: FlowId, now: Now<'_>, way: Way) {
        let first = self.places().of(&id);
        let entries = self.entries_mut();
        let fits = |fit: &dyn Fn(&Entry) -> bool| {
            (0..WINDOW).map(|step| first.step(step)).find(|at| entries.get(*at).is_some_and(fit))
        };
        let own = fits(&|entry| entry.id == *id.words());
        let free = if own.is_none() { fits(&|entry| entry.snapshot == 0) } else { None };
        let old = || fits(&|entry| entry.snapshot != now.short());
        let at = own.or(free).or_else(old).unwrap_or(first.step(0));
        let Packed { to, what } = Packed::of(way);
        if let Some(entry) = entries.get_mut(at) {
            *entry = Entry { id: *id.words(), epoch: now.epoch(&id), to, what, snapshot: now.short() };
        }
        self.taken += usize::from(free.is_some());
        if self.taken * SPACE > self.in_use && self.in_use < self.count {
            // Half of the flows stand somewhere else then, and are learnt again.
            self.in_use *= 2;
        }
    }
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "as above")]
fn way(entries: &mut [Entry], id: &FlowId, place: Place, now: Now<'_>) -> Packed {
    for step in 0..WINDOW {
        let Some(entry) = entries.get_mut(place.step(step)) else { break };
        if !id.is(&entry.id) {
            continue;
        }
        if entry.snapshot == now.short() || holds_still(entry, id, now) {
            return Packed { to: entry.to, what: entry.what };
        }
        break;
    }
    Packed::NONE
}

/// Whether an entry of an earlier snapshot holds under this one too.
#[cold]
fn holds_still(entry: &mut Entry, id: &FlowId, now: Now<'_>) -> bool {
    if entry.epoch == now.epoch(id) {
        entry.snapshot = now.short();
        return true;
    }
    false
}

impl Places {
    /// Says where a flow stands, and starts to load it.
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
    pub(super) fn of(self, id: &FlowId) -> Place {
        let hash = id.hash(self.seed);
        let place = Place { first: hash as u32 & self.mask, other: (hash >> 32) as u32 & self.mask };
        dpdk::prefetch_at(self.first.wrapping_add(place.step(0)));
        place
    }
}

impl Place {
    #[inline]
    const fn step(self, step: usize) -> usize {
        let half = if step < HALF { 0 } else { self.other };
        (self.first ^ half) as usize ^ (step % HALF)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::epochs::Host;
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

    fn find(flows: &mut Flows, id: FlowId, now: Now<'_>) -> Option<Way> {
        let place = flows.places().of(&id);
        let mut way = None;
        flows.ways(std::iter::once(Some((&id, place))), now, |packed| way = Some(packed));
        way.filter(|packed| *packed != Packed::NONE).map(Packed::way)
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

    const fn at(snapshot: u64, epochs: &Epochs) -> Now<'_> {
        Now { snapshot, epochs }
    }

    #[test]
    fn a_way_holds_for_its_flow_until_something_about_its_ends_changes() {
        let mut flows = Flows::new(7, LEAST);
        let mut epochs = Epochs::default();
        assert_eq!(find(&mut flows, id(1), at(1, &epochs)), None);
        flows.learn(id(1), at(1, &epochs), way(5));
        assert_eq!(find(&mut flows, id(1), at(1, &epochs)), Some(way(5)));
        assert_eq!(find(&mut flows, id(2), at(1, &epochs)), None);
        epochs.touch(Host::of([10, 7, 7, 7].into()));
        assert_eq!(find(&mut flows, id(1), at(2, &epochs)), Some(way(5)));
        epochs.touch(Host::of([10, 2, 0, 1].into()));
        assert_eq!(find(&mut flows, id(1), at(3, &epochs)), None);
        flows.learn(id(1), at(3, &epochs), way(6));
        assert_eq!(find(&mut flows, id(1), at(3, &epochs)), Some(way(6)));
        epochs.touch_all();
        assert_eq!(find(&mut flows, id(1), at(4, &epochs)), None);
    }

    #[test]
    fn numbers_that_are_equal_by_half_are_not_taken_for_each_other() {
        let mut flows = Flows::new(7, LEAST);
        let (old, mut epochs) = (Epochs::default(), Epochs::default());
        epochs.touch_all();
        flows.learn(id(1), Now { snapshot: 5, epochs: &old }, way(1));
        let now = Now { snapshot: 5 + (1 << 32), epochs: &epochs };
        flows.forget_the_old(now);
        assert_eq!(find(&mut flows, id(1), now), None);
    }

    #[test]
    fn a_crowd_of_flows_finds_its_own_ways_or_none() {
        let mut flows = Flows::new(7, LEAST);
        let epochs = Epochs::default();
        let now = Now { snapshot: 1, epochs: &epochs };
        let mut known = 0;
        for flow in 0..u16::MAX {
            flows.learn(id(flow), now, way(flow.into()));
        }
        for flow in 0..u16::MAX {
            let found = find(&mut flows, id(flow), now);
            assert!(found.is_none() || found == Some(way(flow.into())));
            known += usize::from(found.is_some());
        }
        assert!(known > LEAST * 3 / 4 && known <= LEAST, "{known}");
    }

    #[test]
    fn few_flows_stand_close_together_and_many_find_room() {
        let most = 8 * LEAST;
        let mut flows = Flows::new(7, most);
        let epochs = Epochs::default();
        let learn_all = |flows: &mut Flows, count: u16| {
            for flow in 0..count {
                if find(flows, id(flow), at(1, &epochs)).is_none() {
                    flows.learn(id(flow), at(1, &epochs), way(flow.into()));
                }
            }
            flows.in_use
        };
        assert_eq!(learn_all(&mut flows, 4_000), LEAST);
        for _ in 0..4 {
            learn_all(&mut flows, 60_000);
        }
        assert_eq!(flows.in_use, most);
        let known = (0..60_000).filter(|flow| find(&mut flows, id(*flow), at(1, &epochs)).is_some()).count();
        assert!(known > 59_900, "{known}");
    }

    #[test]
    fn what_was_not_used_makes_place_first() {
        let mut flows = Flows::new(7, LEAST);
        let epochs = Epochs::default();
        for flow in 0..u16::MAX {
            flows.learn(id(flow), at(1, &epochs), way(1));
        }
        for flow in 0..1000 {
            flows.learn(id(flow), at(2, &epochs), way(2));
        }
        assert!((0..1000).all(|flow| find(&mut flows, id(flow), at(2, &epochs)) == Some(way(2))));
    }
}
