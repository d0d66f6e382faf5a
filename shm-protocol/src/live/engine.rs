//! The engine's side of `live`: attach or create, records, windows, totals, events.
//!
//! Workers use records and windows only, by atomics. What takes the inner lock is for the control thread.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::arena::Arena;
use super::record::Place;
use super::setup::Setup;
use super::shape::{KIND, Shape};
use super::totals::{self, Counted, Index, Totals};
use super::{Event, LiveRecord, LiveStep, event};
use crate::error::Error;
use crate::ids::{Generation, IfId, InstanceId, SA_SLOTS, SaUid, Slot};
use crate::map::Access;
use crate::place::RuntimeDir;
use crate::sa::Initial;
use crate::segment;

/// What a record is set up with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewRecord {
    /// The record.
    pub slot: Slot,
    /// The SA.
    pub uid: SaUid,
    /// The tunnel whose totals get its counters when it goes.
    pub if_id: IfId,
    /// Where it starts counting if its uid is new.
    pub initial: Initial,
    /// Replay window kept for it; 0 is none. Units: packets.
    pub window_pkts: u32,
}

/// What `init` found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InitOutcome {
    /// The record was this SA's already: numbers and window go on.
    Kept,
    /// The record is fresh.
    Fresh,
    /// Numbers go on, also those of an SA that was retired and is back; the window was laid out anew, with
    /// everything up to its top seen.
    Rewindowed,
}

/// Checked place of a window's ring: cheap to keep in the engine's SA object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingRef {
    slot: Slot,
    place: Place,
}

/// The words of a replay window, for `esp::window`.
#[derive(Clone, Copy)]
pub struct Window<'a> {
    /// Lower bound of the highest number accepted.
    pub top: &'a AtomicU64,
    /// Ring of words {block number 32 | bits 32}.
    pub ring: &'a [AtomicU64],
    /// Size. Units: packets.
    pub size_pkts: u32,
}

/// The engine's map of `live`; shared by control thread and workers.
pub struct Live {
    shape: Shape,
    instance: InstanceId,
    control: Mutex<Control>,
    /// Stands in for a record outside the map, which attach has made impossible.
    nobody: Box<LiveRecord>,
}

/// What only the control thread uses.
struct Control {
    arena: Arena,
    totals: Index,
    /// Slots set up by this process: workers may use them.
    in_use: Slots,
    hook: Option<Box<dyn FnMut(LiveStep) + Send>>,
}

/// A bit for each slot.
struct Slots(Box<[u64]>);

impl Default for Slots {
    fn default() -> Self {
        Self(vec![0; SA_SLOTS.div_ceil(u64::BITS) as usize].into())
    }
}

impl Slots {
    const fn place(slot: Slot) -> (usize, u64) {
        ((slot.index() / u64::BITS) as usize, 1 << (slot.index() % u64::BITS))
    }

    fn has(&self, slot: Slot) -> bool {
        let (word, bit) = Self::place(slot);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    fn put(&mut self, slot: Slot, is_in: bool) {
        let (word, bit) = Self::place(slot);
        if let Some(word) = self.0.get_mut(word) {
            *word = if is_in { *word | bit } else { *word & !bit };
        }
    }
}

impl Live {
    /// Attaches, or makes a new segment with a new instance id (none there, other boot), and finishes a
    /// retirement that a killed engine began. The caller holds the engine's [`crate::lock::ServiceLock`].
    /// Errors: `Version`, `Truncated`, `NotASegment`, `Header`, `LiveField`, `System`, `Random`.
    pub fn attach_or_create(dir: &RuntimeDir) -> Result<Self, Error> {
        let (map, prefix) = match segment::attach(dir, &KIND, Access::Write) {
            Err(Error::Missing { .. } | Error::OtherBoot { .. }) => {
                segment::create(dir, &KIND, InstanceId::random()?.0, Shape::fill)?
            }
            attached => attached?,
        };
        let shape = Shape::new(map, &prefix)?;
        if InstanceId(prefix.instance).is_none() {
            return Err(Error::Header { segment: KIND.name, field: "instance", value: 0 });
        }
        totals::finish(&shape, &mut |_| {})?;
        let control = Control {
            arena: rebuild(&shape)?,
            totals: Index::new(&shape)?,
            in_use: Slots::default(),
            hook: None,
        };
        let header = shape.header()?;
        header.writer_pid.store(std::process::id(), Ordering::Relaxed);
        // What an engine before this one had taken up is nothing that this one's workers use.
        header.adopted_generation.store(0, Ordering::Release);
        Ok(Self {
            shape,
            instance: InstanceId(prefix.instance),
            control: Mutex::new(control),
            nobody: Box::new(LiveRecord::nobody()),
        })
    }

