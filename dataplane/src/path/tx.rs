//! Stage tx: frames to the transmit queues, collected per port and handed over in bursts.

use esp::DropReason;

use super::context::{Context, Packet};
use super::counters::{Origin, Stage};
use super::shared::{Handoff, Work};
use crate::ports::{Burst, PortId, Ports};
use esp::aead::MAX_BURST;

/// Frames waiting for the end of the pass, per port.
pub(super) struct Outputs<B> {
    queues: Vec<Queue<B>>,
}

struct Queue<B> {
    frames: Burst<B>,
    /// Accounts of the frames, by position.
    origins: arrayvec::ArrayVec<Origin, MAX_BURST>,
}

impl<B> Outputs<B> {
    pub(super) fn new(ports: usize) -> Self {
        let queue = || Queue { frames: Burst::new_const(), origins: arrayvec::ArrayVec::new_const() };
        Self { queues: (0..ports).map(|_| queue()).collect() }
    }
}

impl<P: Ports, K> Context<'_, P, K> {
    /// Sends a whole frame out of `port`, at the end of the pass at the latest.
    #[inline]
    pub(super) fn send(&mut self, port: PortId, packet: Packet<P::Buf>) {
        if !self.ports.owns_tx(port) {
            let owner = self.tx_owner(port);
            if owner == self.me {
                // Nobody has a queue of this port; by the ring the frame would come back for ever.
                return self.drop(packet, DropReason::PortUnknown);
            }
            return self.hand_off(owner, Work::Send(port), packet);
        }
        let Some(queue) = self.outputs.queues.get_mut(usize::from(port.0)) else {
            return self.drop(packet, DropReason::PortUnknown);
        };
        queue.frames.push(packet.buf);
        queue.origins.push(packet.origin);
        if queue.frames.is_full() {
            self.flush_port(port);
        }
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
        let start = (self.cycles)();
        let Some(queue) = self.outputs.queues.get_mut(usize::from(port.0)) else { return };
        let offered = queue.frames.len();
        if offered == 0 {
            return;
        }
        self.ports.tx(port, &mut queue.frames);
        let taken = offered - queue.frames.len();
        queue.frames.clear();
        let origins = std::mem::take(&mut queue.origins);
        let (sent, refused) = origins.split_at(taken.min(origins.len()));
        for run in sent.chunk_by(|a, b| a == b) {
            if let Some(origin) = run.first() {
                self.account(*origin).sent.add(run.len() as u64);
            }
        }
        for origin in refused {
            self.counters().dropped(*origin, DropReason::TxFull);
        }
        self.spent(Stage::Tx, offered, start);
    }

    /// The worker that owns the transmit queue of a port with fewer queues than workers.
    fn tx_owner(&self, port: PortId) -> usize {
        self.ports.tx_owner(port)
    }

    /// Gives a packet to another worker.
    pub(super) fn hand_off(&self, worker: usize, work: Work, packet: Packet<P::Buf>) {
        let Packet { buf, origin } = packet;
        let refused = match self.workers.get(worker) {
            Some(other) => other.handoffs.push(Handoff { work, origin, buf }).err(),
            None => Some(Handoff { work, origin, buf }),
        };
        if let Some(Handoff { buf, origin, .. }) = refused {
            self.drop(Packet { buf, origin }, DropReason::HandoffFull);
        }
    }
}
