//! A list of changes to be made as one generation; built without a lock.

use crate::ids::{InstanceId, PolicySlot, Slot};
use crate::policy::Policy;
use crate::sa::{Larval, Occupant, Sa};

/// One change.
pub(super) enum Change {
    Slot { slot: Slot, occupant: Occupant, freed_ns: u64 },
    Policy { slot: PolicySlot, policy: Option<Policy> },
    Instance(InstanceId),
}

/// Changes to be made as one generation; built without a lock, then committed.
#[derive(Default)]
pub struct Transaction {
    pub(super) changes: Vec<Change>,
}

impl Transaction {
    /// Returns an empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an empty one with room for as many changes.
    pub fn with_capacity(changes: usize) -> Self {
        Self { changes: Vec::with_capacity(changes) }
    }

    /// Puts an SA into its slot, over whatever stands there (add, update, larval to SA).
    pub fn put_sa(&mut self, sa: &Sa) -> &mut Self {
        self.put_boxed_sa(Box::new(sa.clone()))
    }

    /// Puts an SA into its slot as [`Self::put_sa`] does, without a copy of its key.
    pub fn put_boxed_sa(&mut self, sa: Box<Sa>) -> &mut Self {
        let slot = sa.slot;
        self.changes.push(Change::Slot { slot, occupant: Occupant::Sa(sa), freed_ns: 0 });
        self
    }

    /// Reserves an SPI.
    pub fn put_larval(&mut self, larval: &Larval) -> &mut Self {
        let occupant = Occupant::Larval(*larval);
        self.changes.push(Change::Slot { slot: larval.slot, occupant, freed_ns: 0 });
        self
    }

    /// Empties a slot at `now_ns` (CLOCK_BOOTTIME); its key is wiped, its SPI's high part remembered.
    pub fn remove_sa(&mut self, slot: Slot, now_ns: u64) -> &mut Self {
        self.changes.push(Change::Slot { slot, occupant: Occupant::Empty, freed_ns: now_ns });
        self
    }

    /// Puts a policy into its slot.
    pub fn put_policy(&mut self, policy: &Policy) -> &mut Self {
        self.changes.push(Change::Policy { slot: policy.slot, policy: Some(*policy) });
        self
    }

    /// Empties a policy slot.
    pub fn remove_policy(&mut self, slot: PolicySlot) -> &mut Self {
        self.changes.push(Change::Policy { slot, policy: None });
        self
    }

    /// Names the `live` segment that SAs run on from now. Refused by commit while SAs are left that run on another.
    pub fn set_instance(&mut self, instance: InstanceId) -> &mut Self {
        self.changes.push(Change::Instance(instance));
        self
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Tells whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}
