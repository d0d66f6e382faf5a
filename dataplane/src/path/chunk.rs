//! A few ESP packets in a row that any worker may open, and the rings by which they go from the worker that received them
//! to another and back.
//!
//! Chunks are made once, when a worker starts; a ring has room for all of its worker's, so neither ring is ever full.

use arrayvec::ArrayVec;
use crossbeam::queue::ArrayQueue;
use esp::Fresh;
use esp::aead::{Aead, Job};
use esp::decap::Arrived;

use super::context::Packet;
use super::open::job;
use super::opening::Openings;
use crate::ports::Buffer;
use crate::tables::Tables;
use crate::tables::sa::InboundSa;

/// Packets of a chunk at the most: enough for an AEAD to work at its full speed, few enough to share a burst out.
pub(super) const PKTS: usize = 16;
/// Chunks of a worker, and so what it may have under way: 4096 packets, what arrives while another worker does not run for a
/// millisecond or two.
pub(super) const CHUNKS: usize = 256;

/// Both rings of a worker that receives.
#[derive(Debug)]
pub struct Rings<B> {
    /// Chunks that any worker may take and open, its own included.
    pub offered: ArrayQueue<Box<Chunk<B>>>,
    /// Chunks that others give back.
    pub opened: ArrayQueue<Box<Chunk<B>>>,
}

impl<B> Rings<B> {
    pub(super) fn new() -> Self {
        Self { offered: ArrayQueue::new(CHUNKS), opened: ArrayQueue::new(CHUNKS) }
    }
}

/// See the module's text. It names its SAs: a worker opens with those of its own snapshot.
#[derive(Debug)]
pub struct Chunk<B> {
    /// Its place in the order of arrival at its worker.
    pub(super) ticket: u64,
    pub(super) packets: ArrayVec<Sprayed<B>, PKTS>,
}

/// A packet on its way to be opened, or back.
#[derive(Debug)]
pub(super) struct Sprayed<B> {
    pub(super) packet: Packet<B>,
    pub(super) arrived: Arrived,
    pub(super) fresh: Fresh,
    pub(super) sa: SaName,
    pub(super) state: State,
}

/// What the AEAD said about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing yet: the worker that had it does not have its SA.
    Sealed,
    /// Its ICV matches.
    Genuine,
    /// Its ICV does not match; its text has no meaning.
    Forged,
}

/// An SA, whatever snapshot it is looked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SaName {
    slot: u32,
    uid: u64,
}

impl SaName {
    pub(super) fn of<K>(sa: &InboundSa<K>) -> Self {
        Self { slot: sa.common.slot, uid: sa.common.uid }
    }

    /// Returns the SA, unless it is gone or has not come yet. `last` is what was found before, which most often it is again.
    #[inline]
    pub(super) fn find<'t, K>(
        self,
        tables: &'t Tables<K>,
        last: &mut Last<'t, K>,
    ) -> Option<&'t InboundSa<K>> {
        if let Some((name, sa)) = *last
            && name == self
        {
            return Some(sa);
        }
        let sa = tables.inbound_at(self.slot).map(AsRef::as_ref).filter(|sa| sa.common.uid == self.uid)?;
        *last = Some((self, sa));
        Some(sa)
    }
}

/// The SA that was found last.
pub(super) type Last<'t, K> = Option<(SaName, &'t InboundSa<K>)>;

impl<B: Buffer> Chunk<B> {
    pub(super) fn boxed() -> Box<Self> {
        Box::new(Self { ticket: 0, packets: ArrayVec::new() })
    }

    /// Takes over as many packets from the front of `from` as there is room for; returns how many.
    pub(super) fn fill<K>(&mut self, from: &mut Openings<'_, B, K>, state: State) -> usize {
        let count = from.len().min(self.packets.remaining_capacity());
        let heads = from.packets.drain(..count).zip(from.arrived.drain(..count));
        let found = from.sas.drain(..count).zip(from.fresh.drain(..count));
        let packet = |((packet, arrived), (sa, fresh))| {
            let sa = SaName::of(sa);
            Sprayed { packet, arrived, fresh, sa, state }
        };
        self.packets.extend(heads.zip(found).map(packet));
        count
    }

    /// Opens in place what is sealed still and whose SA `tables` has.
    pub(super) fn open<K: Send + Sync>(&mut self, tables: &Tables<K>, aead: &mut dyn Aead<Key = K>) {
        let mut jobs: ArrayVec<Job<'_, K>, PKTS> = ArrayVec::new();
        let mut states: ArrayVec<&mut State, PKTS> = ArrayVec::new();
        let mut last = None;
        for Sprayed { packet, arrived, fresh, sa, state } in &mut self.packets {
            if *state != State::Sealed {
                continue;
            }
            // Classification bounds-checked every packet, so each whose SA is there has a job.
            let Some(sa) = sa.find(tables, &mut last) else { continue };
            if let Some(job) = job(sa, arrived, *fresh, &mut packet.buf) {
                jobs.push(job);
                states.push(state);
            }
        }
        aead.open(&mut jobs);
        for (state, job) in states.into_iter().zip(&jobs) {
            *state = if job.verified { State::Genuine } else { State::Forged };
        }
    }
}
