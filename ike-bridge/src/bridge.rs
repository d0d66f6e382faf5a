//! The bridge's books and its one way to change the segment. Time is an argument; what is to be sent comes
//! out
//! as [`Output`], so that every rule is tested without a socket.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use shm_protocol::ids::{Generation, Owner, SaUid, Slot};
use shm_protocol::live::{EventCursor, LiveReader, Usage};
use shm_protocol::messages::plugin::{Event, Host};
use shm_protocol::place::RuntimeDir;
use shm_protocol::sa::{Larval, Occupant, Sa};
use shm_protocol::sad::SadWriter;

use crate::draft::{Books, Draft};
use crate::policies::Policies;
use crate::refusal::Refusal;
use crate::requests::Requests;
use crate::sas::Sas;
use crate::spi::SpiAllocator;
use crate::sweep::Sweep;

/// A connection, as the shell numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub u64);

/// What the shell shall send.
#[derive(Clone, Debug)]
pub enum Output {
    /// A reply to a plugin's request.
    Reply(ClientId, Box<shm_protocol::messages::plugin::Reply>),
    /// An event for an IKE daemon.
    Event(Owner, Event),
    /// The engine shall look at the segment.
    SegmentChanged {
        /// Whether by a batch of an operator, of which nobody waits for one line.
        load: bool,
    },
}

/// The bridge's state: a model of the segment, which is the durable truth.
pub struct Bridge {
    pub(crate) dir: RuntimeDir,
    pub(crate) sad: SadWriter,
    pub(crate) live: Option<LiveReader>,
    pub(crate) events: EventCursor,
    pub(crate) sas: Sas,
    pub(crate) policies: Policies,
    pub(crate) spis: SpiAllocator,
    pub(crate) larvals: BTreeMap<Slot, Larval>,
    pub(crate) sweep: Sweep,
    pub(crate) requests: Requests,
    pub(crate) capacity: u32,
    pub(crate) engine_connected: bool,
    outputs: Vec<Output>,
}

impl Bridge {
    /// Opens the segment in `dir`, or makes it, and takes over what it holds.
    ///
    /// Errors: the directory or the segment cannot be used, in one line.
    pub fn open(dir: &Path, capacity: u32, grace: Duration) -> Result<Self, shm_protocol::Error> {
        let dir = RuntimeDir::prepare(dir)?;
        let sad = SadWriter::open(&dir, capacity, LOCK_DEADLINE)?;
        let (mut sas, mut policies) = (Sas::default(), Policies::default());
        let reader = sad.reader();
        let (mut contents, mut larvals) = (Vec::new(), BTreeMap::new());
        for index in 0..reader.sa_slots_used() {
            let Some(slot) = Slot::new(index) else { break };
            let slot = reader.sa(slot)?;
            match &slot.occupant {
                Occupant::Sa(sa) => drop(sas.put(sa)),
                Occupant::Larval(larval) => {
                    larvals.insert(larval.slot, *larval);
                }
                Occupant::Empty => {}
            }
            if slot.occupant != Occupant::Empty || slot.history.freed_ns != 0 {
                contents.push(slot);
            }
        }
        for index in 0..reader.policy_slots_used() {
            let Some(slot) = shm_protocol::ids::PolicySlot::new(index) else { break };
            if let Some(policy) = reader.policy(slot)? {
                policies.restore(&policy);
            }
        }
        let start = random_u32().unwrap_or(0);
        let spis = SpiAllocator::new(capacity, contents, start);
        Ok(Self {
            dir,
            sad,
            live: None,
            events: EventCursor::default(),
            sas,
            policies,
            spis,
            larvals,
            sweep: Sweep::new(u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX)),
            requests: Requests::default(),
            capacity,
            engine_connected: false,
            outputs: Vec::new(),
        })
    }

    /// Returns how many SAs and policies there are.
    pub fn counts(&self) -> (usize, usize) {
        (self.sas.len(), self.policies.len())
    }

    /// Returns the number of the last generation.
    pub fn generation(&self) -> Generation {
        self.sad.reader().generation()
    }

    /// Returns what is to be sent, in order.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Notes whether an engine is connected; without one nobody waits for adoption.
    pub fn set_engine_connected(&mut self, connected: bool) {
        self.engine_connected = connected;
    }

    /// Returns true while somebody waits for the engine's adoption.
    pub fn is_waiting(&self) -> bool {
        self.requests.is_waiting()
    }

    pub(crate) fn emit(&mut self, output: Output) {
        self.outputs.push(output);
    }

    pub(crate) fn books(&mut self) -> Books<'_> {
        Books { sas: &mut self.sas, policies: &mut self.policies, spis: &mut self.spis }
    }

    /// Makes the changes of `draft` as one generation; on an error everything is as before.
    pub(crate) fn commit(&mut self, mut draft: Draft, now_ns: u64) -> Result<Generation, Refusal> {
        if draft.is_empty() {
            return Ok(self.generation());
        }
        match self.sad.commit(&draft.transaction(now_ns), LOCK_DEADLINE) {
            Ok(generation) => {
                for &spi in draft.claims() {
                    self.spis.claim(spi);
                    self.larvals.remove(&Slot::of(spi));
                }
                self.outputs.push(Output::SegmentChanged { load: draft.is_load() });
                Ok(generation)
            }
            Err(error) => {
                tracing::error!("the segment was not changed: {error}");
                draft.take_back(&mut self.books(), now_ns);
                Err(error.into())
            }
        }
    }

    /// Abandons `draft`; everything is as before.
    pub(crate) fn abandon(&mut self, draft: Draft, now_ns: u64) {
        draft.take_back(&mut self.books(), now_ns);
    }

    /// Returns the SA of `slot` with its key, from the draft or the segment.
    pub(crate) fn with_key(&self, draft: &Draft, slot: Slot) -> Result<Sa, Refusal> {
        if let Some(sa) = draft.sa(slot) {
            return Ok(sa.clone());
        }
        match self.sad.reader().sa(slot)?.occupant {
            Occupant::Sa(sa) => Ok(*sa),
            Occupant::Empty | Occupant::Larval(_) => {
                Err(shm_protocol::Error::Torn { index: slot.index() }.into())
            }
        }
    }

    /// Returns what an SA has used; nothing while the engine has not taken it up.
    pub(crate) fn usage(&self, sa: &Sa) -> Option<Usage> {
        self.live.as_ref()?.usage(sa.slot, sa.uid, sa.direction).ok()
    }

    /// Tells the owner of `sa` that a limit was reached.
    pub(crate) fn emit_expire(&mut self, sa: &Sa, hard: bool) {
        let port = sa.encap.map_or(IKE_NAT_PORT, |ports| ports.dport);
        let event = Event::expire(sa.spi.0, Host::new(sa.dst, port), hard);
        self.emit(Output::Event(sa.owner, event));
    }
}

/// Draws a random number.
pub(crate) fn random_u32() -> Result<u32, Refusal> {
    getrandom::u32().map_err(|_| Refusal::Random)
}

/// Draws an SA's identity.
pub(crate) fn random_uid() -> Result<SaUid, Refusal> {
    SaUid::random().map_err(|_| Refusal::Random)
}

const LOCK_DEADLINE: Duration = Duration::from_millis(500);
const IKE_NAT_PORT: u16 = 4500;
