//! ESP packets on their way in, by position: each stage fills its lists, and takes what it refuses out of all of them.

use esp::Fresh;
use esp::aead::MAX_BURST;
use esp::decap::Arrived;

use super::context::{List, Packet};
use super::known::Look;
use crate::tables::sa::InboundSa;

/// See the module's text.
pub(super) struct Openings<'t, B, K> {
    /// Each starts at its outer IP header.
    pub(super) packets: List<Packet<B>>,
    /// What their octets alone tell; by classify, as the packets.
    pub(super) arrived: List<Arrived>,
    /// Their SAs; by lookup.
    pub(super) sas: List<&'t InboundSa<K>>,
    /// Numbers that were not accepted yet; by lookup.
    pub(super) fresh: List<Fresh>,
    /// What the first look at the inner packets tells; by decap.
    pub(super) looks: List<Look>,
}

impl<B, K> Openings<'_, B, K> {
    pub(super) const fn new() -> Self {
        Self {
            packets: List::new_const(),
            arrived: List::new_const(),
            sas: List::new_const(),
            fresh: List::new_const(),
            looks: List::new_const(),
        }
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.packets.len()
    }

    /// Adds a packet.
    #[inline]
    pub(super) fn push(&mut self, packet: Packet<B>, arrived: Arrived) {
        self.packets.push(packet);
        self.arrived.push(arrived);
    }

    /// Frees all packets and forgets what is known about them.
    pub(super) fn clear(&mut self) {
        self.packets.clear();
        self.arrived.clear();
        self.sas.clear();
        self.fresh.clear();
        self.looks.clear();
    }

    /// Frees the packets of `refused`, which are accounted for, and forgets what is known about them.
    #[inline]
    pub(super) fn refuse(&mut self, refused: Positions) {
        if refused != Positions::NONE {
            self.take_out(refused);
        }
    }

    #[cold]
    fn take_out(&mut self, refused: Positions) {
        keep(&mut self.packets, refused);
        keep(&mut self.arrived, refused);
        // What is refused early has no place in the lists of later stages.
        if self.sas.len() > self.packets.len() {
            keep(&mut self.sas, refused);
            keep(&mut self.fresh, refused);
        }
        if self.looks.len() > self.packets.len() {
            keep(&mut self.looks, refused);
        }
    }
}

fn keep<T>(list: &mut List<T>, refused: Positions) {
    let mut at = 0;
    list.retain(|_| {
        at += 1;
        !refused.has(at - 1)
    });
}

/// Positions in a burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Positions(u64);

const _: () = assert!(MAX_BURST <= u64::BITS as usize);

impl Positions {
    pub(super) const NONE: Self = Self(0);

    /// Adds a position, which is less than [`MAX_BURST`].
    #[inline]
    pub(super) const fn add(&mut self, at: usize) {
        self.0 |= 1 << (at % MAX_BURST);
    }

    #[inline]
    const fn has(self, at: usize) -> bool {
        self.0 >> (at % MAX_BURST) & 1 != 0
    }
}
