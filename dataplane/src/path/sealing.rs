//! What is to be sealed: packets in the order they came, and for each run of them what they share.

use esp::DropReason;

use super::context::{List, Packet};
use super::counters::Origin;
use crate::tables::hop::Next;
use crate::tables::sa::OutboundSa;

/// The SA that seals a packet, the way it leaves by, and the account it belongs to.
pub(super) struct Leaving<'t, K> {
    pub(super) sa: &'t OutboundSa<K>,
    pub(super) next: Next,
    pub(super) origin: Origin,
    /// Whether other workers seal by the SA at the same time, or may.
    pub(super) shared: bool,
}

impl<K> Clone for Leaving<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Leaving<'_, K> {}

impl<K> PartialEq for Leaving<'_, K> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let same = std::ptr::eq(self.sa, other.sa) && self.next == other.next;
        same && self.origin == other.origin && self.shared == other.shared
    }
}

/// Consecutive packets that leave alike.
pub(super) struct Run<'t, K> {
    pub(super) leaving: Leaving<'t, K>,
    pub(super) packets: usize,
    /// The first one's sequence number, once they have any.
    pub(super) first_seq: u64,
    /// Whether there is more to do with them when they are sealed than to send them.
    pub(super) unfinished: bool,
}

/// See the module's text.
pub(super) struct SealList<'t, B, K> {
    /// Each starts at its inner IP header.
    pub(super) bufs: List<B>,
    /// Together they have as many packets as there are buffers.
    pub(super) runs: List<Run<'t, K>>,
    /// Why there is no room round packets, in their order. Such a packet is left empty, and its run unfinished.
    pub(super) spoilt: List<DropReason>,
}

impl<'t, B, K> SealList<'t, B, K> {
    pub(super) const fn new() -> Self {
        Self { bufs: List::new_const(), runs: List::new_const(), spoilt: List::new_const() }
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.bufs.is_empty()
    }

    #[inline]
    pub(super) const fn is_full(&self) -> bool {
        self.bufs.is_full()
    }

    /// Says how the packets leave that are added next, of which there is at least one; the list is not full.
    #[inline]
    pub(super) fn open(&mut self, leaving: Leaving<'t, K>) {
        if self.runs.last().is_none_or(|run| run.leaving != leaving) {
            self.runs.push(Run { leaving, packets: 0, first_seq: 0, unfinished: false });
        }
    }

    /// Adds a packet; the list is not full.
    #[inline]
    pub(super) fn push(&mut self, buf: B) {
        self.bufs.push(buf);
        if let Some(run) = self.runs.last_mut() {
            run.packets += 1;
        }
    }
}

impl<K> Run<'_, K> {
    /// Whether the packets of both can go to the same queue at once.
    #[inline]
    pub(super) fn is_sent_with(&self, other: &Self) -> bool {
        let (one, two) = (&self.leaving, &other.leaving);
        let finished = !self.unfinished && !other.unfinished;
        finished && one.next.port() == two.next.port() && one.origin == two.origin
    }

    /// Takes the buffer at `at`, which is one of this run's, out of the list.
    #[cold]
    pub(super) fn take<B>(&mut self, bufs: &mut List<B>, at: usize) -> Option<Packet<B>> {
        let buf = bufs.pop_at(at)?;
        self.packets = self.packets.saturating_sub(1);
        Some(Packet { buf, origin: self.leaving.origin })
    }
}
