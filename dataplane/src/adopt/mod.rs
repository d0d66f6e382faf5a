//! Adoption: from changes in the segment `sad` to new tables for the workers.
//!
//! A change of one SA costs work for one SA: the change ring names its slot, the record is copied and validated,
//! the key expanded, and a snapshot published that shares everything else. A slot whose SA went away is not set
//! up again in `live` before every worker has let go of the old SA.

mod book;
mod buckets;
mod build;
mod convert;
mod events;
mod hops;
mod index;
mod leaving;
mod pace;
mod sparse;
mod ways;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use esp::aead::KeySchedule;
use shm_protocol::ids::{Generation, PolicySlot, SaUid, Slot};
use shm_protocol::live::Live;
use shm_protocol::place::RuntimeDir;
use shm_protocol::sa::Occupant;
use shm_protocol::sad::{Change, ChangeCursor, Changes, SadReader};

use crate::ports::PortId;
use crate::publish::Publisher;
use crate::tables::Tables;
use crate::tables::topology::Topology;
use book::Book;
use hops::Hops;
use leaving::Leaving;
use pace::Pace;

/// Changes worked on at a call, so that the control thread is never away for long.
const CHANGES_PER_STEP: usize = 256;
/// Records given back at a call.
const RETIRED_PER_STEP: usize = 256;
/// Records looked at in a call after a full scan.
const SWEPT_PER_STEP: u32 = 4096;
/// How often the files behind the maps are looked at.
const LOOK_INTERVAL_NS: u64 = 50_000_000;

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Records read.
    pub records: usize,
    /// Whether new tables were published.
    pub published: bool,
    /// Whether there is more to do at once.
    pub more: bool,
}

/// A neighbor to ask the kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Port it is on.
    pub port: PortId,
    /// Its address.
    pub ip: IpAddr,
}

/// See the module's text.
pub struct Adopter<S: KeySchedule> {
    dir: RuntimeDir,
    sad: Option<SadReader>,
    cursor: ChangeCursor,
    /// Generation up to which `todo` and the tables together are complete.
    generation: Generation,
    live: Arc<Live>,
    schedule: Arc<S>,
    publisher: Publisher<Tables<S::Key>>,
    /// The next snapshot, as far as it is made.
    tables: Tables<S::Key>,
    dirty: bool,
    pace: Pace,
    book: Book<S::Key>,
    todo: VecDeque<Change>,
    found: Vec<Change>,
    /// SAs taken out of the tables that a worker may still use.
    leaving: Leaving,
    /// The record from which those of SAs that went unseen are still to be given back, once a full scan is through.
    unswept: Option<u32>,
    hops: Hops,
    next_look_ns: u64,
}

impl<S: KeySchedule> Adopter<S> {
    /// Makes an adopter whose workers read what `publisher` publishes; `sad` is attached when it appears.
    #[must_use]
    pub fn new(
        dir: RuntimeDir,
        live: Arc<Live>,
        schedule: Arc<S>,
        topology: Topology,
        publisher: Publisher<Tables<S::Key>>,
    ) -> Self {
        Self {
            dir,
            sad: None,
            cursor: ChangeCursor::default(),
            generation: Generation::default(),
            live,
            schedule,
            publisher,
            tables: Tables::new(topology),
            dirty: false,
            pace: Pace::default(),
            book: Book::default(),
            todo: VecDeque::new(),
            found: Vec::new(),
            leaving: Leaving::default(),
            unswept: None,
            hops: Hops::default(),
            next_look_ns: 0,
        }
    }

