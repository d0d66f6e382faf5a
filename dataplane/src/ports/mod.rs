//! The seam between the packet path and the world: owned buffers, receive queues, transmit queues.
//!
//! Every stage is generic over [`Ports`], so it runs in memory without DPDK, root or hugepages; DPDK is one
//! implementation. A worker owns its `Ports` value and with it every queue reachable through it.

use arrayvec::ArrayVec;
use esp::aead::MAX_BURST;

pub mod dpdk;
pub mod memory;

/// One packet's octets, owned: moved into a transmit queue, or freed once when dropped.
///
/// `data` starts at the Ethernet header on a port, at the IP header on an `if_id` interface.
pub trait Buffer: Send {
    /// Returns the packet.
    fn data(&self) -> &[u8];
    /// Returns the packet for writing.
    fn data_mut(&mut self) -> &mut [u8];
    /// Grows the packet at the front by `octets` of unspecified content and reports whether there was room.
    #[must_use]
    fn prepend(&mut self, octets: usize) -> bool;
    /// Grows the packet at the end by `octets` of unspecified content and reports whether there was room.
    #[must_use]
    fn append(&mut self, octets: usize) -> bool;
    /// Removes `octets` at the front, all of the packet where it is shorter.
    fn adj(&mut self, octets: usize);
    /// Removes `octets` at the end, all of the packet where it is shorter.
    fn trim(&mut self, octets: usize);

    /// Grows the packet by `front` octets before and `back` octets behind it, all of unspecified content, and reports
    /// whether there was room for both; without it the packet may have grown by one of them.
    #[must_use]
    #[inline]
    fn grow(&mut self, front: usize, back: usize) -> bool {
        self.prepend(front) && self.append(back)
    }

    /// Keeps the `octets` from `front` on, fewer where the packet is shorter.
    #[inline]
    fn narrow(&mut self, front: usize, octets: usize) {
        self.adj(front);
        let behind = self.data().len().saturating_sub(octets);
        self.trim(behind);
    }
}

/// A burst of owned buffers; whatever is left in it when it is dropped is freed.
pub type Burst<B> = ArrayVec<B, MAX_BURST>;

/// Index of a `[[port]]` in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u16);

/// Index of an `[[interface]]` in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterfaceId(pub u16);

/// The queues one worker owns, on all ports.
pub trait Ports {
    /// The buffer of this implementation.
    type Buf: Buffer;

    /// Takes up to [`MAX_BURST`] packets from this worker's receive queues of `port` and appends them to the
    /// empty `burst`. Returns how many frames were freed on the way because they span several buffers.
    fn rx(&mut self, port: PortId, burst: &mut Burst<Self::Buf>) -> u64;

    /// Hands `burst` to this worker's transmit queue of `port`. What the queue did not take stays in `burst`.
    fn tx(&mut self, port: PortId, burst: &mut Burst<Self::Buf>);

    /// Returns an empty buffer with the usual head- and tailroom, or `None` when the pool is dry.
    fn alloc(&mut self) -> Option<Self::Buf>;

    /// Whether this worker owns a transmit queue of `port`; where it does not, packets go by ring to `tx_owner`.
    fn owns_tx(&self, port: PortId) -> bool;

    /// Index of the worker that sends for this one on `port` where it owns no transmit queue itself.
    fn tx_owner(&self, port: PortId) -> usize;
}
