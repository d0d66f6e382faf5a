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
    /// Sum over an IPv4 template behind its first eight octets.
    sum: u16,
    header_octets: u8,
    family: Family,
    /// Bits of [`Seen::word`] that come from the inner header; the others are in the template.
    copied: u64,
    config: OuterConfig,
}

const _: () = assert!(core::mem::offset_of!(OuterConfig, udp) == 0);

/// What the lengths of an SA's protected packets follow from. Units: octets.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Outer headers, ESP header and IV.
    front_octets: usize,
    /// The longest text that IP carries.
    most_octets: usize,
}

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
        let (copied, fixed) = taken_from_inside(&config);
        let mut sum = 0;
        match (&mut template, Family::of(&config.dst)) {
            ([_, tos, _, _, _, _, df, _, rest @ ..], Family::V4) => {
                let [_, tos_fixed, _, _, _, _, df_fixed, _] = fixed.to_be_bytes();
                (*tos, *df) = (tos_fixed, df_fixed);
                let [_, _, sum_high, sum_low, ..] = rest;
                (*sum_high, *sum_low) = (0, 0);
                sum = !checksum::of(rest);
            }
            ([first, second, ..], Family::V6) => {
                let [_, tos_fixed, ..] = fixed.to_be_bytes();
                (*first, *second) = (*first | tos_fixed >> 4, *second | tos_fixed << 4);
            }
        }
        Some(Self {
            template,
            sum,
            header_octets: u8::try_from(header_octets).ok()?,
            family: Family::of(&config.dst),
            copied,
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

    /// Returns what the lengths of protected packets follow from.
    #[must_use]
    #[inline]
    pub const fn room(&self) -> Room {
        let ip_octets = match self.family {
            Family::V4 => 0,
            Family::V6 => ipv6::HEADER_OCTETS,
        };
        let front_octets = self.header_octets() + HEADER_OCTETS + IV_OCTETS;
        Room { front_octets, most_octets: u16::MAX as usize - ICV_OCTETS - front_octets + ip_octets }
    }

    /// Plans a protected packet, as [`Room::layout`] does.
    /// Errors: `TooLong` when IP could not carry it.
    #[inline]
    pub fn layout(&self, inner_octets: usize, pad_to: usize) -> Result<Layout, DropReason> {
        self.room().layout(inner_octets, pad_to)
    }

    /// Writes everything but the ICV round the inner packet, which stands in `packet` behind `front_octets`, and returns the
    /// AEAD's text and ICV. `packet` has `total_octets` of the layout. Nothing is encrypted yet.
    /// Errors: `NoHeadroom` when it is shorter, `MalformedIp` when there is no IP header behind the front.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a call and four checks cost as much as the work")]
    pub fn encap<'p>(
        &self,
        packet: &'p mut [u8],
        layout: &Layout,
        spi: Spi,
        seq: u64,
    ) -> Result<Sealable<'p>, DropReason> {
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
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as above")]
    fn write<'p, const FRONT: usize>(
        &self,
        packet: &'p mut [u8],
        layout: &Layout,
        udp: Option<UdpPorts>,
        spi: Spi,
        seq: u64,
    ) -> Result<Sealable<'p>, DropReason> {
        let (front, inner) = packet.split_first_chunk_mut::<FRONT>().ok_or(DropReason::NoHeadroom)?;
        let seen = Seen::of(inner).ok_or(DropReason::MalformedIp)?;
        trailer(inner, layout, seen.next).ok_or(DropReason::NoHeadroom)?;
        let total_octets = layout.total_octets();
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
        let sealable = inner.get_mut(..layout.text_octets() + ICV_OCTETS);
        sealable.and_then(|sealable| sealable.split_last_chunk_mut()).ok_or(DropReason::NoHeadroom)
    }

    /// Whether [`Self::finish`] has something to write.
    #[must_use]
    #[inline]
    pub const fn is_finished_later(&self) -> bool {
        self.config.udp.is_some() && matches!(self.family, Family::V6)
    }

    /// Writes what depends on the cipher text: the UDP checksum that IPv6 demands. Does nothing for other headers.
    /// `packet` is the protected packet and nothing behind it. RFC: 8200 section 8.1; 3948 section 2.1 for IPv4, where it is 0.
    #[inline]
    pub fn finish(&self, packet: &mut [u8]) {
        if !self.is_finished_later() {
            return;
        }
        let Some(datagram) = packet.get_mut(ipv6::HEADER_OCTETS..) else { return };
        let [high, low] = udp::checksum(&self.config.src, &self.config.dst, datagram).to_be_bytes();
        if let [_, _, _, _, _, _, first, second, ..] = datagram {
            (*first, *second) = (high, low);
        }
    }

    /// Copies the template and patches length, identification, DSCP, ECN, flags and header checksum.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as above")]
    fn patch4(&self, ip: &mut [u8; ipv4::HEADER_OCTETS], seen: &Seen, total_octets: u16, ident: u16) {
        let ([first, second, third, ..], _) = self.template.as_chunks::<8>() else { return };
        let ([a, b], c) = ip.as_chunks_mut::<8>() else { return };
        let start = u64::from_be_bytes(*first) | seen.word & self.copied;
        let start = start | u64::from(total_octets) << 32 | u64::from(ident) << 16;
        *a = start.to_be_bytes();
        let sum = checksum::fold34((start >> 32) + (start & 0xffff_ffff) + u64::from(self.sum));
        *b = (u64::from_be_bytes(*second) | u64::from(!sum) << 32).to_be_bytes();
        let ([d0, d1, d2, d3, ..], Some(c)) = (*third, c.first_chunk_mut()) else { return };
        *c = [d0, d1, d2, d3];
    }

    /// Copies the template and patches length, DSCP and ECN.
    #[inline]
    fn patch6(&self, ip: &mut [u8; ipv6::HEADER_OCTETS], seen: &Seen, payload_octets: u16) {
        *ip = self.template;
        let [_, tos, ..] = (seen.word & self.copied).to_be_bytes();
        let [version, class, _, _, a, b, ..] = ip;
        (*version, *class) = (*version | tos >> 4, *class | tos << 4);
        [*a, *b] = payload_octets.to_be_bytes();
    }
}

