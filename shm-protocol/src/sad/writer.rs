//! The bridge's side of `sad`: transactions under the write lock, one generation each.

use std::time::Duration;

use super::{SadReader, Step};
use crate::error::Error;
use crate::ids::{Generation, InstanceId, PolicySlot, Slot};
use crate::place::RuntimeDir;
use crate::policy::Policy;
use crate::sa::{Larval, Sa};

/// Changes to be made as one generation; built without a lock, then committed.
#[derive(Default)]
pub struct Transaction {
    _todo: (),
}

impl Transaction {
    /// Returns an empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an SA into its slot, over whatever stands there (add, update, larval to SA).
    pub fn put_sa(&mut self, _sa: &Sa) -> &mut Self {
        todo!()
    }

    /// Reserves an SPI.
    pub fn put_larval(&mut self, _larval: &Larval) -> &mut Self {
        todo!()
    }

    /// Empties a slot at `now_ns` (CLOCK_BOOTTIME); its key is wiped, its SPI's high part remembered.
    pub fn remove_sa(&mut self, _slot: Slot, _now_ns: u64) -> &mut Self {
        todo!()
    }

    /// Puts a policy into its slot.
    pub fn put_policy(&mut self, _policy: &Policy) -> &mut Self {
        todo!()
    }

    /// Empties a policy slot.
    pub fn remove_policy(&mut self, _slot: PolicySlot) -> &mut Self {
        todo!()
    }

    /// Names the `live` segment that SAs run on from now. Refused by commit while SAs are left.
    pub fn set_instance(&mut self, _instance: InstanceId) -> &mut Self {
        todo!()
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Tells whether nothing would change.
    pub fn is_empty(&self) -> bool {
        todo!()
    }
}

/// The one writer of `sad`.
pub struct SadWriter {
    _todo: (),
}

impl SadWriter {
    /// Opens the segment or makes a new one (none there, other boot), finishing what a killed writer began.
    /// `capacity` is how many SAs and reserved SPIs are admitted; twice as many policies are.
    /// Errors: `Locked` after `deadline`, `Version`, `Truncated`, `NotASegment`, `System`.
    pub fn open(_dir: &RuntimeDir, _capacity: u32, _deadline: Duration) -> Result<Self, Error> {
        todo!()
    }

    /// Reads the segment as the engine does; for a restarted bridge.
    pub fn reader(&self) -> &SadReader {
        todo!()
    }

    /// Makes the changes as one generation, all or none, waiting at most `deadline` for the lock.
    /// Errors: `Locked`, `Full`, `PoliciesFull`, `TooManyChanges`, `ChangedTwice`, `InstanceInUse`,
    /// `Replaced`, `System`; nothing is changed then.
    pub fn commit(&mut self, _changes: &Transaction, _deadline: Duration) -> Result<Generation, Error> {
        todo!()
    }

    /// Calls `hook` at every step of every commit.
    #[doc(hidden)]
    pub fn set_step_hook(&mut self, _hook: Option<Box<dyn FnMut(Step) + Send>>) {
        todo!()
    }
}
