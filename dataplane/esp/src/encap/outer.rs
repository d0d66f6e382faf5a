//! The outer header of an SA: rendered once, copied and patched per packet.

use core::net::IpAddr;

use super::{Df, Dscp, Layout, OuterConfig};
use crate::aead::ICV_OCTETS;
use crate::ecn;
use crate::wire::esp::{ALIGN_OCTETS, HEADER_OCTETS, IV_OCTETS, TRAILER_OCTETS};
use crate::wire::udp::UdpPorts;
use crate::wire::{Family, Proto, checksum, esp, ipv4, ipv6, udp};
use crate::{DropReason, Spi, mtu};

/// The outer header of an SA with everything that does not change from packet to packet; last what no packet needs.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Outer {
    /// The IP header; of IPv4 its first 20 octets.
    template: [u8; ipv6::HEADER_OCTETS],
    /// Sum over an IPv4 template.
    sum: u16,
    header_octets: u8,
    family: Family,
    /// Bits of the type of service octet that come from the inner header.
    tos_copied: u8,
    /// Bits of it that are always set.
    tos_fixed: u8,
    /// "Don't fragment" where an inner IPv4 header has it not, where it has it, and for inner IPv6.
    df: [u16; 3],
    config: OuterConfig,
}

const _: () = assert!(core::mem::offset_of!(OuterConfig, udp) == 0);

