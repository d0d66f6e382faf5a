//! The rings between the workers and the control thread, which owns the TAP and TUN devices.

use crossbeam::queue::ArrayQueue;

use crate::ports::{InterfaceId, PortId};

/// A kernel device of ours: the TAP of a port (Ethernet frames) or the TUN of an `if_id` interface (IP packets).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostDevice {
    /// The TAP of a port; frames start at the Ethernet header.
    Port(PortId),
    /// The TUN of an interface; packets start at the IP header.
    Interface(InterfaceId),
}

/// Why a packet goes to the host; each class has its own rate limit, so that one cannot starve another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PuntClass {
    /// ARP and IPv6 neighbor discovery.
    Neighbor,
    /// IKE: UDP 500, and UDP 4500 with the four zero octets (RFC 3948 section 2.2).
    Ike,
    /// Control multicast: OSPF, VRRP, BGP neighbors' discovery and the like.
    Control,
    /// Anything else for an address of the gateway.
    Local,
}

/// A packet on its way to the host.
#[derive(Debug)]
pub struct Punt<B> {
    /// Device the packet is written to.
    pub device: HostDevice,
    /// Class it was limited in.
    pub class: PuntClass,
    /// The packet.
    pub buf: B,
}

/// A packet the host sent.
#[derive(Debug)]
pub struct FromHost<B> {
    /// Device the packet was read from.
    pub device: HostDevice,
    /// The packet.
    pub buf: B,
}

/// Both rings of one worker; bounded, lock-free, filled and drained without allocating.
#[derive(Debug)]
pub struct HostRings<B> {
    /// Worker to control thread.
    pub punts: ArrayQueue<Punt<B>>,
    /// Control thread to worker.
    pub from_host: ArrayQueue<FromHost<B>>,
}

impl<B> HostRings<B> {
    /// Makes empty rings of `capacity` packets each.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { punts: ArrayQueue::new(capacity), from_host: ArrayQueue::new(capacity) }
    }
}
