//! SAs as the packet path uses them: immutable, with references to their counters in `live`.

use std::mem::offset_of;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrayvec::ArrayVec;
use esp::encap::Outer;
use esp::selector::AddressRange;
use esp::wire::udp::UdpPorts;
use esp::wire::{Ends, FlowKey};
use esp::{IfId, Selector, Spi};
use shm_protocol::live::{LiveRecord, Part};
use shm_protocol::sa::TfcPad;

use super::hop::HopCell;

/// Selectors an SA carries at most; with more the SA holds any packet and the policies decide.
pub const SELECTORS: usize = 4;

/// What an SA may carry; nearly always one selector, which is why that one needs no other load.
#[derive(Clone, Debug)]
pub enum Selectors {
    /// Anything.
    Any,
    /// What one selector is about.
    One(Selector),
    /// What any of several selectors is about.
    Several(Box<[Selector]>),
}

impl From<ArrayVec<Selector, SELECTORS>> for Selectors {
    fn from(selectors: ArrayVec<Selector, SELECTORS>) -> Self {
        match selectors.as_slice() {
            [] => Self::Any,
            [one] => Self::One(*one),
            several => Self::Several(several.into()),
        }
    }
}

impl std::ops::Deref for Selectors {
    type Target = [Selector];

    #[inline]
    fn deref(&self) -> &[Selector] {
        match self {
            Self::Any => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

/// Identity and limits that both directions share; last what every packet needs.
#[derive(Clone)]
#[repr(C)]
pub struct Common {
    /// What the SA may carry.
    pub selectors: Selectors,
    /// Random identity; a slot that is used again has another.
    pub uid: u64,
    /// Interface id that the SA belongs to; 0 for policy-based tunnels.
    pub if_id: IfId,
    /// Request id the policies' templates name.
    pub reqid: u32,
    /// Outer source.
    pub src: IpAddr,
    /// Outer destination.
    pub dst: IpAddr,
    /// UDP ports on the wire of this direction, where the SA is encapsulated. RFC: 3948.
    pub encap: Option<UdpPorts>,
    /// SPI, as on the wire of this direction.
    pub spi: Spi,
    /// Slot in the SAD.
    pub slot: u32,
    /// Salt, the first octets of every nonce.
    pub salt: [u8; 4],
    /// Whether sequence numbers have 64 bits.
    pub esn: bool,
    /// CLOCK_BOOTTIME nanoseconds from which the SA is not used; `u64::MAX` where it may be for ever.
    pub hard_deadline_ns: u64,
    /// Limits of octets and packets; most SAs have none.
    pub volume: Option<Box<Volume>>,
    /// Counters in `live`.
    pub live: Part<LiveRecord>,
}

/// Limits of what an SA carries, where it has any; `u64::MAX` for those it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Octets after which the SA should be replaced.
    pub soft_octets: u64,
    /// Octets after which the SA is not used.
    pub hard_octets: u64,
    /// Packets after which the SA should be replaced.
    pub soft_packets: u64,
    /// Packets after which the SA is not used.
    pub hard_packets: u64,
}

impl Volume {
    /// No limit at all.
    pub const UNLIMITED: Self =
        Self { soft_octets: u64::MAX, hard_octets: u64::MAX, soft_packets: u64::MAX, hard_packets: u64::MAX };
}

impl Common {
    /// Returns the worker that seals for the SA where its interface does not spread it over all of `workers`.
    #[must_use]
    #[inline]
    pub const fn owner(&self, workers: usize) -> usize {
        if workers > 1 { self.slot as usize % workers } else { 0 }
    }

    /// Whether the SA may carry a packet of this flow, sent in the SA's direction.
    #[must_use]
    #[inline]
    pub fn holds(&self, flow: &FlowKey) -> bool {
        self.selectors.is_empty() || self.selectors.iter().any(|selector| selector.matches(flow))
    }

    /// Whether there can be a packet that a selector is about and that the SA may carry.
    #[must_use]
    pub fn meets(&self, selector: &Selector) -> bool {
        let overlap = |one: AddressRange, other: AddressRange| {
            one.family() == other.family() && one.lo() <= other.hi() && other.lo() <= one.hi()
        };
        let meets = |own: &Selector| overlap(own.src(), selector.src()) && overlap(own.dst(), selector.dst());
        self.selectors.is_empty() || self.selectors.iter().any(meets)
    }
}

/// An SA packets arrive on. What every packet needs stands together.
#[repr(C)]
pub struct InboundSa<K> {
    /// What both directions share.
    pub common: Common,
    /// Window in packets; 0 switches replay protection off.
    pub window_pkts: u32,
    /// The window's words in `live`.
    pub ring: Part<[AtomicU64]>,
    /// Copies the outer DSCP to the inner header (RFC 4301 section 5.1.2.1).
    pub copy_dscp: bool,
    /// Copies congestion marks inward (RFC 6040 section 4.2).
    pub ecn: bool,
    /// Expanded key.
    pub key: K,
}

impl<K> InboundSa<K> {
    /// Starts to load what a packet needs.
    #[inline]
    pub fn prefetch(&self) {
        dpdk::prefetch_part(self, offset_of!(Self, common) + offset_of!(Common, dst)..size_of::<Self>());
    }

    /// Whether an ESP packet between these ends with this SPI belongs to the SA, which its destination tells. RFC: 4301 section 4.1.
    #[must_use]
    #[inline]
    pub fn is_for(&self, spi: Spi, ends: &Ends) -> bool {
        self.common.spi == spi && ends.is_to(self.common.dst)
    }
}

/// An SA packets leave by. What every packet needs stands together.
#[repr(C)]
pub struct OutboundSa<K> {
    /// Larger is newer.
    pub order: u64,
    /// What both directions share.
    pub common: Common,
    /// Expanded key.
    pub key: K,
    /// Way to the outer destination.
    pub hop: Arc<HopCell>,
    /// Length that inner packets are padded to (RFC 4303 section 2.7).
    pub tfc_pad: TfcPad,
    /// Outer headers with everything that does not change from packet to packet.
    pub outer: Outer,
}

impl<K> OutboundSa<K> {
    /// Starts to load what a packet needs.
    #[inline]
    pub fn prefetch(&self) {
        let from = offset_of!(Self, common) + offset_of!(Common, spi);
        dpdk::prefetch_part(self, from..offset_of!(Self, outer) + Outer::PACKET_OCTETS);
    }
}

impl<K> std::fmt::Debug for InboundSa<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InboundSa")
            .field("spi", &self.common.spi)
            .field("if_id", &self.common.if_id)
            .finish_non_exhaustive()
    }
}

impl<K> std::fmt::Debug for OutboundSa<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OutboundSa")
            .field("spi", &self.common.spi)
            .field("if_id", &self.common.if_id)
            .finish_non_exhaustive()
    }
}
