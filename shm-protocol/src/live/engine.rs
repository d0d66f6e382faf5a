//! The engine's side of `live`: attach or create, records, windows, totals, events.

use std::sync::atomic::AtomicU64;

use super::{Event, LiveRecord};
use crate::error::Error;
use crate::ids::{Generation, IfId, InstanceId, SaUid, Slot};
use crate::place::RuntimeDir;
use crate::sa::Initial;

/// Counters of SAs that are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Octets opened.
    pub in_octets: u64,
    /// Packets opened.
    pub in_packets: u64,
    /// Octets sealed.
    pub out_octets: u64,
    /// Packets sealed.
    pub out_packets: u64,
    /// Packets refused by the window, the ICV or the inner check.
    pub errors: u64,
}

/// Totals of one tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counted {
    /// The tunnel.
    pub if_id: IfId,
    /// Its totals of SAs that are gone.
    pub totals: Totals,
}

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
    /// Numbers go on; the window was laid out anew, with everything up to its top seen.
    Rewindowed,
}

/// Checked place of a window's ring: cheap to keep in the engine's SA object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RingRef {
    pub(crate) slot: Slot,
    pub(crate) size_pkts: u32,
    pub(crate) words: u32,
    pub(crate) arena_word: Option<u32>,
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
    _todo: (),
}

impl Live {
    /// Attaches, or makes a new segment with a new instance id (none there, other boot).
    /// The caller holds [`crate::lock::ServiceLock`] for the engine.
    /// Errors: `Version`, `Truncated`, `NotASegment`, `Header`, `System`, `Random`.
    pub fn attach_or_create(_dir: &RuntimeDir) -> Result<Self, Error> {
        todo!()
    }

    /// Tells whether the file behind the map is still the one in the directory; one stat.
    pub fn is_current(&self) -> bool {
        todo!()
    }

    /// Identity of the segment.
    pub fn instance(&self) -> InstanceId {
        todo!()
    }

    /// Returns one SA's record.
    pub fn record(&self, _slot: Slot) -> &LiveRecord {
        todo!()
    }

    /// Sets a record up for an SA: keeps it if the uid is the same, else uid = 0, clear, initial values,
    /// uid last. `preset(top, ring)` fills the window's words so that everything up to `top` is seen.
    /// Control thread only; no worker may use the slot meanwhile.
    /// Errors: `ArenaFull`, `WindowTooLarge`, `LiveField`, `System` (no memory left on the tmpfs).
    pub fn init(
        &self,
        _new: &NewRecord,
        _preset: &mut dyn FnMut(Window<'_>, u64),
    ) -> Result<(InitOutcome, RingRef), Error> {
        todo!()
    }

    /// Returns the words of a window.
    pub fn window(&self, _ring: RingRef) -> Window<'_> {
        todo!()
    }

    /// Adds an SA's counters to its tunnel's totals and gives the record back; nothing if the uid differs.
    /// Control thread only, after every worker has let go of the SA.
    pub fn retire(&self, _slot: Slot, _uid: SaUid) -> Result<(), Error> {
        todo!()
    }

    /// Retires every record that `keep` does not name; after a full scan of `sad`. Returns how many.
    pub fn sweep(&self, _keep: &dyn Fn(Slot, SaUid) -> bool) -> Result<u32, Error> {
        todo!()
    }

    /// Totals of the deleted SAs of a tunnel.
    pub fn retired_totals(&self, _if_id: IfId) -> Totals {
        todo!()
    }

    /// Totals of every tunnel that ever lost an SA.
    pub fn all_retired_totals(&self) -> Vec<Counted> {
        todo!()
    }

    /// Says that every worker uses `generation`.
    pub fn set_adopted_generation(&self, _generation: Generation) {
        todo!()
    }

    /// Says that the control thread lives. Units: nanoseconds of CLOCK_BOOTTIME.
    pub fn set_heartbeat_ns(&self, _now_ns: u64) {
        todo!()
    }

    /// Raises an event. Control thread only; the caller then writes the eventfd.
    pub fn raise(&self, _event: &Event) {
        todo!()
    }
}
