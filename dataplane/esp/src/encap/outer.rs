//! The outer header of an SA: rendered once, copied and patched per packet.

use core::net::IpAddr;

use super::{Df, Dscp, Layout, OuterConfig};
use crate::aead::ICV_OCTETS;
use crate::ecn::{self, Ecn};
use crate::wire::esp::{ALIGN_OCTETS, HEADER_OCTETS, IV_OCTETS, TRAILER_OCTETS};
use crate::wire::{Family, Proto, checksum, esp, ipv4, ipv6, udp};
use crate::{DropReason, Spi, mtu};

/// The outer header of an SA with everything that does not change from packet to packet.
#[derive(Clone, Copy, Debug)]
pub struct Outer {
    /// The IP header; of IPv4 its first 20 octets.
    template: [u8; ipv6::HEADER_OCTETS],
    header_octets: u8,
    sum: u16,
    config: OuterConfig,
}

impl Outer {
    /// Renders a header; `None` when the two addresses are of different families.
    #[must_use]
    pub fn new(config: OuterConfig) -> Option<Self> {
        let mut template = [0u8; ipv6::HEADER_OCTETS];
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
                template = repr.emit();
                ipv6::HEADER_OCTETS
            }
            _ => return None,
        };
        let header_octets = ip_octets + if config.udp.is_some() { udp::HEADER_OCTETS } else { 0 };
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
        //= rfc4303#2.4
        let text_octets = (inner_octets.max(pad_to) + TRAILER_OCTETS).next_multiple_of(ALIGN_OCTETS);
        let pad_octets = text_octets - inner_octets.max(pad_to) - TRAILER_OCTETS;
        let front_octets = self.header_octets() + HEADER_OCTETS + IV_OCTETS;
        let ip_fixed_octets = match self.family() {
            Family::V4 => 0,
            Family::V6 => ipv6::HEADER_OCTETS,
        };
        if front_octets + text_octets + ICV_OCTETS - ip_fixed_octets > usize::from(u16::MAX) {
            return Err(DropReason::TooLong);
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "each is a part of what 16 bits were found to hold"
        )]
        Ok(Layout {
            front_octets: front_octets as u16,
            inner_octets: inner_octets as u16,
            text_octets: text_octets as u16,
            pad_octets: pad_octets as u8,
        })
    }

    /// Writes everything but the ICV round the inner packet, which stands in `packet` behind `front_octets`.
    /// `packet` has `total_octets` of the layout. Nothing is encrypted yet.
    /// Errors: `NoHeadroom` when it is shorter, `MalformedIp` when there is no IP header behind the front.
    #[inline]
    pub fn encap(&self, packet: &mut [u8], layout: &Layout, spi: Spi, seq: u64) -> Result<(), DropReason> {
        let total_octets = layout.total_octets();
        let packet = packet.get_mut(..total_octets).ok_or(DropReason::NoHeadroom)?;
        let (front, inner) =
            packet.split_at_mut_checked(layout.front_octets()).ok_or(DropReason::NoHeadroom)?;
        let seen = Inner::of(inner).ok_or(DropReason::MalformedIp)?;
        trailer(inner, layout, seen.family).ok_or(DropReason::NoHeadroom)?;
        let ident = ident(spi, seq);
        let (rest, udp_octets) = match self.family() {
            Family::V4 => {
                let (ip, rest) = front.split_first_chunk_mut().ok_or(DropReason::NoHeadroom)?;
                self.patch4(ip, &seen, total_octets, ident);
                (rest, total_octets - ipv4::HEADER_OCTETS)
            }
            Family::V6 => {
                let (ip, rest) = front.split_first_chunk_mut().ok_or(DropReason::NoHeadroom)?;
                self.patch6(ip, &seen, total_octets);
                (rest, total_octets - ipv6::HEADER_OCTETS)
            }
        };
        let rest = match self.config.udp {
            None => rest,
            Some(ports) => {
                let (header, rest) = rest.split_first_chunk_mut().ok_or(DropReason::NoHeadroom)?;
                *header = udp::header(ports, low(udp_octets - udp::HEADER_OCTETS), 0);
                rest
            }
        };
        *rest.first_chunk_mut().ok_or(DropReason::NoHeadroom)? = esp::header(spi, seq);
        Ok(())
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

    /// Copies the template and patches length, identification, DSCP, ECN, flags and header checksum.
    #[inline]
    fn patch4(&self, ip: &mut [u8; ipv4::HEADER_OCTETS], inner: &Inner, total_octets: usize, ident: u16) {
        let Some(template) = self.template.first_chunk() else { return };
        *ip = *template;
        let (tos, total) = (self.tos(inner.tos), low(total_octets));
        let flags = if self.dont_fragment(inner) { ipv4::DONT_FRAGMENT } else { 0 };
        let sum = u64::from(self.sum) + u64::from(tos) + u64::from(total);
        let sum = !checksum::fold(sum + u64::from(ident) + u64::from(flags));
        let [a, b] = total.to_be_bytes();
        let [c, d] = ident.to_be_bytes();
        let [e, f] = flags.to_be_bytes();
        let [start @ .., _, _, s0, s1, _, _, _, _, _, _, _, _] = ip;
        // One store of eight octets.
        *start = [IPV4_VERSION_IHL, tos, a, b, c, d, e, f];
        [*s0, *s1] = sum.to_be_bytes();
    }

    /// Copies the template and patches length, DSCP and ECN.
    #[inline]
    fn patch6(&self, ip: &mut [u8; ipv6::HEADER_OCTETS], inner: &Inner, total_octets: usize) {
        *ip = self.template;
        let tos = self.tos(inner.tos);
        let [high, low] = low(total_octets - ipv6::HEADER_OCTETS).to_be_bytes();
        let [version, class, _, _, a, b, ..] = ip;
        (*version, *class) = (0x60 | tos >> 4, tos << 4);
        (*a, *b) = (high, low);
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

/// Version 4, five words of header.
const IPV4_VERSION_IHL: u8 = 0x45;

/// A length that [`Outer::layout`] found to fit, or that of the IP payload, which is checked there too.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "checked when the packet was planned")]
const fn low(octets: usize) -> u16 {
    octets as u16
}

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
    let tail = inner.get_mut(layout.inner_octets()..)?;
    let end = match layout.tfc_octets() {
        0 => tail,
        tfc_octets => {
            let (tfc, end) = tail.split_at_mut_checked(tfc_octets)?;
            tfc.fill(0);
            end
        }
    };
    // The ICV comes behind and is written later, so that eight octets are always there to be written at once.
    let [a, b, c, d] = PADDINGS.get(usize::from(layout.pad_octets()))?.to_owned();
    let next = u64::from(family.proto().get()) << (8 * (u32::from(layout.pad_octets()) + 1));
    *end.first_chunk_mut()? = (u64::from_le_bytes([a, b, c, d, 0, 0, 0, 0]) | next).to_le_bytes();
    Some(())
}

/// Padding and its length, by its length. RFC: 4303 section 2.4.
const PADDINGS: [[u8; ALIGN_OCTETS]; ALIGN_OCTETS] = [[0, 0, 0, 0], [1, 1, 0, 0], [1, 2, 2, 0], [1, 2, 3, 3]];

/// Returns an identification that consecutive packets of one SA, and mostly those of two, do not share. RFC: 6864.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "16 bits are what the field has")]
const fn ident(spi: Spi, seq: u64) -> u16 {
    (seq as u16) ^ (spi.get() as u16)
}