impl Room {
    /// Plans a protected packet. Units: octets; `pad_to` is the length that TFC padding fills an inner packet up to, 0 for none.
    /// Errors: `TooLong` when IP could not carry it. RFC: 4303 section 2.4, 2.7.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "returned by copy it stalls a core")]
    pub fn layout(&self, inner_octets: usize, pad_to: usize) -> Result<Layout, DropReason> {
        let padded_octets = inner_octets.max(pad_to) + TRAILER_OCTETS;
        //= rfc4303#2.4
        let text_octets = padded_octets.next_multiple_of(ALIGN_OCTETS);
        if text_octets > self.most_octets {
            return Err(DropReason::TooLong);
        }
        #[allow(
            clippy::cast_possible_truncation,
            reason = "each is a part of what 16 bits were found to hold"
        )]
        Ok(Layout {
            front_octets: self.front_octets as u16,
            inner_octets: inner_octets as u16,
            text_octets: text_octets as u16,
            pad_octets: (text_octets - padded_octets) as u8,
        })
    }
}

/// Returns the bits of [`Seen::word`] that are copied to the outer header, and those that are always set in it.
fn taken_from_inside(config: &OuterConfig) -> (u64, u64) {
    //= rfc4301#5.1.2.1
    let (tos_copied, tos_fixed) = match config.dscp {
        Dscp::Copy => (!ecn::MASK, 0),
        Dscp::Fixed(dscp) => (0, dscp << 2),
    };
    //= rfc6040#4.1
    let tos_copied = match config.ecn {
        ecn::Ingress::Copy => tos_copied | ecn::MASK,
        ecn::Ingress::NotEct => tos_copied,
    };
    //= rfc4301#8.1
    let (df_copied, df_fixed) = match config.df {
        Df::Copy => (ipv4::DONT_FRAGMENT, 0),
        Df::Set => (0, ipv4::DONT_FRAGMENT),
        Df::Clear => (0, 0),
    };
    let word = |tos: u8, df: u16| u64::from(tos) << TOS_AT | u64::from(df);
    (word(tos_copied, df_copied), word(tos_fixed, df_fixed))
}

/// Where the type of service octet stands in the first word of an IPv4 header. Units: bits.
const TOS_AT: u32 = 48;

/// What of a packet the AEAD works on: its text, and behind that the place of the ICV.
pub type Sealable<'p> = (&'p mut [u8], &'p mut [u8; ICV_OCTETS]);

/// A length that [`Outer::layout`] found to fit, or that of the IP payload, which is checked there too.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "checked when the packet was planned")]
const fn low(octets: usize) -> u16 {
    octets as u16
}

/// What of the inner header goes into the outer one.
struct Seen {
    next: Proto,
    /// The first eight octets of an IPv4 header in host order, or what says the same of an IPv6 header: no router
    /// fragments that.
    word: u64,
}

impl Seen {
    #[inline]
    fn of(packet: &[u8]) -> Option<Self> {
        let [head @ .., _, _, _, _, _, _, _, _, _, _, _, _] =
            packet.first_chunk::<{ ipv4::HEADER_OCTETS }>()?;
        let word = u64::from_be_bytes(*head);
        match word >> 60 {
            4 => Some(Self { next: Proto::IPV4, word }),
            6 => {
                let tos = word >> 52 & 0xff;
                Some(Self { next: Proto::IPV6, word: tos << TOS_AT | u64::from(ipv4::DONT_FRAGMENT) })
            }
            _ => None,
        }
    }
}

/// Writes TFC padding, padding 1, 2, 3…, its length and the next header behind the inner packet.
#[inline(always)]
#[allow(clippy::inline_always, reason = "as above")]
fn trailer(inner: &mut [u8], layout: &Layout, next: Proto) -> Option<()> {
    let at = layout.text_octets() - layout.end_octets();
    if at != layout.inner_octets() {
        inner.get_mut(layout.inner_octets()..at)?.fill(0);
    }
    let pad_octets = usize::from(layout.pad_octets()) % ALIGN_OCTETS;
    let next = u64::from(next.get()) << (8 * (pad_octets + 1));
    // The ICV comes behind and is written later, so that eight octets are always there to be written at once.
    *inner.get_mut(at..at + 8)?.first_chunk_mut()? = (PADDINGS.get(pad_octets)? | next).to_le_bytes();
    Some(())
}

/// Padding and its length, by its length. RFC: 4303 section 2.4.
const PADDINGS: [u64; ALIGN_OCTETS] = [0, 0x0101, 0x02_0201, 0x0303_0201];

/// Returns an identification that consecutive packets of one SA, and mostly those of two, do not share. RFC: 6864.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "16 bits are what the field has")]
const fn ident(spi: Spi, seq: u64) -> u16 {
    (seq as u16) ^ (spi.get() as u16)
}
