//! Stage tx: frames to the transmit queues, collected per port and handed over in bursts.

use arrayvec::ArrayVec;
use esp::DropReason;
use esp::aead::MAX_BURST;

use super::context::{Context, Packet};
use super::counters::{Origin, Stage};
use super::shared::{HANDOFF_PKTS, Handoff, Work};
use crate::ports::{Burst, PortId, Ports};

/// Frames waiting for the end of the pass, per port.
pub(super) struct Outputs<B> {
    queues: Vec<Queue<B>>,
}

struct Queue<B> {
    frames: Burst<B>,
    /// Accounts of the frames, in order, and how many each has.
    origins: ArrayVec<(Origin, usize), MAX_BURST>,
}

impl<B> Queue<B> {
    /// Adds frames while there is room.
    #[inline]
    fn fill(&mut self, origin: Origin, frames: &mut impl Iterator<Item = B>) {
        let before = self.frames.len();
        self.frames.extend(frames.take(self.frames.remaining_capacity()));
        let added = self.frames.len() - before;
        match self.origins.last_mut() {
            Some((last, count)) if *last == origin => *count += added,
            _ if added > 0 => self.origins.push((origin, added)),
            _ => {}
        }
    }
}

impl<B> Outputs<B> {
    pub(super) fn new(ports: usize) -> Self {
        let queue = || Queue { frames: Burst::new_const(), origins: ArrayVec::new_const() };
        Self { queues: (0..ports).map(|_| queue()).collect() }
    }
}

impl<P: Ports, K> Context<'_, P, K> {
    /// Sends a whole frame out of `port`, at the end of the pass at the latest.
    #[inline]
    pub(super) fn send(&mut self, port: PortId, packet: Packet<P::Buf>) {
        self.send_all(port, packet.origin, std::iter::once(packet.buf));
    }

    /// Sends whole frames of one account out of `port`, at the end of the pass at the latest.
    #[inline]
    pub(super) fn send_all(
        &mut self,
        port: PortId,
        origin: Origin,
        mut frames: impl Iterator<Item = P::Buf>,
    ) {
        if !self.ports.owns_tx(port) {
            return self.send_elsewhere(port, origin, frames);
        }
        loop {
            let Some(queue) = self.outputs.queues.get_mut(usize::from(port.0)) else {
                return frames.for_each(|buf| self.drop(Packet { buf, origin }, DropReason::PortUnknown));
            };
            queue.fill(origin, &mut frames);
            if !queue.frames.is_full() {
                return;
            }
            self.flush_port(port);
        }
    }

    /// Gives frames to the worker that has a transmit queue of `port`.
    #[cold]
    fn send_elsewhere(&self, port: PortId, origin: Origin, frames: impl Iterator<Item = P::Buf>) {
        let owner = self.ports.tx_owner(port);
        if owner == self.me {
            // Nobody has a queue of this port; by the ring the frames would come back for ever.
            return frames.for_each(|buf| self.drop(Packet { buf, origin }, DropReason::PortUnknown));
        }
        self.hand_off(owner, Work::Send(port), origin, frames);
    }

    /// Hands every waiting frame to its queue.
    pub(super) fn flush(&mut self) {
        for index in 0..self.outputs.queues.len() {
            if let Ok(index) = u16::try_from(index) {
                self.flush_port(PortId(index));
            }
        }
    }

    fn flush_port(&mut self, port: PortId) {
        let (start, counters) = ((self.cycles)(), self.counters());
        let Some(queue) = self.outputs.queues.get_mut(usize::from(port.0)) else { return };
        let offered = queue.frames.len();
        if offered == 0 {
            return;
        }
        self.ports.tx(port, &mut queue.frames);
        let mut taken = offered - queue.frames.len();
        queue.frames.clear();
        for (origin, count) in queue.origins.drain(..) {
            let sent = count.min(taken);
            taken -= sent;
            let account = counters.account(origin);
            account.sent.add(sent as u64);
            account.drops_of(DropReason::TxFull).add((count - sent) as u64);
        }
        self.spent(Stage::Tx, offered, start);
    }

    /// Gives packets of one account to another worker.
    pub(super) fn hand_off(
        &self,
        worker: usize,
        work: Work,
        origin: Origin,
        mut bufs: impl Iterator<Item = P::Buf>,
    ) {
        loop {
            let bufs: ArrayVec<_, HANDOFF_PKTS> = bufs.by_ref().take(HANDOFF_PKTS).collect();
            if bufs.is_empty() {
                return;
            }
            let handoff = Handoff { work, origin, bufs };
            let refused = match self.workers.get(worker) {
                Some(other) => other.handoffs.push(handoff).err(),
                None => Some(handoff),
            };
            for buf in refused.into_iter().flat_map(|handoff| handoff.bufs) {
                self.drop(Packet { buf, origin }, DropReason::HandoffFull);
            }
        }
    }
}
