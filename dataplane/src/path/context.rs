//! What every stage gets: one snapshot of the tables, the worker's own queues and its counters.

use std::sync::Arc;

use arrayvec::ArrayVec;
use esp::DropReason;
use esp::aead::{Aead, MAX_BURST};
use esp::wire::FlowKey;

use super::counters::{Account, Counters, Origin, Stage};
use super::flows::Flows;
use super::held::Held;
use super::icmp::Complaints;
use super::ike_pieces::IkePieces;
use super::limiter::Limiter;
use super::shared::{Notice, WorkerShared};
use super::told::Told;
use super::tx::Outputs;
use crate::ports::{InterfaceId, PortId, Ports};
use crate::tables::Tables;
use crate::tables::sa::InboundSa;

/// A list of what a stage hands on; never longer than a burst.
pub(super) type List<T> = ArrayVec<T, MAX_BURST>;

/// A packet and the account it belongs to.
#[derive(Debug)]
pub(super) struct Packet<B> {
    pub(super) buf: B,
    pub(super) origin: Origin,
}

/// Where an IP packet that is to be forwarded comes from.
#[derive(Debug)]
pub(super) enum From<'t, K> {
    /// In clear from a port.
    Port(PortId),
    /// Out of a tunnel.
    Tunnel(&'t InboundSa<K>),
    /// From the host, by the TAP of a port, as a whole frame whose Ethernet header was taken off.
    Tap(PortId),
    /// From the host, by the TUN of an interface.
    Tun(InterfaceId),
    /// Made by the engine itself: ICMP errors.
    Engine,
}

impl<K> Clone for From<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for From<'_, K> {}

/// An IP packet on its way through; `buf` starts at its IP header and ends with it.
///
/// The flow stays where it was read into: it is large, and moving what was just written stalls a core.
#[derive(Debug)]
pub(super) struct Transit<'t, 'f, B, K> {
    pub(super) packet: Packet<B>,
    pub(super) flow: &'f FlowKey,
    pub(super) from: From<'t, K>,
}

/// A burst of packets on their way through.
pub(super) struct Transits<'t, B, K> {
    packets: List<(Packet<B>, From<'t, K>)>,
    /// By the position of the packet.
    flows: List<FlowKey>,
}

impl<'t, B, K> Transits<'t, B, K> {
    pub(super) const fn new() -> Self {
        Self { packets: List::new_const(), flows: List::new_const() }
    }

    pub(super) const fn len(&self) -> usize {
        self.packets.len()
    }

    #[inline]
    pub(super) fn push(&mut self, packet: Packet<B>, flow: FlowKey, from: From<'t, K>) {
        self.push_flow(flow);
        self.push_packet(packet, from);
    }

    /// Adds the flow of the packet that [`Self::push_packet`] adds next.
    #[inline]
    pub(super) fn push_flow(&mut self, flow: FlowKey) {
        self.flows.push(flow);
    }

    /// Adds the packet whose flow was added last.
    #[inline]
    pub(super) fn push_packet(&mut self, packet: Packet<B>, from: From<'t, K>) {
        self.packets.push((packet, from));
    }

    /// Forgets the flows of the packets that were taken out.
    pub(super) fn clear(&mut self) {
        self.flows.clear();
    }

    /// Takes every packet out; [`Self::clear`] follows.
    #[inline]
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Transit<'t, '_, B, K>> {
        let flows = self.flows.iter();
        self.packets.drain(..).zip(flows).map(|((packet, from), flow)| Transit { packet, flow, from })
    }
}

/// See the module's text.
pub(super) struct Context<'a, P: Ports, K> {
    pub(super) tables: &'a Tables<K>,
    pub(super) ports: &'a mut P,
    pub(super) aead: &'a mut dyn Aead<Key = K>,
    /// All workers; `me` is this one.
    pub(super) workers: &'a [Arc<WorkerShared<P::Buf>>],
    pub(super) me: usize,
    pub(super) outputs: &'a mut Outputs<P::Buf>,
    pub(super) held: &'a mut Held<P::Buf>,
    pub(super) complaints: &'a mut Complaints<P::Buf>,
    pub(super) limiter: &'a mut Limiter,
    pub(super) told: &'a mut Told,
    pub(super) ike_pieces: &'a mut IkePieces,
    pub(super) flows: &'a mut Flows,
    /// Number of the snapshot that `tables` is.
    pub(super) snapshot: u64,
    /// CLOCK_BOOTTIME, read once for the whole pass.
    pub(super) now_ns: u64,
    pub(super) cycles: fn() -> u64,
}

impl<'a, P: Ports, K> Context<'a, P, K> {
    /// What this worker shares with the other threads.
    #[inline]
    #[allow(clippy::indexing_slicing, reason = "a worker is made with an index into this list")]
    pub(super) fn shared(&self) -> &'a WorkerShared<P::Buf> {
        &self.workers[self.me]
    }

    #[inline]
    pub(super) fn counters(&self) -> &'a Counters {
        &self.shared().counters
    }

    #[inline]
    pub(super) fn account(&self, origin: Origin) -> &'a Account {
        self.counters().account(origin)
    }

    /// Ends a packet: counted once, then freed.
    #[inline]
    pub(super) fn drop(&self, packet: Packet<P::Buf>, reason: DropReason) {
        self.counters().dropped(packet.origin, reason);
    }

    /// Tells the control thread; a full ring loses a hint and no truth.
    #[inline]
    pub(super) fn notice(&self, notice: Notice) {
        let _ = self.shared().notices.push(notice);
    }

    /// Takes a fresh buffer for a packet the engine makes on behalf of `origin`.
    pub(super) fn make(&mut self, origin: Origin) -> Option<Packet<P::Buf>> {
        let buf = self.ports.alloc()?;
        self.account(origin).made.add(1);
        Some(Packet { buf, origin })
    }

    /// Accounts the cost of a stage that worked on `packets` since `start`; returns the next stage's start.
    #[inline]
    pub(super) fn spent(&self, stage: Stage, packets: usize, start: u64) -> u64 {
        self.spent_on_some(stage, packets, packets, start)
    }

    /// As [`Self::spent`], of a stage that worked on `packets` of the `all` it looked at: they account for their share.
    #[inline]
    pub(super) fn spent_on_some(&self, stage: Stage, packets: usize, all: usize, start: u64) -> u64 {
        let end = (self.cycles)();
        if packets > 0 {
            let count = self.counters().stage(stage);
            let (packets, all) = (packets as u64, all as u64);
            let cycles = end.wrapping_sub(start);
            count.calls.add(1);
            count.packets.add(packets);
            count.cycles.add(if packets == all { cycles } else { cycles / all.max(1) * packets });
        }
        end
    }
}
