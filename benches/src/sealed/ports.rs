//! Ports over a field: what is received is copied out of it into fresh buffers, as `net_pcap` does; what is sent is freed.

use dataplane::ports::{Burst, PortId, Ports};
use dpdk::{Mbuf, Mempool, free_burst};

use super::field::Field;
use crate::residence::Residence;

/// The port to the hosts behind the gateway.
pub const LAN: PortId = PortId(0);
/// The port to the peers.
pub const WAN: PortId = PortId(1);

/// See the module's text.
pub struct FieldPorts {
    /// The frames that arrive.
    pub field: Field,
    pool: Mempool,
    /// The port that they arrive by.
    arrives: PortId,
    next: usize,
    end: usize,
    /// The first frames sent, for a look at them; as many as it has room for.
    pub kept: Vec<Vec<u8>>,
    /// When frames are due, and how long they stay.
    pub residence: Option<Residence>,
}

impl FieldPorts {
    /// Makes ports by one of which an empty field arrives.
    #[must_use]
    pub fn new(pool: Mempool, arrives: PortId) -> Self {
        let field = Field::default();
        Self { field, pool, arrives, next: 0, end: 0, kept: Vec::new(), residence: None }
    }

    /// Lets the first `frames` frames of the field arrive from now on.
    pub fn offer(&mut self, frames: usize) {
        self.next = 0;
        self.end = frames.min(self.field.len());
        if let Some(residence) = &mut self.residence {
            residence.begin(dpdk::tsc());
        }
    }

    /// Returns how many frames have not arrived yet.
    #[must_use]
    #[inline]
    pub fn left(&self) -> usize {
        self.end - self.next
    }
}

impl Ports for FieldPorts {
    type Buf = Mbuf;

    #[inline]
    fn rx(&mut self, port: PortId, burst: &mut Burst<Mbuf>) -> u64 {
        if port != self.arrives {
            return 0;
        }
        let mut count = self.left().min(burst.remaining_capacity());
        if let Some(residence) = &mut self.residence {
            count = residence.due(dpdk::tsc(), count);
        }
        if count == 0 || !self.pool.alloc_into(burst, count) {
            return 0;
        }
        for mbuf in burst.iter_mut() {
            let frame = self.field.frame(self.next);
            self.next += 1;
            if let Some(place) = mbuf.append(frame.len()) {
                place.copy_from_slice(frame);
            }
        }
        if let Some(residence) = &mut self.residence {
            residence.arrived(dpdk::tsc(), burst.iter().map(address));
        }
        0
    }

    #[inline]
    fn tx(&mut self, _port: PortId, burst: &mut Burst<Mbuf>) {
        if self.kept.len() < self.kept.capacity() {
            let room = self.kept.capacity() - self.kept.len();
            self.kept.extend(burst.iter().take(room).map(|mbuf| mbuf.data().to_vec()));
        }
        if let Some(residence) = &mut self.residence {
            residence.left(dpdk::tsc(), burst.iter().map(address));
        }
        free_burst(burst);
    }

    #[inline]
    fn alloc(&mut self) -> Option<Mbuf> {
        self.pool.alloc()
    }

    #[inline]
    fn owns_tx(&self, _port: PortId) -> bool {
        true
    }

    fn tx_owner(&self, _port: PortId) -> usize {
        0
    }
}

/// Returns where the buffer of a packet begins, wherever the packet begins in it.
#[inline]
fn address(mbuf: &Mbuf) -> usize {
    mbuf.data().as_ptr().addr() - mbuf.headroom_octets()
}
