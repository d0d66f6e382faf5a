//! What the engine sees of `sad`: the generation, what changed since, and single records.

use crate::error::Error;
use crate::ids::{Generation, InstanceId, PolicySlot, Slot};
use crate::place::RuntimeDir;
use crate::policy::Policy;
use crate::sa::SlotContents;

/// A record named by the change ring.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// An SA, larval SPI or emptied slot.
    Sa(Slot),
    /// A policy or emptied policy slot.
    Policy(PolicySlot),
    /// The instance id of the header.
    Instance,
}

/// Place in the change ring up to which a reader has adopted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChangeCursor(pub(crate) u64);

/// What changed since a cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Changes {
    /// The list holds every change; visit each slot named.
    List {
        /// Everything up to this generation is in the list.
        generation: Generation,
    },
    /// The ring went round: only a full scan knows.
    Lapped,
}

/// The engine's view of `sad`; read only, never waits.
pub struct SadReader {
    _todo: (),
}

/// LOCK_SH on `sad`, for attach and full scans only; no longer than a copy.
pub struct ScanGuard {
    _todo: (),
}

impl SadReader {
    /// Maps the segment read-only.
    /// Errors: `Missing`, `OtherBoot`, `Version`, `Truncated`, `NotASegment`, `Header`, `System`.
    pub fn attach(_dir: &RuntimeDir) -> Result<Self, Error> {
        todo!()
    }

    /// Tells whether the file behind the map is still the one in the directory; one stat.
    pub fn is_current(&self) -> bool {
        todo!()
    }

    /// Number of the last finished transaction; one acquire load.
    pub fn generation(&self) -> Generation {
        todo!()
    }

    /// The `live` segment that the SAs run on; when it is not the engine's own, no SA may be used.
    pub fn instance(&self) -> InstanceId {
        todo!()
    }

    /// Place in the change ring now; take it before a full scan.
    pub fn cursor(&self) -> ChangeCursor {
        todo!()
    }

    /// Fills `out` with what changed since `cursor` and moves it; after `Lapped` it stands at now.
    pub fn changes(&self, _cursor: &mut ChangeCursor, _out: &mut Vec<Change>) -> Changes {
        todo!()
    }

    /// Reads one slot. Errors: `Torn` (keep what you had, a change will name it again), `SaField`.
    pub fn sa(&self, _slot: Slot) -> Result<SlotContents, Error> {
        todo!()
    }

    /// Reads one policy. Errors: `Torn`, `PolicyField`.
    pub fn policy(&self, _slot: PolicySlot) -> Result<Option<Policy>, Error> {
        todo!()
    }

    /// Slots below this one may hold something.
    pub fn sa_slots_used(&self) -> u32 {
        todo!()
    }

    /// Policy slots below this one may hold something.
    pub fn policy_slots_used(&self) -> u32 {
        todo!()
    }

    /// How many SAs and reserved SPIs there are, how many policies, and how many are admitted.
    pub fn occupancy(&self) -> Occupancy {
        todo!()
    }

    /// Takes LOCK_SH without waiting; `None` when refused: go on by sequence words alone.
    pub fn try_scan_guard(&self) -> Option<ScanGuard> {
        todo!()
    }
}

/// How full the segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Occupancy {
    /// SAs and reserved SPIs.
    pub sas: u32,
    /// Policies.
    pub policies: u32,
    /// Most SAs and reserved SPIs admitted.
    pub capacity: u32,
    /// Most policies admitted.
    pub policy_capacity: u32,
}
