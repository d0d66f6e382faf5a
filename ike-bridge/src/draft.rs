//! A change under way: what goes into the segment as one generation, and how to take it back if that fails.

use shm_protocol::ids::{PolicySlot, Slot, Spi};
use shm_protocol::sa::{Direction, Larval, Sa};
use shm_protocol::sad::Transaction;

use crate::ordered::Ordered;
use crate::policies::{self, Policies, Snapshot};
use crate::sas::Sas;
use crate::spi::SpiAllocator;

/// Changes of one generation; of several changes of one record the last counts.
#[derive(Default)]
pub struct Draft {
    sas: Ordered<Slot, Write>,
    policies: Ordered<PolicySlot, policies::Change>,
    claims: Vec<Spi>,
    undo: Vec<Undo>,
    load: bool,
}

enum Write {
    Sa(Box<Sa>),
    Larval(Larval),
    Remove,
}

enum Undo {
    /// The slot held nothing of ours before.
    Forget(Slot),
    /// The slot held this SA (without its key).
    Restore(Box<Sa>),
    /// The slot was taken from the allocator.
    Release(Slot),
    /// The slot was given back to the allocator.
    Reclaim(Slot),
    /// The policy was so.
    Policy(Snapshot),
}

/// What a draft works on.
pub struct Books<'a> {
    /// The SAs.
    pub sas: &'a mut Sas,
    /// The policies.
    pub policies: &'a mut Policies,
    /// The slots.
    pub spis: &'a mut SpiAllocator,
}

impl Draft {
    /// Returns an empty one for a batch of an operator, with room for as many changes.
    pub fn load(changes: usize) -> Self {
        Self {
            sas: Ordered::with_capacity(changes),
            policies: Ordered::with_capacity(changes),
            claims: Vec::new(),
            undo: Vec::with_capacity(changes),
            load: true,
        }
    }

    /// Returns whether it is an operator's batch, of which nobody waits for one line.
    pub const fn is_load(&self) -> bool {
        self.load
    }

    /// Puts an SA into its slot, which the allocator has given.
    pub fn put_sa(&mut self, books: &mut Books<'_>, sa: Sa) {
        let before = books.sas.put(&sa);
        if sa.direction == Direction::In && sa.foreign && before.is_none() {
            books.spis.forbid(sa.spi);
        }
        self.undo.push(before.map_or(Undo::Forget(sa.slot), Undo::Restore));
        self.sas.insert(sa.slot, Write::Sa(Box::new(sa)));
    }

    /// Notes that an SA takes up the reservation of `spi`, once the draft is in the segment.
    pub fn claim(&mut self, spi: Spi) {
        self.claims.push(spi);
    }

    /// Returns the reservations taken up.
    pub fn claims(&self) -> &[Spi] {
        &self.claims
    }

    /// Notes that `slot` came from the allocator for this draft.
    pub fn took(&mut self, slot: Slot) {
        self.undo.push(Undo::Release(slot));
    }

    /// Writes a reservation.
    pub fn put_larval(&mut self, larval: Larval) {
        self.undo.push(Undo::Release(larval.slot));
        self.sas.insert(larval.slot, Write::Larval(larval));
    }

    /// Empties the slot of an SA or of a reservation.
    pub fn remove(&mut self, books: &mut Books<'_>, slot: Slot, now_ns: u64) {
        if let Some(old) = books.sas.remove(slot) {
            if old.direction == Direction::In && old.foreign {
                books.spis.unforbid(old.spi);
            }
            self.undo.push(Undo::Restore(old));
        }
        books.spis.release(slot, now_ns);
        self.undo.push(Undo::Reclaim(slot));
        self.sas.insert(slot, Write::Remove);
    }

    /// Notes how a policy was before it is changed.
    pub fn before_policy(&mut self, snapshot: Snapshot) {
        self.undo.push(Undo::Policy(snapshot));
    }

    /// Writes or empties a policy record.
    pub fn put_policy(&mut self, change: policies::Change) {
        let slot = match change {
            policies::Change::Put(policy) => policy.slot,
            policies::Change::Remove(slot) => slot,
        };
        self.policies.insert(slot, change);
    }

    /// Returns the SA that this draft puts into `slot`, with its key.
    pub fn sa(&self, slot: Slot) -> Option<&Sa> {
        match self.sas.get(&slot)? {
            Write::Sa(sa) => Some(sa),
            Write::Larval(_) | Write::Remove => None,
        }
    }

    /// Returns how many records change.
    pub fn len(&self) -> usize {
        self.sas.len() + self.policies.len()
    }

    /// Returns true when nothing changes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes the transaction out: inbound SAs, outbound SAs, policies, deletions. What is left can be taken back.
    pub fn transaction(&mut self, now_ns: u64) -> Transaction {
        let mut all = Transaction::with_capacity(self.len());
        let (mut outbound, mut removed) = (Vec::new(), Vec::new());
        for (slot, write) in std::mem::take(&mut self.sas) {
            match write {
                Write::Sa(sa) if sa.direction == Direction::In => drop(all.put_boxed_sa(sa)),
                Write::Sa(sa) => outbound.push(sa),
                Write::Larval(larval) => drop(all.put_larval(&larval)),
                Write::Remove => removed.push(slot),
            }
        }
        for sa in outbound {
            all.put_boxed_sa(sa);
        }
        for change in self.policies.values() {
            if let policies::Change::Put(policy) = change {
                all.put_policy(policy);
            }
        }
        for change in self.policies.values() {
            if let policies::Change::Remove(slot) = change {
                all.remove_policy(*slot);
            }
        }
        for slot in removed {
            all.remove_sa(slot, now_ns);
        }
        all
    }

    /// Puts the books back as they were before the draft.
    pub fn take_back(self, books: &mut Books<'_>, now_ns: u64) {
        for undo in self.undo.into_iter().rev() {
            match undo {
                Undo::Forget(slot) => {
                    if let Some(sa) = books.sas.remove(slot)
                        && sa.foreign
                        && sa.direction == Direction::In
                    {
                        books.spis.unforbid(sa.spi);
                    }
                }
                Undo::Restore(sa) => {
                    if sa.foreign && sa.direction == Direction::In && books.sas.get(sa.slot).is_none() {
                        books.spis.forbid(sa.spi);
                    }
                    books.sas.put(&sa);
                }
                Undo::Release(slot) => books.spis.release(slot, now_ns),
                Undo::Reclaim(slot) => books.spis.put_back(slot),
                Undo::Policy(snapshot) => books.policies.put_back(snapshot),
            }
        }
    }
}
