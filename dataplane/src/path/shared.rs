//! What a worker shares with the control thread, the service thread and the other workers.

use std::net::IpAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use crossbeam::queue::ArrayQueue;
use esp::wire::FlowKey;

use super::chunk::Rings;
use super::counters::{Counters, Origin};
use super::host::HostRings;
use crate::ports::PortId;
use crate::tables::topology::Mac;

/// Entries a ring between two threads holds.
const RING: usize = 1024;
/// Notices a worker may have outstanding; further ones are lost, which costs time but never truth.
const NOTICES: usize = 256;

/// Packets in a row that another worker has to finish, all in the same way.
#[derive(Debug)]
pub struct Handoff<B> {
    /// What is left to do.
    pub work: Work,
    /// Account of the packets.
    pub origin: Origin,
    /// The packets.
    pub bufs: ArrayVec<B, HANDOFF_PKTS>,
}

/// Packets that are handed over together at the most: what a ring costs is shared by so many.
pub const HANDOFF_PKTS: usize = 16;

/// What the receiving worker does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Seal them with the outbound SA at this slot, if that still has this uid; they start at their inner IP headers.
    Seal {
        /// Slot in the SAD.
        slot: u32,
        /// Identity of the SA.
        uid: u64,
    },
    /// Send them out of this port, whose transmit queue the receiver owns; they start at their Ethernet headers.
    Send(PortId),
}

/// Something the control thread should know. A hint: the truth is in the tables and in `live`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A packet waits for the Ethernet address of the way to this address.
    Missing {
        /// Outer destination, or the destination or next hop of a clear packet.
        destination: IpAddr,
        /// Port it is on.
        port: PortId,
    },
    /// A neighbor said where it is.
    Learnt {
        /// Port it was heard on.
        port: PortId,
        /// Its address.
        ip: IpAddr,
        /// Its Ethernet address.
        mac: Mac,
    },
    /// A packet matched a policy that has no SA.
    Acquire {
        /// Slot of the policy.
        policy: u32,
        /// The packet's flow.
        flow: FlowKey,
    },
    /// An SA passed a limit.
    Limit {
        /// Slot of the SA.
        slot: u32,
        /// Identity of the SA.
        uid: u64,
        /// What was passed.
        limit: Limit,
    },
    /// An authentic packet of an encapsulated SA came from another address or port than the SA's.
    Mapping {
        /// Slot of the SA.
        slot: u32,
        /// Identity of the SA.
        uid: u64,
        /// Address it came from.
        address: IpAddr,
        /// UDP port it came from, host order.
        port: u16,
    },
}

/// A limit of an SA: a soft one asks for a new SA, at a hard one use has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Soft limit of octets.
    SoftOctets,
    /// Hard limit of octets.
    HardOctets,
    /// Soft limit of packets.
    SoftPackets,
    /// Hard limit of packets.
    HardPackets,
    /// Sequence numbers come to their end.
    SoftSequence,
    /// Sequence numbers are used up.
    HardSequence,
}

/// See the module's text.
#[derive(Debug)]
pub struct WorkerShared<B> {
    /// Packets to and from the host.
    pub host: HostRings<B>,
    /// Packets other workers hand to this one.
    pub handoffs: ArrayQueue<Handoff<B>>,
    /// Packets of this worker that others may open.
    pub spray: Rings<B>,
    /// Hints for the control thread.
    pub notices: ArrayQueue<Notice>,
    /// What this worker counted.
    pub counters: Counters,
}

impl<B> WorkerShared<B> {
    /// Makes the shared part of one worker.
    #[must_use]
    pub fn new(ports: usize) -> Arc<Self> {
        Arc::new(Self {
            host: HostRings::new(RING),
            handoffs: ArrayQueue::new(RING),
            spray: Rings::new(),
            notices: ArrayQueue::new(NOTICES),
            counters: Counters::new(ports),
        })
    }
}