    /// Tells whether the file behind the map is still the one in the directory; one stat.
    pub fn is_current(&self) -> bool {
        self.shape.map.is_current()
    }

    /// Identity of the segment.
    pub const fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Returns one SA's record.
    #[inline]
    pub fn record(&self, slot: Slot) -> &LiveRecord {
        self.shape.record_if_any(slot).unwrap_or(&self.nobody)
    }

    /// Sets a record up for an SA: keeps its numbers if the uid is the same or was the last one retired here,
    /// else uid = 0, clear, initial values, uid last. `preset(window, top)` fills the window's words so that everything up to `top` is seen.
    /// A larger window than the one kept is laid out only the first time this process sees the slot; later
    /// it is `Kept` as it is, because workers use it. Control thread only.
    /// Errors: `OtherSa` if the slot was not retired, `ArenaFull`, `WindowTooLarge`, `LiveField`, `System`
    /// (no memory left on the tmpfs).
    pub fn init(
        &self,
        new: &NewRecord,
        preset: &mut dyn FnMut(Window<'_>, u64),
    ) -> Result<(InitOutcome, RingRef), Error> {
        let mut control = self.control();
        let Control { arena, totals, in_use, hook } = &mut *control;
        let mut silent = |_: LiveStep| {};
        let hook: &mut dyn FnMut(LiveStep) = match hook {
            Some(hook) => hook,
            None => &mut silent,
        };
        // Looking at a record that never had memory would give it some, or SIGBUS on a full tmpfs.
        self.shape.provide_record(new.slot)?;
        let found = self.shape.record(new.slot)?.uid.load(Ordering::Acquire);
        let used = in_use.has(new.slot);
        match SaUid::new(found).filter(|found| *found != new.uid) {
            Some(_) if used => return Err(Error::OtherSa { slot: new.slot, uid: new.uid, found }),
            // Left behind by an earlier engine: its counters belong to the totals.
            Some(old) => retire(&self.shape, arena, totals, new.slot, old, hook)?,
            None => {}
        }
        self.shape.header()?.records_used.fetch_max(new.slot.index() + 1, Ordering::Release);
        let mut setup = Setup { shape: &self.shape, arena, hook };
        let (outcome, place) = setup.run(new, used, preset)?;
        in_use.put(new.slot, true);
        Ok((outcome, RingRef { slot: new.slot, place }))
    }

    /// Returns the words of a window.
    #[inline]
    pub fn window(&self, ring: RingRef) -> Window<'_> {
        let record = self.record(ring.slot);
        let words = self.shape.ring(record, ring.place).unwrap_or(&self.nobody.ring);
        Window { top: &record.window_top, ring: words, size_pkts: ring.place.size_pkts }
    }

    /// Adds an SA's counters to its tunnel's totals and gives the record back; nothing if the uid differs.
    /// Control thread only, after every worker has let go of the SA.
    pub fn retire(&self, slot: Slot, uid: SaUid) -> Result<(), Error> {
        let mut control = self.control();
        let Control { arena, totals, in_use, hook } = &mut *control;
        let mut silent = |_: LiveStep| {};
        let hook: &mut dyn FnMut(LiveStep) = match hook {
            Some(hook) => hook,
            None => &mut silent,
        };
        if self.shape.has_record(slot) && self.shape.record(slot)?.uid.load(Ordering::Acquire) == uid.get() {
            retire(&self.shape, arena, totals, slot, uid, hook)?;
            in_use.put(slot, false);
        }
        Ok(())
    }

