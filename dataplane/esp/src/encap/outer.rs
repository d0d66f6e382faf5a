//! The outer header of an SA: rendered once, copied and patched per packet.

use core::net::IpAddr;

use super::{Df, Dscp, Layout, MAX_OUTER_OCTETS, OuterConfig};
use crate::ecn::{self, Ecn};
use crate::wire::esp::{ALIGN_OCTETS, HEADER_OCTETS, IV_OCTETS, TRAILER_OCTETS};
use crate::wire::{Family, Proto, checksum, esp, ipv4, ipv6, udp};
use crate::{DropReason, Spi, mtu};

/// The outer header of an SA with everything that does not change from packet to packet.
#[derive(Clone, Copy, Debug)]
pub struct Outer {
    template: [u8; MAX_OUTER_OCTETS],
    header_octets: u8,
    sum: u16,
    config: OuterConfig,
}

impl Outer {
    /// Renders a header; `None` when the two addresses are of different families.
    #[must_use]
    pub fn new(config: OuterConfig) -> Option<Self> {
        let mut template = [0u8; MAX_OUTER_OCTETS];
        let proto = if config.udp.is_some() { Proto::UDP } else { Proto::ESP };
        let ip_octets = match (config.src, config.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let repr = ipv4::Repr {
                    src,
                    dst,
                    proto,
                    tos: 0,
                    ttl: config.ttl,
                    ident: 0,
                    dont_fragment: false,
                    total_octets: 0,
                };
                *template.first_chunk_mut()? = repr.emit();
                ipv4::HEADER_OCTETS
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let repr = ipv6::Repr {
                    src,
                    dst,
                    next: proto,
                    traffic_class: 0,
                    flow_label: 0,
                    hop_limit: config.ttl,
                    payload_octets: 0,
                };
                *template.first_chunk_mut()? = repr.emit();
                ipv6::HEADER_OCTETS
            }
            _ => return None,
        };
        let mut header_octets = ip_octets;
        if let Some(ports) = config.udp {
            *template.get_mut(ip_octets..)?.first_chunk_mut()? = udp::header(ports, 0, 0);
            header_octets += udp::HEADER_OCTETS;
        }
        let [_, _, _, _, _, _, _, _, _, _, a, b, ..] = template;
        let sum = !u16::from_be_bytes([a, b]);
        Some(Self { template, header_octets: u8::try_from(header_octets).ok()?, sum, config })
    }

    /// Returns what the header was made of.
    #[must_use]
    pub const fn config(&self) -> &OuterConfig {
        &self.config
    }

    /// Returns the family of the outer addresses.
    #[must_use]
    #[inline]
    pub const fn family(&self) -> Family {
        Family::of(&self.config.dst)
    }

    /// Returns the length of IP and UDP header. Units: octets.
    #[must_use]
    #[inline]
    pub const fn header_octets(&self) -> usize {
        self.header_octets as usize
    }

    /// Returns the largest inner packet whose protected form fits `outer_mtu`. Units: octets.
    #[must_use]
    #[inline]
    pub fn inner_mtu(&self, outer_mtu: u16) -> u16 {
        mtu::inner_mtu(outer_mtu, self.header_octets())
    }

    /// Plans a protected packet. Units: octets; `pad_to` is the length that TFC padding fills an inner packet up to, 0 for none.
    /// Errors: `TooLong` when IP could not carry it. RFC: 4303 section 2.4, 2.7.
    #[inline]
    pub fn layout(&self, inner_octets: usize, pad_to: usize) -> Result<Layout, DropReason> {
        let tfc_octets = pad_to.saturating_sub(inner_octets);
        //= rfc4303#2.4
        let over = (inner_octets + tfc_octets + TRAILER_OCTETS) % ALIGN_OCTETS;
        let pad_octets = PAD_OCTETS_OVER.get(over).copied().unwrap_or_default();
        let front_octets = self.header_octets() + HEADER_OCTETS + IV_OCTETS;
        let layout = Layout { front_octets, inner_octets, tfc_octets, pad_octets };
        let ip_fixed_octets = match self.family() {
            Family::V4 => 0,
            Family::V6 => ipv6::HEADER_OCTETS,
        };
        if layout.total_octets() - ip_fixed_octets > usize::from(u16::MAX) {
            return Err(DropReason::TooLong);
        }
        Ok(layout)
    }

    /// Writes everything but the ICV round the inner packet, which stands in `packet` behind `front_octets`.
    /// `packet` has `total_octets` of the layout. Nothing is encrypted yet.
    /// Errors: `NoHeadroom` when it is shorter, `MalformedIp` when there is no IP header behind the front.
    #[inline]
    pub fn encap(&self, packet: &mut [u8], layout: &Layout, spi: Spi, seq: u64) -> Result<(), DropReason> {
        let total_octets = layout.total_octets();
        let packet = packet.get_mut(..total_octets).ok_or(DropReason::NoHeadroom)?;
        let (front, inner) =
            packet.split_at_mut_checked(layout.front_octets).ok_or(DropReason::NoHeadroom)?;
        let seen = Inner::of(inner).ok_or(DropReason::MalformedIp)?;
        trailer(inner, layout, seen.family).ok_or(DropReason::NoHeadroom)?;
        let (outer, rest) = front.split_at_mut_checked(self.header_octets()).ok_or(DropReason::NoHeadroom)?;
        *rest.first_chunk_mut().ok_or(DropReason::NoHeadroom)? = esp::header(spi, seq);
        self.patch(outer, &seen, total_octets, ident(spi, seq)).ok_or(DropReason::NoHeadroom)
    }

    /// Writes what depends on the cipher text: the UDP checksum that IPv6 demands. Does nothing for other headers.
    /// `packet` is the protected packet and nothing behind it. RFC: 8200 section 8.1; 3948 section 2.1 for IPv4, where it is 0.
    #[inline]
    pub fn finish(&self, packet: &mut [u8]) {
        if self.config.udp.is_none() || self.family() == Family::V4 {
            return;
        }
        let Some(datagram) = packet.get_mut(ipv6::HEADER_OCTETS..) else { return };
        let [high, low] = udp::checksum(&self.config.src, &self.config.dst, datagram).to_be_bytes();
        if let [_, _, _, _, _, _, first, second, ..] = datagram {
            (*first, *second) = (high, low);
        }
    }

    /// Copies the template and patches lengths, identification, DSCP, ECN, flags and header checksum.
    #[inline]
    fn patch(&self, outer: &mut [u8], inner: &Inner, total_octets: usize, ident: u16) -> Option<()> {
        outer.copy_from_slice(self.template.get(..self.header_octets())?);
        let tos = self.tos(inner.tos);
        let ip_octets = match self.family() {
            Family::V4 => {
                let total = u16::try_from(total_octets).ok()?;
                let flags = if self.dont_fragment(inner) { ipv4::DONT_FRAGMENT } else { 0 };
                let sum = u64::from(self.sum) + u64::from(tos) + u64::from(total);
                let sum = !checksum::fold(sum + u64::from(ident) + u64::from(flags));
                let [a, b] = total.to_be_bytes();
                let [c, d] = ident.to_be_bytes();
                let [e, f] = flags.to_be_bytes();
                let [_, tos_place, varying @ ..] = outer.first_chunk_mut::<{ ipv4::HEADER_OCTETS }>()?;
                *tos_place = tos;
                let [v0, v1, v2, v3, v4, v5, _, _, s0, s1, ..] = varying;
                [*v0, *v1, *v2, *v3, *v4, *v5] = [a, b, c, d, e, f];
                [*s0, *s1] = sum.to_be_bytes();
                ipv4::HEADER_OCTETS
            }
            Family::V6 => {
                let [high, low] = u16::try_from(total_octets - ipv6::HEADER_OCTETS).ok()?.to_be_bytes();
                let [version, class, _, _, a, b, ..] = outer.first_chunk_mut::<{ ipv6::HEADER_OCTETS }>()?;
                *version = 0x60 | tos >> 4;
                *class = tos << 4;
                (*a, *b) = (high, low);
                ipv6::HEADER_OCTETS
            }
        };
        if self.config.udp.is_some() {
            let [high, low] = u16::try_from(total_octets - ip_octets).ok()?.to_be_bytes();
            let [_, _, _, _, a, b, ..] = outer.get_mut(ip_octets..)? else { return None };
            (*a, *b) = (high, low);
        }
        Some(())
    }

    #[inline]
    fn tos(&self, inner: u8) -> u8 {
        //= rfc4301#5.1.2.1
        let dscp = match self.config.dscp {
            Dscp::Copy => inner & !ecn::MASK,
            Dscp::Fixed(dscp) => dscp << 2,
        };
        dscp | self.config.ecn.outer(Ecn::of(inner)) as u8
    }

    #[inline]
    const fn dont_fragment(&self, inner: &Inner) -> bool {
        //= rfc4301#8.1
        match self.config.df {
            Df::Copy => inner.dont_fragment,
            Df::Set => true,
            Df::Clear => false,
        }
    }
}