impl Outer {
    /// How much from its beginning on a packet needs. Units: octets.
    pub const PACKET_OCTETS: usize = core::mem::offset_of!(Self, config) + size_of::<Option<UdpPorts>>();

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
        let (tos_copied, tos_fixed) = tos(&config);
        Some(Self {
            template,
            sum,
            header_octets: u8::try_from(header_octets).ok()?,
            family: Family::of(&config.dst),
            tos_copied,
            tos_fixed,
            df: dont_fragment(config.df),
            config,
        })
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
        self.family
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
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "returned by copy it stalls a core")]
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
        const FRONT4: usize = ipv4::HEADER_OCTETS + HEADER_OCTETS + IV_OCTETS;
        const FRONT6: usize = ipv6::HEADER_OCTETS + HEADER_OCTETS + IV_OCTETS;
        match (self.family, self.config.udp) {
            (Family::V4, None) => self.write::<FRONT4>(packet, layout, None, spi, seq),
            (Family::V6, None) => self.write::<FRONT6>(packet, layout, None, spi, seq),
            (Family::V4, udp) => self.write::<{ FRONT4 + udp::HEADER_OCTETS }>(packet, layout, udp, spi, seq),
            (Family::V6, udp) => self.write::<{ FRONT6 + udp::HEADER_OCTETS }>(packet, layout, udp, spi, seq),
        }
    }

    /// [`Self::encap`] for a front of `FRONT` octets.
    #[inline]
    fn write<const FRONT: usize>(
        &self,
        packet: &mut [u8],
        layout: &Layout,
        udp: Option<UdpPorts>,
        spi: Spi,
        seq: u64,
    ) -> Result<(), DropReason> {
        let total_octets = layout.total_octets();
        let packet = packet.get_mut(..total_octets).ok_or(DropReason::NoHeadroom)?;
        let (front, inner) = packet.split_first_chunk_mut::<FRONT>().ok_or(DropReason::NoHeadroom)?;
        let seen = Inner::of(inner).ok_or(DropReason::MalformedIp)?;
        trailer(inner, layout, seen.next).ok_or(DropReason::NoHeadroom)?;
        let rest = match self.family {
            Family::V4 => {
                let (ip, rest) = front.split_first_chunk_mut().ok_or(DropReason::NoHeadroom)?;
                self.patch4(ip, &seen, low(total_octets), ident(spi, seq));
                rest
            }
            Family::V6 => {
                let (ip, rest) = front.split_first_chunk_mut().ok_or(DropReason::NoHeadroom)?;
                self.patch6(ip, &seen, low(total_octets - ipv6::HEADER_OCTETS));
                rest
            }
        };
        let rest = match udp {
            None => rest,
            Some(ports) => {
                let (header, rest) = rest.split_first_chunk_mut().ok_or(DropReason::NoHeadroom)?;
                *header = udp::header(ports, low(total_octets - self.header_octets()), 0);
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
    fn patch4(&self, ip: &mut [u8; ipv4::HEADER_OCTETS], inner: &Inner, total_octets: u16, ident: u16) {
        let (words, _) = self.template.as_chunks::<4>();
        let [_, _, [ttl, proto, _, _], src, dst, ..] = words else { return };
        let tos = inner.tos & self.tos_copied | self.tos_fixed;
        let [no, yes, six] = self.df;
        let flags = match inner.df {
            InnerDf::No => no,
            InnerDf::Yes => yes,
            InnerDf::Six => six,
        };
        let start = u32::from(IPV4_VERSION_IHL) << 24 | u32::from(tos) << 16 | u32::from(total_octets);
        let second = u32::from(ident) << 16 | u32::from(flags);
        let sum = u32::from(self.sum) + u32::from(tos) + u32::from(total_octets);
        let sum = !checksum::fold32(sum + u32::from(ident) + u32::from(flags));
        let third = u32::from(*ttl) << 24 | u32::from(*proto) << 16 | u32::from(sum);
        let (places, _) = ip.as_chunks_mut::<4>();
        let [a, b, c, d, e] = places else { return };
        *a = start.to_be_bytes();
        *b = second.to_be_bytes();
        *c = third.to_be_bytes();
        *d = *src;
        *e = *dst;
    }

    /// Copies the template and patches length, DSCP and ECN.
    #[inline]
    fn patch6(&self, ip: &mut [u8; ipv6::HEADER_OCTETS], inner: &Inner, payload_octets: u16) {
        *ip = self.template;
        let tos = inner.tos & self.tos_copied | self.tos_fixed;
        let [version, class, _, _, a, b, ..] = ip;
        (*version, *class) = (0x60 | tos >> 4, tos << 4);
        [*a, *b] = payload_octets.to_be_bytes();
    }
}

/// Returns the bits of the outer type of service octet that are copied, and those that are set.
fn tos(config: &OuterConfig) -> (u8, u8) {
    //= rfc4301#5.1.2.1
    let (copied, fixed) = match config.dscp {
        Dscp::Copy => (!ecn::MASK, 0),
        Dscp::Fixed(dscp) => (0, dscp << 2),
    };
    //= rfc6040#4.1
    match config.ecn {
        ecn::Ingress::Copy => (copied | ecn::MASK, fixed),
        ecn::Ingress::NotEct => (copied, fixed),
    }
}

/// Returns the flags for inner IPv4 without and with "don't fragment", and for inner IPv6.
const fn dont_fragment(df: Df) -> [u16; 3] {
    //= rfc4301#8.1
    match df {
        Df::Copy => [0, ipv4::DONT_FRAGMENT, ipv4::DONT_FRAGMENT],
        Df::Set => [ipv4::DONT_FRAGMENT; 3],
        Df::Clear => [0; 3],
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

/// What an inner packet says about fragmentation.
#[derive(Clone, Copy)]
enum InnerDf {
    No,
    Yes,
    Six,
}

/// What of the inner header goes into the outer one.
struct Inner {
    next: Proto,
    tos: u8,
    df: InnerDf,
}

impl Inner {
    #[inline]
    fn of(packet: &[u8]) -> Option<Self> {
        let [first, second, _, _, _, _, flags, ..] = packet.first_chunk::<{ ipv4::HEADER_OCTETS }>()?;
        match first >> 4 {
            4 => {
                let df = if flags & 0x40 == 0 { InnerDf::No } else { InnerDf::Yes };
                Some(Self { next: Proto::IPV4, tos: *second, df })
            }
            6 => Some(Self { next: Proto::IPV6, tos: first << 4 | second >> 4, df: InnerDf::Six }),
            _ => None,
        }
    }
}

/// Writes TFC padding, padding 1, 2, 3…, its length and the next header behind the inner packet.
#[inline]
fn trailer(inner: &mut [u8], layout: &Layout, next: Proto) -> Option<()> {
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
    let next = u64::from(next.get()) << (8 * (u32::from(layout.pad_octets()) + 1));
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
