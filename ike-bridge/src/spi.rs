//! Allocation of SPIs and slots: which slot an SA gets and which SPI a peer is told.
//!
//! An SPI of ours is `slot | high << 20`: the engine finds the SA by one array access, and the random non-
//! zero
//! high part keeps 0-255 out and an old SPI from naming a new SA. A freed slot rests before it is used again,
//! and does not return with one of its last high parts. Time and randomness are arguments.

use std::collections::{HashMap, VecDeque};

use shm_protocol::ids::{SA_SLOTS, Slot, Spi};
use shm_protocol::sa::{Direction, Occupant, SlotContents};

/// Why no slot or SPI was given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many SAs and reservations as are admitted.
    #[error("{capacity} SAs are installed or reserved and no more are admitted: raise --capacity")]
    Full {
        /// The admission limit.
        capacity: u32,
    },
    /// The slot that the SPI names holds another SA, or an SPI reserved for somebody else.
    #[error("the slot of SPI {spi} is taken")]
    Taken {
        /// The SPI asked for.
        spi: Spi,
    },
}

/// A reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// The SPI to tell the peer.
    pub spi: Spi,
    /// When the reservation ends.
    pub until_ns: u64,
}

/// Slots and the SPIs they were given out under.
#[derive(Debug)]
pub struct SpiAllocator {
    slots: Vec<Entry>,
    /// Slots to give out next. One that was claimed by its SPI stays in the list and is passed over.
    free: VecDeque<u32>,
    larval: VecDeque<(u64, u32)>,
    resting: VecDeque<(u64, u32)>,
    foreign: HashMap<Spi, u32>,
    capacity: u32,
    admitted: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Larval { until_ns: u64 },
    Used,
    Resting { until_ns: u64 },
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    /// The high part given out last, then the ones before it.
    highs: [u16; HIGHS_REMEMBERED],
    /// Whether it stands in the list of free slots.
    queued: bool,
}

impl Entry {
    const BLANK: Self = Self { state: State::Free, highs: [0; HIGHS_REMEMBERED], queued: false };
}

impl SpiAllocator {
    /// Returns an allocator that admits `capacity` SAs and reservations, rebuilt from what the slots of the
    /// segment say, first slot to try `start`.
    pub fn new(capacity: u32, contents: impl IntoIterator<Item = SlotContents>, start: u32) -> Self {
        // More slots than SAs, so that those at rest do not stand in the way of a rekey.
        let slots = capacity.saturating_mul(2).clamp(FEWEST_SLOTS, SA_SLOTS);
        let mut this = Self {
            capacity,
            slots: vec![Entry::BLANK; slots as usize],
            free: VecDeque::new(),
            larval: VecDeque::new(),
            resting: VecDeque::new(),
            foreign: HashMap::new(),
            admitted: 0,
        };
        for slot in contents {
            this.restore(&slot);
        }
        this.larval.make_contiguous().sort_unstable();
        this.resting.make_contiguous().sort_unstable();
        let count = u32::try_from(this.slots.len()).unwrap_or(SA_SLOTS);
        let in_order = (0..count).map(|i| (start % count + i) % count);
        for slot in in_order {
            this.queue(slot);
        }
        this
    }

    fn restore(&mut self, contents: &SlotContents) {
        let slot = contents.slot.index();
        if slot as usize >= self.slots.len() {
            // The capacity was lowered: admission stops, what is installed stays.
            self.slots.resize(slot as usize + 1, Entry::BLANK);
        }
        let mut highs = Entry { highs: contents.history.last_high, ..Entry::BLANK };
        let mut remember = |high: u16| {
            if highs.high() != high {
                highs.remember(high);
            }
        };
        let state = match &contents.occupant {
            Occupant::Sa(sa) => {
                if sa.direction == Direction::In && !sa.foreign {
                    remember(sa.spi.high());
                } else if sa.direction == Direction::In {
                    *self.foreign.entry(sa.spi).or_insert(0) += 1;
                }
                self.admitted += 1;
                State::Used
            }
            Occupant::Larval(larval) => {
                remember(larval.spi.high());
                self.larval.push_back((larval.until_ns, slot));
                self.admitted += 1;
                State::Larval { until_ns: larval.until_ns }
            }
            Occupant::Empty if contents.history.freed_ns != 0 => {
                let until_ns = contents.history.freed_ns.saturating_add(REST_NS);
                self.resting.push_back((until_ns, slot));
                State::Resting { until_ns }
            }
            Occupant::Empty => State::Free,
        };
        if let Some(entry) = self.slots.get_mut(slot as usize) {
            *entry = Entry { state, ..highs };
        }
    }

