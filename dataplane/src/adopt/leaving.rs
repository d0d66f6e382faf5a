//! SAs on their way out: taken out of the tables, with records that a worker may still count on.

use std::collections::BTreeMap;

use shm_protocol::ids::{SaUid, Slot};

/// See the module's text.
#[derive(Default)]
pub(super) struct Leaving {
    /// A worker may still use them.
    used: BTreeMap<u32, SaUid>,
    /// No worker does; their records are to be given back.
    unused: BTreeMap<u32, SaUid>,
}

impl Leaving {
    /// Adds an SA that was taken out of the tables.
    pub(super) fn push(&mut self, slot: Slot, uid: SaUid) {
        self.used.insert(slot.index(), uid);
    }

    /// Whether the record of a slot is not given back yet.
    pub(super) fn holds(&self, slot: Slot) -> bool {
        self.used.contains_key(&slot.index()) || self.unused.contains_key(&slot.index())
    }

    /// Whether a worker may still use any of them.
    pub(super) fn any_used(&self) -> bool {
        !self.used.is_empty()
    }

    /// Whether a record can be given back.
    pub(super) fn any_unused(&self) -> bool {
        !self.unused.is_empty()
    }

    /// Whether every record is given back.
    pub(super) fn is_empty(&self) -> bool {
        self.used.is_empty() && self.unused.is_empty()
    }

    /// Notes that no worker uses any of them.
    pub(super) fn settle(&mut self) {
        self.unused.append(&mut self.used);
    }

    /// Takes an SA whose record can be given back.
    pub(super) fn pop_unused(&mut self) -> Option<(Slot, SaUid)> {
        let (slot, uid) = self.unused.pop_first()?;
        Some((Slot::new(slot)?, uid))
    }

    /// Forgets all: the records are gone.
    pub(super) fn clear(&mut self) {
        self.used.clear();
        self.unused.clear();
    }
}