    /// Retires every record of `slots` that `keep` does not name; after a full scan of `sad`, a part at a time.
    /// Returns how many, and where the next part begins if there may be more.
    pub fn sweep(
        &self,
        slots: Range<u32>,
        keep: &dyn Fn(Slot, SaUid) -> bool,
    ) -> Result<(u32, Option<u32>), Error> {
        let used = self.shape.header()?.records_used.load(Ordering::Relaxed).min(SA_SLOTS);
        let end = slots.end.min(used);
        let mut swept = 0;
        for slot in (slots.start..end).filter_map(Slot::new).filter(|slot| self.shape.has_record(*slot)) {
            let uid = SaUid::new(self.shape.record(slot)?.uid.load(Ordering::Acquire));
            if let Some(uid) = uid.filter(|uid| !keep(slot, *uid)) {
                self.retire(slot, uid)?;
                swept += 1;
            }
        }
        Ok((swept, (end < used).then_some(end)))
    }

    /// Totals of the deleted SAs of a tunnel.
    pub fn retired_totals(&self, if_id: IfId) -> Totals {
        self.control().totals.read(&self.shape, if_id)
    }

    /// Totals of every tunnel that ever lost an SA.
    pub fn all_retired_totals(&self) -> Vec<Counted> {
        totals::read_all(&self.shape).unwrap_or_default()
    }

    /// Says that every worker uses `generation`.
    pub fn set_adopted_generation(&self, generation: Generation) {
        if let Ok(header) = self.shape.header() {
            header.adopted_generation.store(generation.0, Ordering::Release);
        }
    }

    /// Says that the control thread lives. Units: nanoseconds of CLOCK_BOOTTIME.
    pub fn set_heartbeat_ns(&self, now_ns: u64) {
        if let Ok(header) = self.shape.header() {
            header.heartbeat_ns.store(now_ns, Ordering::Relaxed);
        }
    }

    /// Raises an event. Control thread only; the caller then writes the eventfd.
    pub fn raise(&self, raised: &Event) {
        let _one_writer = self.control();
        event::append(&self.shape, raised);
    }

    /// Calls `hook` at every step of `init` and `retire`.
    #[doc(hidden)]
    pub fn set_step_hook(&self, hook: Option<Box<dyn FnMut(LiveStep) + Send>>) {
        self.control().hook = hook;
    }

    fn control(&self) -> MutexGuard<'_, Control> {
        // A panic stops the process; a test that survives one goes on with a new `Live`.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn retire(
    shape: &Shape,
    arena: &mut Arena,
    totals: &mut Index,
    slot: Slot,
    uid: SaUid,
    hook: &mut dyn FnMut(LiveStep),
) -> Result<(), Error> {
    let place = Place::unpack(shape.record(slot)?.place.load(Ordering::Relaxed));
    totals.retire(shape, slot, uid, hook)?;
    if let Some(block) = place.and_then(|place| place.block) {
        arena.give(block);
    }
    Ok(())
}

/// Finds the free parts of the arena from the windows that the slots name.
/// Errors: `LiveField` for a window that cannot be one of ours, or that two slots share.
fn rebuild(shape: &Shape) -> Result<Arena, Error> {
    let mut arena = Arena::new(shape.arena_words);
    let used = shape.header()?.records_used.load(Ordering::Acquire);
    if used > SA_SLOTS {
        return Err(Error::Header { segment: KIND.name, field: "records_used", value: used.into() });
    }
    for slot in (0..used).filter_map(Slot::new).filter(|slot| shape.has_record(*slot)) {
        let record = shape.record(slot)?;
        if record.uid.load(Ordering::Relaxed) == 0 {
            continue;
        }
        let value = record.place.load(Ordering::Relaxed);
        let bad = || Error::LiveField { slot, field: "place", value };
        if let Some(block) = Place::unpack(value).ok_or_else(bad)?.block
            && !arena.reserve(block)
        {
            return Err(bad());
        }
    }
    Ok(arena)
}