    /// Adds a free slot to those to give out.
    fn queue(&mut self, slot: u32) {
        if let Some(entry) = self.slots.get_mut(slot as usize)
            && entry.state == State::Free
            && !entry.queued
        {
            entry.queued = true;
            self.free.push_back(slot);
        }
    }

    /// Takes the slot that has been free for longest.
    fn next_free(&mut self) -> Option<u32> {
        while let Some(slot) = self.free.pop_front() {
            let Some(entry) = self.slots.get_mut(slot as usize) else { continue };
            entry.queued = false;
            if entry.state == State::Free {
                return Some(slot);
            }
        }
        None
    }

    fn state(&self, slot: u32) -> Option<State> {
        self.slots.get(slot as usize).map(|entry| entry.state)
    }

    /// Returns how many SAs and reservations there are.
    pub fn admitted(&self) -> u32 {
        self.admitted
    }

    /// Reserves a slot and returns the SPI to tell the peer.
    ///
    /// Errors: `Full` when no slot is free.
    pub fn reserve(&mut self, now_ns: u64, mut random: impl FnMut() -> u32) -> Result<Reserved, Refused> {
        self.wake(now_ns);
        self.admit()?;
        let slot = self.next_free().ok_or(self.full())?;
        let spi = self.pick(slot, &mut random);
        let until_ns = now_ns.saturating_add(LARVAL_NS);
        if let Some(entry) = self.slots.get_mut(slot as usize) {
            entry.state = State::Larval { until_ns };
            entry.remember(spi.high());
        }
        self.larval.push_back((until_ns, slot));
        self.admitted += 1;
        Ok(Reserved { spi, until_ns })
    }

    /// Returns the slot that an inbound SA under an SPI of ours would get.
    ///
    /// A slot at rest or free is given too when the SPI is not another's: its reservation may have expired.
    /// Errors: `Taken`, `Full`.
    pub fn claimable(&self, spi: Spi) -> Result<Slot, Refused> {
        let taken = Refused::Taken { spi };
        let entry = self.slots.get(Slot::of(spi).index() as usize).ok_or(taken)?;
        match entry.state {
            State::Larval { .. } if entry.high() == spi.high() => Ok(Slot::of(spi)),
            State::Used | State::Larval { .. } => Err(taken),
            State::Resting { .. } | State::Free => self.admit().map(|()| Slot::of(spi)),
        }
    }

    /// Gives the slot named by an SPI of ours to an inbound SA, after `claimable`.
    pub fn claim(&mut self, spi: Spi) {
        let slot = Slot::of(spi).index();
        if let Some(entry) = self.slots.get_mut(slot as usize) {
            if !matches!(entry.state, State::Larval { .. }) {
                self.admitted += 1;
            }
            if entry.high() != spi.high() {
                entry.remember(spi.high());
            }
            entry.state = State::Used;
        }
    }

    /// Gives any slot to an SA whose SPI somebody else chose.
    ///
    /// Errors: `Full` when no slot is free or resting.
    pub fn take_slot(&mut self, now_ns: u64) -> Result<Slot, Refused> {
        self.wake(now_ns);
        self.admit()?;
        let full = self.full();
        let slot = match self.next_free() {
            Some(slot) => slot,
            None => self.oldest_resting().ok_or(full)?,
        };
        if let Some(entry) = self.slots.get_mut(slot as usize) {
            entry.state = State::Used;
        }
        self.admitted += 1;
        Ok(Slot::of(Spi(slot)))
    }

    /// Frees the slot of a deleted SA or of a reservation; it rests before it is given out again.
    pub fn release(&mut self, slot: Slot, now_ns: u64) {
        let slot = slot.index();
        let until_ns = now_ns.saturating_add(REST_NS);
        if let Some(entry) = self.slots.get_mut(slot as usize)
            && matches!(entry.state, State::Used | State::Larval { .. })
        {
            entry.state = State::Resting { until_ns };
            self.resting.push_back((until_ns, slot));
            self.admitted -= 1;
        }
    }

    /// Takes back a `release`.
    pub fn put_back(&mut self, slot: Slot) {
        if let Some(entry) = self.slots.get_mut(slot.index() as usize)
            && matches!(entry.state, State::Resting { .. } | State::Free)
        {
            entry.state = State::Used;
            self.admitted += 1;
        }
    }

    /// Ends the reservations that are too old. Returns their slots, to be emptied in the segment.
    pub fn expire(&mut self, now_ns: u64) -> Vec<Slot> {
        let mut expired = Vec::new();
        while let Some(&(until_ns, slot)) = self.larval.front()
            && until_ns <= now_ns
        {
            self.larval.pop_front();
            if self.state(slot) == Some(State::Larval { until_ns }) {
                expired.push(Slot::of(Spi(slot)));
                self.release(Slot::of(Spi(slot)), now_ns);
            }
        }
        expired
    }