    /// Returns what the workers read now, for lists and counters.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Tables<S::Key>> {
        self.publisher.newest()
    }

    /// Takes up what changed; cheap when nothing did.
    pub fn step(&mut self, now_ns: u64) -> Adopted {
        if now_ns >= self.next_look_ns {
            self.next_look_ns = now_ns.saturating_add(LOOK_INTERVAL_NS);
            self.look();
        }
        self.retire();
        self.gather();
        let (records, done) = self.work();
        self.pace.gather(done, now_ns);
        self.book.rebuild_policies(&mut self.tables);
        // What has to be visited again waits for a writer or a worker: to look at once would be to look in vain.
        let more = done > 0 && !self.todo.is_empty();
        let published = self.publish(now_ns, more);
        self.acknowledge();
        let swept = self.unswept.is_some_and(|from| from > 0);
        Adopted { records, published, more: more || self.leaving.any_unused() || swept }
    }

    /// Notes that somebody may wait for a change there is: what an operator loads need not be in use as soon.
    pub const fn hurry(&mut self) {
        self.pace.hurry();
    }

    /// Looks whether both files are still the ones that are mapped; attaches `sad` when it appears.
    fn look(&mut self) {
        if !self.live.is_current() {
            self.replace_live();
        }
        if self.sad.as_ref().is_some_and(SadReader::is_current) {
            return;
        }
        if self.sad.is_some() || !self.tables.is_vacant() {
            self.forget_all();
        }
        self.sad = match SadReader::attach(&self.dir) {
            Ok(sad) => {
                self.scan(&sad);
                Some(sad)
            }
            Err(error) => {
                tracing::debug!(%error, "no segment of SAs to read yet");
                None
            }
        };
    }

    /// The segment with the counters is gone: no SA is used again until the bridge has retired every one.
    fn replace_live(&mut self) {
        tracing::error!("the segment `live` was removed or replaced: every SA is given up");
        self.forget_all();
        self.leaving.clear();
        match Live::attach_or_create(&self.dir) {
            Ok(live) => self.live = Arc::new(live),
            Err(error) => tracing::error!(%error, "no segment for counters: no SA is used"),
        }
        self.sad = None;
    }

    /// Empties the tables of SAs and policies.
    fn forget_all(&mut self) {
        for (_, sa) in self.tables.sas() {
            if let (Some(slot), Some(uid)) = (Slot::new(sa.slot), SaUid::new(sa.uid)) {
                self.leaving.push(slot, uid);
            }
        }
        self.tables.forget_all();
        self.book = Book::default();
        self.hops = Hops::default();
        self.todo.clear();
        self.dirty = true;
        self.pace = Pace::default();
    }

    /// Names every slot that may hold something.
    fn scan(&mut self, sad: &SadReader) {
        let guard = sad.try_scan_guard();
        self.cursor = sad.cursor();
        self.generation = sad.generation();
        self.todo.clear();
        self.todo.extend((0..sad.sa_slots_used()).filter_map(Slot::new).map(Change::Sa));
        let policies = 0..sad.policy_slots_used();
        self.todo.extend(policies.filter_map(PolicySlot::new).map(Change::Policy));
        self.unswept = Some(0);
        drop(guard);
    }

    /// Gives the records of SAs back that no worker uses any more.
    fn retire(&mut self) {
        if self.leaving.any_used() && !self.dirty && self.publisher.settled() {
            self.publisher.collect();
            self.leaving.settle();
        }
        for _ in 0..RETIRED_PER_STEP {
            let Some((slot, uid)) = self.leaving.pop_unused() else { break };
            if let Err(error) = self.live.retire(slot, uid) {
                tracing::warn!(%error, slot = slot.index(), "the counters of a deleted SA were not kept");
            }
        }
    }

    /// After a full scan: SAs that were deleted while nobody looked are accounted to their tunnels, some at a call.
    fn sweep(&mut self, from: u32) {
        let tables = &self.tables;
        let keep =
            |slot: Slot, uid: SaUid| tables.sa(slot.index()).is_some_and(|(_, sa)| sa.uid == uid.get());
        self.unswept = match self.live.sweep(from..from + SWEPT_PER_STEP, &keep) {
            Ok((_, next)) => next,
            Err(error) => {
                tracing::warn!(%error, "the counters of SAs deleted meanwhile were not kept");
                None
            }
        };
    }

    /// Reads the change ring.
    fn gather(&mut self) {
        let Some(sad) = self.sad.take() else { return };
        if sad.generation() != self.generation {
            self.found.clear();
            match sad.changes(&mut self.cursor, &mut self.found) {
                Changes::List { generation } => {
                    self.todo.extend(self.found.drain(..));
                    self.generation = generation;
                }
                Changes::Lapped => self.scan(&sad),
            }
        }
        self.sad = Some(sad);
    }

    /// Visits the records named, at most [`CHANGES_PER_STEP`] of them; returns how many, and how many need no other
    /// visit.
    fn work(&mut self) -> (usize, usize) {
        let Some(sad) = self.sad.take() else { return (0, 0) };
        let (mut visited, mut done) = (0, 0);
        if sad.instance() == self.live.instance() {
            let count = self.todo.len().min(CHANGES_PER_STEP);
            for _ in 0..count {
                let Some(change) = self.todo.pop_front() else { break };
                visited += 1;
                if self.visit(&sad, change) {
                    done += 1;
                } else {
                    self.todo.push_back(change);
                }
            }
            if self.todo.is_empty() && self.todo.capacity() > CHANGES_PER_STEP {
                // A full scan names every slot there is, and may be the only one ever.
                self.todo = VecDeque::new();
            }
        } else if !self.tables.is_vacant() {
            // The SAs of `sad` run on another segment of counters.
            self.forget_all();
            self.scan(&sad);
        }
        self.sad = Some(sad);
        (visited, done)
    }

    /// Takes up one record; false if it has to be visited again.
    fn visit(&mut self, sad: &SadReader, change: Change) -> bool {
        match change {
            Change::Sa(slot) => match sad.sa(slot) {
                Ok(contents) => match contents.occupant {
                    Occupant::Sa(sa) => self.put_sa(&sa),
                    Occupant::Empty | Occupant::Larval(_) => {
                        self.remove_sa(slot);
                        true
                    }
                },
                Err(shm_protocol::Error::Torn { .. }) => false,
                Err(error) => {
                    tracing::error!(%error, "an SA is not used");
                    self.remove_sa(slot);
                    true
                }
            },
            Change::Policy(slot) => match sad.policy(slot) {
                Ok(policy) => {
                    self.put_policy(slot.index(), policy);
                    true
                }
                Err(shm_protocol::Error::Torn { .. }) => false,
                Err(error) => {
                    tracing::error!(%error, "a policy is not used");
                    self.put_policy(slot.index(), None);
                    true
                }
            },
            Change::Instance => true,
        }
    }

    /// Lets the workers see what changed; of many changes, with `more` to come at once or soon, some at a time: what no
    /// snapshot shares yet is changed without a copy.
    fn publish(&mut self, now_ns: u64, more: bool) -> bool {
        self.publisher.collect();
        if !self.dirty || !self.pace.is_due(now_ns, more) {
            return false;
        }
        self.publisher.publish(Arc::new(self.tables.clone()));
        self.dirty = false;
        self.pace.published(now_ns, self.unswept.is_some());
        true
    }

    /// Tells the bridge how far every worker is.
    fn acknowledge(&mut self) {
        if self.todo.is_empty() && !self.dirty && self.sad.is_some() && self.publisher.settled() {
            if let Some(from) = self.unswept.filter(|_| self.leaving.is_empty()) {
                self.sweep(from);
            }
            self.live.set_adopted_generation(self.generation);
        }
    }
}
