//! Ports for a thread of its own: frames are copied out of a field into buffers that go round, as a driver does; what is sent
//! is shown to somebody and given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dataplane::path::shared::WorkerShared;
use dataplane::ports::{Burst, PortId, Ports};
use esp::aead::MAX_BURST;

use super::pool::Cache;
use super::ports::Frame;
use crate::Result;
use crate::sealed::field::Field;

/// Sees what a worker hands to its transmit queues, a burst at a time.
pub trait Watch: Send {
    /// `burst` is on the wire now.
    fn sent(&mut self, burst: &[Frame]);
}

/// Does not look.
impl Watch for () {
    #[inline]
    fn sent(&mut self, _burst: &[Frame]) {}
}

/// In which order a field's frames arrive.
#[derive(Clone, Debug)]
pub enum Order {
    /// One after the other, without end; the position of the next.
    Round(usize),
    /// Each once, a burst to whoever asks first; the position of the next, as all workers have it.
    Once(Arc<AtomicUsize>),
}

/// What arrives.
#[derive(Clone, Debug)]
struct Source {
    port: PortId,
    field: Arc<Field>,
    order: Order,
}

/// See the module's text.
pub struct Line<W> {
    cache: Cache,
    source: Option<Source>,
    /// The worker that others hand their packets to: while its ring is half full, nothing arrives here.
    ahead: Option<Arc<WorkerShared<Frame>>>,
    /// Sees what is sent.
    pub watch: W,
    sent: u64,
}

impl<W: Watch> Line<W> {
    /// Makes ports by which nothing arrives.
    #[must_use]
    pub fn new(cache: Cache, watch: W) -> Self {
        Self { cache, source: None, ahead: None, watch, sent: 0 }
    }

    /// Lets the frames of a field arrive by a port from now on.
    pub fn offer(&mut self, port: PortId, field: Arc<Field>, order: Order) {
        self.source = Some(Source { port, field, order });
    }

    /// Lets frames arrive only as fast as a worker takes up what is handed to it, so that its ring loses none.
    pub fn wait_for(&mut self, worker: Arc<WorkerShared<Frame>>) {
        self.ahead = Some(worker);
    }

    /// Lets nothing arrive any more.
    pub fn stop(&mut self) {
        self.source = None;
    }

    /// Whether every frame of a field that arrives once has arrived.
    #[must_use]
    pub fn is_done(&self) -> bool {
        match &self.source {
            None | Some(Source { order: Order::Round(_), .. }) => false,
            Some(Source { order: Order::Once(next), field, .. }) => {
                next.load(Ordering::Relaxed) >= field.len()
            }
        }
    }

    /// Returns how many frames were sent since the beginning.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }
}

/// Makes a field of frames, which are of one length.
///
/// # Errors
/// They are not.
pub fn field(frames: &[Vec<u8>]) -> Result<Arc<Field>> {
    let octets = frames.first().map_or(0, Vec::len);
    anyhow::ensure!(frames.iter().all(|frame| frame.len() == octets), "frames of several lengths");
    let mut field = Field::default();
    field.shape(frames.len(), octets);
    field.frames_mut().zip(frames).for_each(|(place, frame)| place.copy_from_slice(frame));
    Ok(Arc::new(field))
}

impl<W: Watch> Ports for Line<W> {
    type Buf = Frame;

    #[inline]
    fn rx(&mut self, port: PortId, burst: &mut Burst<Frame>) -> u64 {
        let Some(source) = self.source.as_mut().filter(|source| source.port == port) else { return 0 };
        if let Some(ahead) = &self.ahead
            && ahead.handoffs.len() > ahead.handoffs.capacity() / 2
        {
            // Looking all the time would take the ring's cache lines away from the one that is waited for.
            (0..PAUSES).for_each(|_| std::hint::spin_loop());
            return 0;
        }
        let frames = source.field.len();
        let (mut at, count) = match &mut source.order {
            Order::Round(next) => {
                let at = *next;
                *next = (at + MAX_BURST) % frames.max(1);
                (at, MAX_BURST)
            }
            Order::Once(next) => {
                let at = next.fetch_add(MAX_BURST, Ordering::Relaxed);
                (at, frames.saturating_sub(at).min(MAX_BURST))
            }
        };
        for _ in 0..count {
            // The pool is dry when the path dropped packets.
            let mut frame = self.cache.take().unwrap_or_else(Frame::empty);
            frame.fill(source.field.frame(at));
            burst.push(frame);
            at += 1;
            if at == frames {
                at = 0;
            }
        }
        0
    }

    #[inline]
    fn tx(&mut self, _port: PortId, burst: &mut Burst<Frame>) {
        self.watch.sent(burst);
        self.sent += burst.len() as u64;
        for frame in burst.drain(..) {
            self.cache.give(frame);
        }
    }

    fn alloc(&mut self) -> Option<Frame> {
        let mut frame = self.cache.take()?;
        frame.fill(&[]).then_some(frame)
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

const PAUSES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::pool;
    use dataplane::ports::Buffer as _;

    const PORT: PortId = PortId(1);

    fn lines(count: usize) -> Vec<Line<()>> {
        pool::caches(count, 512).into_iter().map(|cache| Line::new(cache, ())).collect()
    }

    fn numbered(frames: u8) -> Arc<Field> {
        field(&(0..frames).map(|n| vec![n; 60]).collect::<Vec<_>>()).unwrap()
    }

    fn received(line: &mut Line<()>) -> Vec<u8> {
        let mut burst = Burst::new();
        line.rx(PORT, &mut burst);
        let numbers = burst.iter().map(|frame| frame.data()[0]).collect();
        line.tx(PORT, &mut burst);
        numbers
    }

    #[test]
    fn a_field_that_goes_round_begins_again_behind_its_last_frame() {
        let mut line = lines(1).remove(0);
        line.offer(PORT, numbered(100), Order::Round(0));
        assert_eq!(received(&mut line), (0..64).collect::<Vec<_>>());
        assert_eq!(received(&mut line), (64..100).chain(0..28).collect::<Vec<_>>());
        assert_eq!((line.is_done(), line.sent()), (false, 128));
    }

    #[test]
    fn a_field_that_arrives_once_is_shared_out_in_bursts_and_then_done() {
        let mut lines = lines(2);
        let next = Arc::new(AtomicUsize::new(0));
        for line in &mut lines {
            line.offer(PORT, numbered(100), Order::Once(Arc::clone(&next)));
        }
        assert_eq!(received(&mut lines[1]), (0..64).collect::<Vec<_>>());
        assert!(!lines[1].is_done());
        assert_eq!(received(&mut lines[0]), (64..100).collect::<Vec<_>>());
        assert!(lines.iter().all(Line::is_done));
        assert!(received(&mut lines[0]).is_empty());
    }

    #[test]
    fn nothing_arrives_while_the_ring_of_the_worker_ahead_is_half_full() {
        use dataplane::path::counters::Origin;
        use dataplane::path::shared::{Handoff, Work};
        let mut line = lines(1).remove(0);
        let ahead = WorkerShared::new(2);
        line.offer(PORT, numbered(64), Order::Round(0));
        line.wait_for(Arc::clone(&ahead));
        assert_eq!(received(&mut line).len(), 64);
        for _ in 0..=ahead.handoffs.capacity() / 2 {
            let (work, origin) = (Work::Send(PORT), Origin::Port(PORT));
            let bufs = std::iter::once(Frame::empty()).collect();
            ahead.handoffs.push(Handoff { work, origin, bufs }).unwrap();
        }
        assert_eq!(received(&mut line).len(), 0);
    }
}
