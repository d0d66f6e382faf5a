//! The bridge's view of `live`: read only.

use super::{Event, EventCursor, LiveRecord};
use crate::error::Error;
use crate::ids::{Generation, IfId, InstanceId, SaUid, Slot};
use crate::live::Totals;
use crate::place::RuntimeDir;
use crate::sa::Direction;

/// What an SA has used so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Octets sealed or opened.
    pub octets: u64,
    /// Packets sealed or opened.
    pub packets: u64,
    /// When last used; 0 if never. Units: nanoseconds of CLOCK_BOOTTIME.
    pub last_use_ns: u64,
    /// Number last taken (outbound).
    pub oseq: u64,
    /// Top of the window (inbound).
    pub iseq_top: u64,
    /// Packets seen before.
    pub err_replay: u64,
    /// Packets older than the window.
    pub err_too_old: u64,
    /// Packets whose ICV was wrong.
    pub err_integrity: u64,
}

/// Whether events were missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Events {
    /// Every event is in the list.
    All,
    /// The ring went round: recompute the truth from the counters.
    Lapped,
}

/// The bridge's read-only map of `live`.
pub struct LiveReader {
    _todo: (),
}

impl LiveReader {
    /// Maps the segment read-only.
    /// Errors: `Missing`, `OtherBoot`, `Version`, `Truncated`, `NotASegment`, `Header`, `System`.
    pub fn attach(_dir: &RuntimeDir) -> Result<Self, Error> {
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

    /// Process id of the engine that attached last.
    pub fn engine_pid(&self) -> u32 {
        todo!()
    }

    /// When the engine's control thread last said that it lives. Units: nanoseconds of CLOCK_BOOTTIME.
    pub fn heartbeat_ns(&self) -> u64 {
        todo!()
    }

    /// Everything up to this generation of `sad` is in use by every worker.
    pub fn adopted_generation(&self) -> Generation {
        todo!()
    }

    /// Reads one SA's usage. Errors: `OtherSa` when the engine has not taken it up.
    pub fn usage(&self, _slot: Slot, _uid: SaUid, _direction: Direction) -> Result<Usage, Error> {
        todo!()
    }

    /// Returns one SA's record.
    pub fn record(&self, _slot: Slot) -> &LiveRecord {
        todo!()
    }

    /// Totals of the deleted SAs of a tunnel.
    pub fn retired_totals(&self, _if_id: IfId) -> Option<Totals> {
        todo!()
    }

    /// Place in the event ring now.
    pub fn event_cursor(&self) -> EventCursor {
        todo!()
    }

    /// Appends what was raised since `cursor` to `out` and moves it.
    pub fn events(&self, _cursor: &mut EventCursor, _out: &mut Vec<Event>) -> Events {
        todo!()
    }
}
