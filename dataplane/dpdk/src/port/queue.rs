//! Queues of a running port. A queue is not `Clone`: whoever has it is its only user, so nothing here locks.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys::rte_mbuf;

use crate::burst::{Burst, MAX_BURST};
use crate::mbuf::Mbuf;
use crate::port::device::Claim;

/// A receive queue.
#[derive(Debug)]
pub struct RxQueue {
    claim: Arc<Claim>,
    queue: u16,
}

/// What a call of [`RxQueue::rx_burst`] brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Packets appended to the burst.
    pub pkts: u16,
    /// Packets dropped: chained or shared ones that could not be copied into one buffer.
    pub refused_pkts: u16,
}

impl RxQueue {
    pub(crate) fn new(claim: Arc<Claim>, queue: u16) -> Self {
        Self { claim, queue }
    }

    /// Returns the number DPDK gave the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.claim.port
    }

    /// Returns the number of the queue at its port.
    #[must_use]
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Appends the packets that wait to `burst`, as many as it has room for.
    #[inline]
    pub fn rx_burst(&mut self, burst: &mut Burst) -> Received {
        let mut raw = [const { MaybeUninit::<*mut rte_mbuf>::uninit() }; MAX_BURST];
        let room = u16::try_from(burst.remaining_capacity()).unwrap_or(0);
        // SAFETY: the port runs as long as `claim`; `&mut self` makes this the queue's only user; `raw` has room for
        // `MAX_BURST` pointers, and a burst for no more.
        let n = unsafe {
            dpdk_sys::dpdk_shim_rx_burst(self.claim.port, self.queue, raw.as_mut_ptr().cast(), room)
        };
        let mut received = Received::default();
        for slot in raw.iter().take(usize::from(n)) {
            // SAFETY: the call wrote the first `n` pointers.
            let Some(mbuf) = NonNull::new(unsafe { slot.assume_init() }) else { continue };
            // SAFETY: a driver gives away the mbufs it returns.
            match unsafe { Mbuf::from_rx(mbuf) } {
                Some(mbuf) => {
                    received.pkts += 1;
                    // SAFETY: `n` is at most `room`.
                    unsafe { burst.push_unchecked(mbuf) };
                }
                None => received.refused_pkts += 1,
            }
        }
        received
    }
}

/// A transmit queue.
#[derive(Debug)]
pub struct TxQueue {
    claim: Arc<Claim>,
    queue: u16,
}

impl TxQueue {
    pub(crate) fn new(claim: Arc<Claim>, queue: u16) -> Self {
        Self { claim, queue }
    }

    /// Returns the number DPDK gave the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.claim.port
    }

    /// Returns the number of the queue at its port.
    #[must_use]
    pub fn queue(&self) -> u16 {
        self.queue
    }

    /// Hands `burst` to the queue from the front and returns how many packets it took. The others stay in `burst`, in
    /// their order.
    #[inline]
    pub fn tx_burst(&mut self, burst: &mut Burst) -> u16 {
        let len = burst.len();
        let wanted = u16::try_from(len).unwrap_or(0);
        let first = burst.as_mut_ptr();
        // SAFETY: no element is owned by `burst` from here to the second `set_len`, so a packet the queue took is not
        // freed here too.
        unsafe { burst.set_len(0) };
        // SAFETY: the port runs as long as `claim`; `&mut self` makes this the queue's only user; the first `wanted`
        // elements are owned single-segment mbufs (`Mbuf` is a pointer, transparently).
        let sent = unsafe {
            dpdk_sys::dpdk_shim_tx_burst(self.claim.port, self.queue, first.cast::<*mut rte_mbuf>(), wanted)
        };
        let taken = usize::from(sent.min(wanted));
        // SAFETY: elements `taken..len` are still owned by nobody but us; they move to the front of the same array.
        unsafe {
            std::ptr::copy(first.add(taken), first, len - taken);
            burst.set_len(len - taken);
        }
        sent
    }
}
