//! One record taken up: its counters set up in `live`, its key expanded, its object put where workers look.

use std::sync::Arc;

use esp::ReplayWindow;
use esp::aead::KeySchedule;
use shm_protocol::ids::Slot;
use shm_protocol::live::NewRecord;
use shm_protocol::policy::Policy;
use shm_protocol::sa::{Direction, Sa};

use super::book::Book;
use super::{Adopter, convert};

impl<S: KeySchedule> Adopter<S> {
    /// Puts an SA into the tables; false while its slot is still in use by the SA before it.
    pub(super) fn put_sa(&mut self, sa: &Sa) -> bool {
        if self.book.adoptee(sa.slot).is_some_and(|old| old.uid != sa.uid) {
            self.remove_sa(sa.slot);
        }
        if self.leaving.holds(sa.slot) {
            return false;
        }
        if let Err(error) = self.build(sa) {
            tracing::error!(%error, spi = %sa.spi, "an SA is not used");
            self.remove_sa(sa.slot);
        }
        true
    }

    fn build(&mut self, sa: &Sa) -> Result<(), BuildError> {
        // A worker may be using the window of an SA that is only updated: its size stays.
        let window_pkts = match (self.book.adoptee(sa.slot), sa.direction) {
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
        self.dirty = true;
        // The way of the SA before is given up after that of the new one is taken: it may be the same.
        let hop = (sa.direction == Direction::Out).then(|| self.hops.take(sa.dst, &self.tables));
        let old = self.book.put_sa(sa, window_pkts, &mut self.tables.epochs);
        if let Some(way) = old.and_then(|old| old.way()) {
            self.hops.give(way);
        }
        match hop {
            None => {
                let built = convert::inbound(sa, &self.live, ring, &*self.schedule, window_pkts)?;
                Book::put_inbound(&mut self.tables, Arc::new(built), sa.foreign);
            }
            Some(hop) => {
                let built = convert::outbound(sa, &self.live, &*self.schedule, hop)?;
                Book::put_outbound(&mut self.tables, Arc::new(built));
            }
        }
        Ok(())
    }

    pub(super) fn remove_sa(&mut self, slot: Slot) {
        if let Some(sa) = self.book.remove_sa(&mut self.tables, slot) {
            if let Some(way) = sa.way() {
                self.hops.give(way);
            }
            self.leaving.push(sa.slot, sa.uid);
            self.dirty = true;
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