/// Padding by the remainder of inner packet and trailer. Units: octets.
const PAD_OCTETS_OVER: [u8; ALIGN_OCTETS] = [0, 3, 2, 1];

/// What of the inner header goes into the outer one.
struct Inner {
    family: Family,
    tos: u8,
    dont_fragment: bool,
}

impl Inner {
    #[inline]
    fn of(packet: &[u8]) -> Option<Self> {
        let family = Family::of_packet(packet)?;
        let [first, second, _, _, _, _, flags, ..] = packet.first_chunk::<{ ipv4::HEADER_OCTETS }>()?;
        Some(match family {
            Family::V4 => Self { family, tos: *second, dont_fragment: flags & 0x40 != 0 },
            Family::V6 => Self { family, tos: first << 4 | second >> 4, dont_fragment: true },
        })
    }
}

/// Writes TFC padding, padding 1, 2, 3…, its length and the next header behind the inner packet.
#[inline]
fn trailer(inner: &mut [u8], layout: &Layout, family: Family) -> Option<()> {
    let tail = inner.get_mut(layout.inner_octets..layout.text_octets())?;
    let (tfc, rest) = tail.split_at_mut_checked(layout.tfc_octets)?;
    tfc.fill(0);
    let (pad, end) = rest.split_last_chunk_mut::<TRAILER_OCTETS>()?;
    for (octet, value) in pad.iter_mut().zip(1u8..) {
        *octet = value;
    }
    *end = [layout.pad_octets, family.proto().get()];
    Some(())
}

/// Returns an identification that consecutive packets of one SA, and mostly those of two, do not share. RFC: 6864.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "16 bits are what the field has")]
const fn ident(spi: Spi, seq: u64) -> u16 {
    (seq as u16) ^ (spi.get() as u16)
}
