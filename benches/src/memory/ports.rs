//! Ports that cost next to nothing: frames lie ready in buffers of their own, what is sent is put on a list.

use dataplane::ports::{Buffer, Burst, PortId, Ports};

/// Ports of a gateway.
pub const PORTS: usize = 2;
/// Octets in front of a frame, as in an mbuf.
const HEADROOM: usize = 128;
/// Octets of a buffer.
const ROOM: usize = 512;

/// A buffer that is moved as a pointer, as an mbuf is.
#[derive(Clone, Debug)]
pub struct Frame(Box<Room>);

#[derive(Clone, Debug)]
struct Room {
    start: usize,
    end: usize,
    octets: [u8; ROOM],
}

impl Frame {
    /// Makes a buffer with nothing in it.
    #[must_use]
    pub fn empty() -> Self {
        Self(Box::new(Room { start: HEADROOM, end: HEADROOM, octets: [0; ROOM] }))
    }

    /// Makes a buffer that holds `octets`; `None` where they do not fit.
    #[must_use]
    pub fn of(octets: &[u8]) -> Option<Self> {
        let mut frame = Self::empty();
        frame.fill(octets).then_some(frame)
    }

    /// Takes other contents, as a buffer that is used again; reports whether they fit.
    #[inline]
    pub fn fill(&mut self, octets: &[u8]) -> bool {
        (self.0.start, self.0.end) = (HEADROOM, HEADROOM);
        let fits = self.append(octets.len());
        if fits {
            self.data_mut().copy_from_slice(octets);
        }
        fits
    }
}

impl Buffer for Frame {
    #[inline]
    fn data(&self) -> &[u8] {
        let Room { start, end, octets } = &*self.0;
        octets.get(*start..*end).unwrap_or_default()
    }

    #[inline]
    fn data_mut(&mut self) -> &mut [u8] {
        let Room { start, end, octets } = &mut *self.0;
        octets.get_mut(*start..*end).unwrap_or_default()
    }

    #[inline]
    fn prepend(&mut self, octets: usize) -> bool {
        let fits = octets <= self.0.start;
        if fits {
            self.0.start -= octets;
        }
        fits
    }

    #[inline]
    fn append(&mut self, octets: usize) -> bool {
        let fits = octets <= ROOM - self.0.end;
        if fits {
            self.0.end += octets;
        }
        fits
    }

    #[inline]
    fn adj(&mut self, octets: usize) {
        self.0.start += octets.min(self.0.end - self.0.start);
    }

    #[inline]
    fn trim(&mut self, octets: usize) {
        self.0.end -= octets.min(self.0.end - self.0.start);
    }

    #[inline]
    fn narrow(&mut self, front: usize, octets: usize) {
        self.adj(front);
        self.0.end = self.0.end.min(self.0.start.saturating_add(octets));
    }
}

/// One worker's queues.
#[derive(Debug, Default)]
pub struct Lists {
    /// By port, the next to arrive last.
    arriving: [Vec<Frame>; PORTS],
    /// By port, in order.
    sent: [Vec<Frame>; PORTS],
}

impl Lists {
    /// Lets `frames` arrive on `port`, behind what has not arrived yet, and makes room for as many to be sent.
    pub fn offer(&mut self, port: usize, frames: impl IntoIterator<Item = Frame>) {
        let Some(arriving) = self.arriving.get_mut(port) else { return };
        let mut all: Vec<_> = frames.into_iter().collect();
        let count = all.len();
        all.reverse();
        all.append(arriving);
        *arriving = all;
        for sent in &mut self.sent {
            sent.reserve(count);
        }
    }

    /// Takes what was sent on `port`.
    #[must_use]
    pub fn take_sent(&mut self, port: usize) -> Vec<Frame> {
        self.sent.get_mut(port).map(std::mem::take).unwrap_or_default()
    }
}

impl Ports for Lists {
    type Buf = Frame;

    #[inline]
    fn rx(&mut self, port: PortId, burst: &mut Burst<Frame>) -> u64 {
        if let Some(arriving) = self.arriving.get_mut(usize::from(port.0)) {
            let left = arriving.len().saturating_sub(burst.capacity());
            burst.extend(arriving.drain(left..).rev());
        }
        0
    }

    #[inline]
    fn tx(&mut self, port: PortId, burst: &mut Burst<Frame>) {
        if let Some(sent) = self.sent.get_mut(usize::from(port.0)) {
            sent.extend(burst.drain(..));
        }
    }

    fn alloc(&mut self) -> Option<Frame> {
        Some(Frame::empty())
    }

    #[inline]
    fn owns_tx(&self, _port: PortId) -> bool {
        true
    }

    #[inline]
    fn tx_owner(&self, _port: PortId) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_in_order_and_are_sent_in_order() {
        let mut lists = Lists::default();
        let frames = |octets: std::ops::Range<u8>| octets.filter_map(|octet| Frame::of(&[octet]));
        lists.offer(0, frames(0..50));
        lists.offer(0, frames(50..100));
        let mut burst = Burst::new();
        for expected in [64, 36, 0] {
            assert_eq!(lists.rx(PortId(0), &mut burst), 0);
            assert_eq!(burst.len(), expected);
            lists.tx(PortId(1), &mut burst);
        }
        let sent: Vec<u8> = lists.take_sent(1).iter().flat_map(|frame| frame.data().to_vec()).collect();
        assert_eq!(sent, (0..100).collect::<Vec<_>>());
    }
}