    /// Keeps `spi`, chosen by somebody else, from being given out until `unforbid`.
    pub fn forbid(&mut self, spi: Spi) {
        *self.foreign.entry(spi).or_insert(0) += 1;
    }

    /// Ends one `forbid` of `spi`.
    pub fn unforbid(&mut self, spi: Spi) {
        if let Some(count) = self.foreign.get_mut(&spi) {
            *count -= 1;
            if *count == 0 {
                self.foreign.remove(&spi);
            }
        }
    }

    /// Returns true when `spi` may be one that we gave out: reserved now, or the last one of a slot without
    /// SA.
    pub fn is_ours(&self, spi: Spi) -> bool {
        let entry = self.slots.get(Slot::of(spi).index() as usize);
        entry.is_some_and(|entry| entry.high() == spi.high() && entry.state != State::Used)
    }

    /// Returns true when `spi` is reserved and no SA uses it yet.
    pub fn is_larval(&self, spi: Spi) -> bool {
        self.slots
            .get(Slot::of(spi).index() as usize)
            .is_some_and(|s| matches!(s.state, State::Larval { .. }) && s.high() == spi.high())
    }

    fn pick(&self, slot: u32, random: &mut impl FnMut() -> u32) -> Spi {
        let remembered = self.slots.get(slot as usize).map_or([0; HIGHS_REMEMBERED], |s| s.highs);
        let start = random() % HIGHS;
        // At most 16 remembered parts and a handful of foreign SPIs stand against 4095 candidates.
        (0..HIGHS)
            .filter_map(|i| u16::try_from((start + i) % HIGHS + 1).ok())
            .filter(|high| !remembered.contains(high))
            .filter_map(|high| Spi::allocated(Slot::of(Spi(slot)), high))
            .find(|spi| !self.foreign.contains_key(spi))
            .unwrap_or(Spi(slot | 1 << 20))
    }

    fn wake(&mut self, now_ns: u64) {
        while let Some(&(until_ns, slot)) = self.resting.front()
            && until_ns <= now_ns
        {
            self.resting.pop_front();
            if let Some(entry) = self.slots.get_mut(slot as usize)
                && entry.state == (State::Resting { until_ns })
            {
                entry.state = State::Free;
                self.queue(slot);
            }
        }
    }

    fn oldest_resting(&mut self) -> Option<u32> {
        while let Some((until_ns, slot)) = self.resting.pop_front() {
            if self.slots.get(slot as usize).is_some_and(|s| s.state == (State::Resting { until_ns })) {
                return Some(slot);
            }
        }
        None
    }

    fn admit(&self) -> Result<(), Refused> {
        if self.admitted < self.capacity { Ok(()) } else { Err(self.full()) }
    }

    fn full(&self) -> Refused {
        Refused::Full { capacity: self.capacity }
    }
}

impl Entry {
    fn high(&self) -> u16 {
        self.highs.first().copied().unwrap_or(0)
    }

    fn remember(&mut self, high: u16) {
        self.highs.rotate_right(1);
        if let Some(first) = self.highs.first_mut() {
            *first = high;
        }
    }
}

const FEWEST_SLOTS: u32 = 4096;
const HIGHS: u32 = 4095;
const HIGHS_REMEMBERED: usize = 16;
const REST_NS: u64 = 60_000_000_000;
const LARVAL_NS: u64 = 165_000_000_000;

#[cfg(test)]
mod tests {
    use shm_protocol::ids::{Generation, Owner};
    use shm_protocol::sa::{Larval, SpiHistory};

    use super::*;
    use crate::testing::sa;

    const S: u64 = 1_000_000_000;

    fn slot(index: u32) -> Slot {
        Slot::new(index).unwrap()
    }

    fn ours(index: u32, high: u16) -> Spi {
        Spi::allocated(slot(index), high).unwrap()
    }

    fn contents(index: u32, occupant: Occupant, history: SpiHistory) -> SlotContents {
        SlotContents { slot: slot(index), occupant, history, generation: Generation(1) }
    }

    fn allocator(start: u32) -> SpiAllocator {
        SpiAllocator::new(16, [], start)
    }

    /// Leaves `free` as the only slot that was never used.
    fn almost_full(free: u32) -> SpiAllocator {
        let mut a = allocator(0);
        a.free.retain(|&slot| slot == free);
        a
    }

