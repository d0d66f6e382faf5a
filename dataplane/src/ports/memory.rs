//! Ports in memory: what every stage and every drop reason is tested on.
//!
//! A [`Wire`] is the far end of one port; tests put frames in and take frames out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Buffer, Burst, PortId, Ports};

/// Octets in front of a received frame, as in an mbuf.
const HEADROOM: usize = 128;
/// Octets of one buffer.
const ROOM: usize = 2304;

/// A heap buffer with head- and tailroom.
#[derive(Clone, Debug)]
pub struct MemBuf {
    room: Box<[u8; ROOM]>,
    start: usize,
    end: usize,
}

impl MemBuf {
    /// Makes an empty buffer.
    #[must_use]
    pub fn empty() -> Self {
        Self { room: Box::new([0; ROOM]), start: HEADROOM, end: HEADROOM }
    }

    /// Makes a buffer that holds `octets`, or `None` where they do not fit.
    #[must_use]
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        let mut buf = Self::empty();
        if !buf.append(octets.len()) {
            return None;
        }
        buf.data_mut().copy_from_slice(octets);
        Some(buf)
    }
}

impl Buffer for MemBuf {
    fn data(&self) -> &[u8] {
        self.room.get(self.start..self.end).unwrap_or_default()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        self.room.get_mut(self.start..self.end).unwrap_or_default()
    }

    fn prepend(&mut self, octets: usize) -> bool {
        let fits = octets <= self.start;
        if fits {
            self.start -= octets;
        }
        fits
    }

    fn append(&mut self, octets: usize) -> bool {
        let fits = octets <= ROOM - self.end;
        if fits {
            self.end += octets;
        }
        fits
    }

    fn adj(&mut self, octets: usize) {
        self.start += octets.min(self.end - self.start);
    }

    fn trim(&mut self, octets: usize) {
        self.end -= octets.min(self.end - self.start);
    }
}

#[derive(Debug, Default)]
struct Queues {
    to_engine: VecDeque<Vec<u8>>,
    from_engine: VecDeque<Vec<u8>>,
}

/// The far end of one port.
#[derive(Clone, Debug, Default)]
pub struct Wire(Arc<Mutex<Queues>>);

impl Wire {
    fn with<R>(&self, work: impl FnOnce(&mut Queues) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a frame on the wire towards the engine.
    pub fn send(&self, frame: impl Into<Vec<u8>>) {
        self.with(|queues| queues.to_engine.push_back(frame.into()));
    }

    /// Takes the oldest frame the engine sent.
    #[must_use]
    pub fn take(&self) -> Option<Vec<u8>> {
        self.with(|queues| queues.from_engine.pop_front())
    }
}

/// One worker's queues on a set of wires.
#[derive(Debug)]
pub struct MemPorts {
    wires: Vec<Wire>,
    /// Ports whose transmit queue this worker owns.
    owned_tx: Vec<bool>,
    /// Frames a transmit queue takes at a call; lower it to provoke a full queue.
    pub tx_room: usize,
    /// Buffers left in the pool; lower it to provoke a dry pool.
    pub pool: usize,
}

impl MemPorts {
    /// Makes the queues of a worker that owns a transmit queue of every port.
    #[must_use]
    pub fn new(wires: Vec<Wire>) -> Self {
        let owned_tx = vec![true; wires.len()];
        Self { wires, owned_tx, tx_room: usize::MAX, pool: usize::MAX }
    }

    /// Takes the transmit queue of `port` away.
    pub fn disown_tx(&mut self, port: PortId) {
        if let Some(owned) = self.owned_tx.get_mut(usize::from(port.0)) {
            *owned = false;
        }
    }
}

impl Ports for MemPorts {
    type Buf = MemBuf;

    fn rx(&mut self, port: PortId, burst: &mut Burst<MemBuf>) -> u64 {
        let Some(wire) = self.wires.get(usize::from(port.0)) else { return 0 };
        wire.with(|queues| {
            let mut refused = 0;
            while !burst.is_full() {
                let Some(frame) = queues.to_engine.pop_front() else { break };
                match MemBuf::from_octets(&frame) {
                    Some(buf) => burst.push(buf),
                    None => refused += 1,
                }
            }
            refused
        })
    }

    fn tx(&mut self, port: PortId, burst: &mut Burst<MemBuf>) {
        let Some(wire) = self.wires.get(usize::from(port.0)) else { return };
        let taken = burst.len().min(self.tx_room);
        wire.with(|queues| {
            queues.from_engine.extend(burst.drain(..taken).map(|buf| buf.data().to_vec()));
        });
    }

    fn alloc(&mut self) -> Option<MemBuf> {
        self.pool = self.pool.checked_sub(1)?;
        Some(MemBuf::empty())
    }

    fn owns_tx(&self, port: PortId) -> bool {
        self.owned_tx.get(usize::from(port.0)).copied().unwrap_or(false)
    }

    fn tx_owner(&self, _port: PortId) -> usize {
        0
    }
}
