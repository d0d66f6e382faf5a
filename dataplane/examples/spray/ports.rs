//! Ports whose frames lie ready, and that keep what is sent.

use dataplane::ports::{Buffer, Burst, PortId, Ports};

/// Octets in front of a frame, as in an mbuf.
const HEADROOM: usize = 128;
const ROOM: usize = 2048;

/// A buffer that is moved as a pointer and two numbers.
#[derive(Clone)]
pub(crate) struct Frame {
    room: Box<[u8; ROOM]>,
    start: usize,
    end: usize,
}

impl Frame {
    pub(crate) fn empty() -> Self {
        Self { room: Box::new([0; ROOM]), start: HEADROOM, end: HEADROOM }
    }

    /// Holds these octets from now on.
    pub(crate) fn refill(&mut self, octets: &[u8]) {
        (self.start, self.end) = (HEADROOM, HEADROOM + octets.len());
        self.data_mut().copy_from_slice(octets);
    }
}

impl Buffer for Frame {
    fn data(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.end]
    }

    fn prepend(&mut self, octets: usize) -> bool {
        let fits = octets <= self.start;
        self.start -= if fits { octets } else { 0 };
        fits
    }

    fn append(&mut self, octets: usize) -> bool {
        let fits = octets <= ROOM - self.end;
        self.end += if fits { octets } else { 0 };
        fits
    }

    fn adj(&mut self, octets: usize) {
        self.start += octets.min(self.end - self.start);
    }

    fn trim(&mut self, octets: usize) {
        self.end -= octets.min(self.end - self.start);
    }
}

/// One worker's queues on two ports; the next frame to arrive is the last.
#[derive(Default)]
pub(crate) struct Ready {
    pub(crate) arriving: [Vec<Frame>; 2],
    pub(crate) sent: [Vec<Frame>; 2],
}

impl Ports for Ready {
    type Buf = Frame;

    fn rx(&mut self, port: PortId, burst: &mut Burst<Frame>) -> u64 {
        let frames = &mut self.arriving[usize::from(port.0)];
        let left = frames.len().saturating_sub(burst.capacity());
        burst.extend(frames.drain(left..).rev());
        0
    }

    fn tx(&mut self, port: PortId, burst: &mut Burst<Frame>) {
        self.sent[usize::from(port.0)].extend(burst.drain(..));
    }

    fn alloc(&mut self) -> Option<Frame> {
        Some(Frame::empty())
    }

    fn owns_tx(&self, _port: PortId) -> bool {
        true
    }

    fn tx_owner(&self, _port: PortId) -> usize {
        0
    }
}