    #[test]
    fn an_spi_holds_its_slot_and_a_non_zero_high_part() {
        let mut a = allocator(3);
        assert_eq!(a.reserve(0, || 0).unwrap().spi, ours(3, 1));
        assert_eq!(a.reserve(0, || 4094).unwrap().spi, ours(4, 4095));
    }

    #[test]
    fn a_freed_slot_rests_sixty_seconds() {
        let mut a = almost_full(0);
        let spi = a.reserve(0, || 7).unwrap().spi;
        assert_eq!(a.claimable(spi), Ok(slot(0)));
        a.claim(spi);
        a.release(slot(0), 10 * S);
        assert!(a.reserve(69 * S, || 7).is_err());
        assert!(a.reserve(70 * S, || 7).is_ok());
    }

    #[test]
    fn a_slot_does_not_return_with_its_last_sixteen_high_parts() {
        let mut a = almost_full(0);
        let mut seen = Vec::new();
        for round in 0..17_u64 {
            let spi = a.reserve(round * 100 * S, || 5).unwrap().spi;
            assert!(!seen.contains(&spi), "round {round} repeats {spi}");
            seen.push(spi);
            a.claim(spi);
            a.release(slot(0), round * 100 * S);
        }
        let again = a.reserve(1700 * S, || 5).unwrap().spi;
        assert_eq!(again, seen[0], "the seventeenth before may come back");
    }

    #[test]
    fn a_larval_spi_expires_after_165_seconds_and_its_slot_rests() {
        let mut a = almost_full(0);
        let reserved = a.reserve(0, || 9).unwrap();
        assert_eq!(reserved.until_ns, 165 * S);
        assert!(a.expire(164 * S).is_empty());
        assert!(a.is_larval(reserved.spi));
        assert_eq!(a.expire(165 * S), [slot(0)]);
        assert!(!a.is_larval(reserved.spi));
        assert!(a.reserve(224 * S, || 9).is_err());
        assert!(a.reserve(225 * S, || 9).is_ok());
    }

    #[test]
    fn a_foreign_spi_is_never_given_out() {
        let mut a = allocator(0);
        a.forbid(ours(0, 6));
        assert_eq!(a.reserve(0, || 5).unwrap().spi, ours(0, 7));
    }

    #[test]
    fn the_slot_of_another_spi_is_not_claimed() {
        let mut a = allocator(0);
        let spi = a.reserve(0, || 9).unwrap().spi;
        assert!(a.claimable(ours(0, spi.high() + 1)).is_err());
        a.claim(spi);
        assert_eq!(a.claimable(spi), Err(Refused::Taken { spi }));
    }

    #[test]
    fn no_more_than_the_capacity_is_admitted() {
        let mut a = SpiAllocator::new(2, [], 0);
        a.reserve(0, || 1).unwrap();
        a.take_slot(0).unwrap();
        assert_eq!(a.reserve(0, || 1), Err(Refused::Full { capacity: 2 }));
        assert_eq!(a.take_slot(0), Err(Refused::Full { capacity: 2 }));
        a.release(slot(1), 0);
        assert!(a.reserve(0, || 1).is_ok());
    }

    #[test]
    fn a_restarted_bridge_knows_what_is_used_reserved_and_resting() {
        let owner = Owner(0);
        let dst = "192.0.2.1".parse().unwrap();
        let larval = Larval { slot: slot(1), owner, spi: ours(1, 9), until_ns: 50 * S, reqid: 0, dst };
        let mut last_high = [0; 16];
        last_high[0] = 6;
        let rested = SpiHistory { freed_ns: 10 * S, last_high };
        let mut a = SpiAllocator::new(
            16,
            [
                contents(0, Occupant::Sa(Box::new(sa(Direction::In, 0))), SpiHistory::default()),
                contents(1, Occupant::Larval(larval), SpiHistory::default()),
                contents(2, Occupant::Empty, rested),
            ],
            0,
        );
        assert_eq!(a.admitted(), 2);
        assert!(a.is_larval(ours(1, 9)));
        assert_eq!(a.claimable(ours(1, 9)), Ok(slot(1)));
        assert_eq!(a.reserve(20 * S, || 5).unwrap().spi, ours(3, 6));
        a.free.clear();
        assert_eq!(a.reserve(70 * S, || 5).unwrap().spi, ours(2, 7), "slot 2 does not come back with 6");
        assert_eq!(a.expire(50 * S), [slot(1)]);
    }

    #[test]
    fn an_outbound_sa_may_take_a_resting_slot() {
        let mut a = almost_full(0);
        assert_eq!(a.take_slot(0), Ok(slot(0)));
        a.release(slot(0), 0);
        assert!(a.reserve(S, || 1).is_err());
        assert_eq!(a.take_slot(S), Ok(slot(0)));
    }
}
