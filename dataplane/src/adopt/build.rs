//! One record taken up: its counters set up in `live`, its key expanded, its object put where workers look.

use std::sync::Arc;

use esp::ReplayWindow;
use esp::aead::KeySchedule;
use shm_protocol::ids::{SaUid, Slot};
use shm_protocol::live::NewRecord;
use shm_protocol::policy::Policy;
use shm_protocol::sa::{Direction, Sa};

use super::{Adopter, convert};

impl<S: KeySchedule> Adopter<S> {
    /// Puts an SA into the tables; false while its slot is still in use by the SA before it.
    pub(super) fn put_sa(&mut self, sa: &Sa) -> bool {
        if self.tables.sa(sa.slot.index()).is_some_and(|(_, old)| old.uid != sa.uid.get()) {
            self.remove_sa(sa.slot);
        }
        if self.leaving.holds(sa.slot) {
            return false;
        }
        if let Err(error) = self.build(sa) {
            tracing::error!(%error, spi = %sa.spi, "an SA is not used");
            self.take_out(sa.slot);
            self.leaving.push(sa.slot, sa.uid);
        }
        true
    }

    fn build(&mut self, sa: &Sa) -> Result<(), BuildError> {
        // A worker may be using the window of an SA that is only updated: its size stays.
        let window_pkts = match (self.tables.inbound_at(sa.slot.index()), sa.direction) {
            (Some(same), _) => same.window_pkts,
            (None, Direction::In) => convert::window_pkts(sa, self.tables.topology.min_replay_window),
            (None, Direction::Out) => 0,
        };
        let (slot, uid, if_id, initial) = (sa.slot, sa.uid, sa.if_id, sa.initial);
        let record = NewRecord { slot, uid, if_id, initial, window_pkts };
        // An SA that is only updated keeps its numbers and its window.
        let (_, ring) = self.live.init(&record, &mut |window, top| {
            ReplayWindow::new(window.top, window.ring, window.size_pkts, sa.esn).preset(top);
        })?;
        match sa.direction {
            Direction::In => {
                let built = convert::inbound(sa, &self.live, ring, &*self.schedule, window_pkts)?;
                self.take_out(slot);
                self.book.link_sa(Direction::In, &built.common, &mut self.tables.epochs);
                self.tables.put_inbound(Arc::new(built), sa.foreign);
            }
            Direction::Out => {
                // The way is taken before that of the SA before is given up: it may be the same.
                let hop = self.hops.take(sa.dst, &self.tables);
                let built = convert::outbound(sa, &self.live, &*self.schedule, hop);
                let built = built.inspect_err(|_| self.hops.give(sa.dst, &self.tables))?;
                self.take_out(slot);
                self.book.link_sa(Direction::Out, &built.common, &mut self.tables.epochs);
                self.tables.outbound.set(slot.index(), Some(Arc::new(built)));
            }
        }
        self.dirty = true;
        Ok(())
    }

    /// Takes the SA in a slot out of the tables; returns who it was.
    fn take_out(&mut self, slot: Slot) -> Option<SaUid> {
        let (direction, sa) = self.tables.sa(slot.index())?;
        // What it was is needed until nothing knows it any more.
        let sa = sa.clone();
        self.book.unlink_sa(direction, &sa, &mut self.tables.epochs);
        self.tables.remove_sa(slot.index());
        if direction == Direction::Out {
            self.hops.give(sa.dst, &self.tables);
        }
        self.dirty = true;
        SaUid::new(sa.uid)
    }

    pub(super) fn remove_sa(&mut self, slot: Slot) {
        if let Some(uid) = self.take_out(slot) {
            self.leaving.push(slot, uid);
        }
    }

    pub(super) fn put_policy(&mut self, slot: u32, policy: Option<Policy>) {
        self.dirty |= self.book.put_policy(slot, policy.as_ref(), &mut self.tables);
    }
}

/// Why an SA of the segment cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error("{0}")]
    Live(#[from] shm_protocol::Error),
    #[error("{0}")]
    Key(#[from] esp::aead::KeyError),
    #[error("source and destination are of different families")]
    Families,
}
