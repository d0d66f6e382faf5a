//! ICMP errors that a gateway sends about a packet it does not pass on. RFC: 1812 section 4.3, 4443 section 2.4.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::icmp::{HEADER_OCTETS, Icmp, v4, v6};
use crate::wire::ip::Ip;
use crate::wire::{Proto, checksum, ipv4, ipv6};

/// Length of the longest error. Units: octets, IP header included.
pub const MAX_ERROR_OCTETS: usize = ipv6::MIN_MTU_OCTETS as usize;
/// An IPv4 error quotes what fits this. Units: octets. RFC: 1812 section 4.3.2.3.
const MAX_IPV4_OCTETS: usize = 576;
/// Internetwork control, the precedence of IPv4 errors. RFC: 1812 section 4.3.2.5.
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The packet must not be fragmented and is longer than `mtu`. Units: octets.
    TooBig {
        /// What would fit. Units: octets.
        mtu: u16,
    },
    /// The TTL or hop limit ran out.
    TimeExceeded,
    /// No route leads to the destination.
    NoRoute,
    /// The destination or next hop does not answer.
    HostUnreachable,
    /// Policy forbids the packet.
    Prohibited,
}

impl Error {
    const fn v4(self) -> (u8, u8, u32) {
        match self {
            Self::TooBig { mtu } => (v4::UNREACHABLE, 4, mtu as u32),
            Self::TimeExceeded => (v4::TIME_EXCEEDED, 0, 0),
            Self::NoRoute => (v4::UNREACHABLE, 0, 0),
            Self::HostUnreachable => (v4::UNREACHABLE, 1, 0),
            Self::Prohibited => (v4::UNREACHABLE, 13, 0),
        }
    }

    const fn v6(self) -> (u8, u8, u32) {
        match self {
            Self::TooBig { mtu } => (v6::TOO_BIG, 0, mtu as u32),
            Self::TimeExceeded => (v6::TIME_EXCEEDED, 0, 0),
            Self::NoRoute => (v6::UNREACHABLE, 0, 0),
            Self::HostUnreachable => (v6::UNREACHABLE, 3, 0),
            Self::Prohibited => (v6::UNREACHABLE, 1, 0),
        }
    }
}

/// Writes an error about a packet to `out`, as a whole IP packet from `src`, and returns its length.
///
/// `None` where no error may be sent: about an error, a later fragment, a group or broadcast, or to a source that is not one
/// host; also when the families differ or `out` is too short. The caller limits the rate, and sends none about a packet that
/// came as a link-layer broadcast. Units of `ttl`: hops.
#[must_use]
pub fn error(error: Error, about: &[u8], src: IpAddr, ttl: u8, out: &mut [u8]) -> Option<usize> {
    let ip = Ip::parse(about).ok()?;
    if !may_be_answered(&ip, error) {
        return None;
    }
    match (&ip, src) {
        (Ip::V4(about), IpAddr::V4(src)) => emit4(error, about, src, ttl, out),
        (Ip::V6(about), IpAddr::V6(src)) => emit6(error, about, src, ttl, out),
        _ => None,
    }
}

fn may_be_answered(ip: &Ip<'_>, error: Error) -> bool {
    //= rfc1812#4.3.2.7
    //= rfc4443#2.4
    let answers_error = Icmp::of(ip).is_some_and(|icmp| icmp.is_error() || icmp.is_neighbor_discovery());
    let one_host = match ip.src() {
        IpAddr::V4(src) => one_host4(src),
        IpAddr::V6(src) => !src.is_multicast() && !src.is_unspecified() && !src.is_loopback(),
    };
    let later_fragment = match ip {
        Ip::V4(ip) => ip.fragment_offset() != 0,
        Ip::V6(_) => false,
    };
    let to_group = match ip.dst() {
        IpAddr::V4(dst) => dst.is_multicast() || dst.is_broadcast(),
        // A group may be told the size: that is how path MTU discovery works for it.
        IpAddr::V6(dst) => dst.is_multicast() && !matches!(error, Error::TooBig { .. }),
    };
    !answers_error && one_host && !later_fragment && !to_group
}

const fn one_host4(src: Ipv4Addr) -> bool {
    let [first, ..] = src.octets();
    first != 0 && first != 127 && first < 224
}

fn emit4(error: Error, about: &ipv4::Ipv4<'_>, src: Ipv4Addr, ttl: u8, out: &mut [u8]) -> Option<usize> {
    let before = ipv4::HEADER_OCTETS + HEADER_OCTETS;
    let quote = about.packet().get(..about.total_octets().min(MAX_IPV4_OCTETS - before))?;
    let total_octets = before + quote.len();
    let repr = ipv4::Repr {
        src,
        dst: about.src(),
        proto: Proto::ICMP,
        tos: INTERNETWORK_CONTROL,
        ttl,
        ident: 0,
        dont_fragment: false,
        total_octets: u16::try_from(total_octets).ok()?,
    };
    let (header, message) = out.get_mut(..total_octets)?.split_first_chunk_mut()?;
    *header = repr.emit();
    write_message(message, error.v4(), quote, 0)?;
    Some(total_octets)
}

fn emit6(error: Error, about: &ipv6::Ipv6<'_>, src: Ipv6Addr, ttl: u8, out: &mut [u8]) -> Option<usize> {
    let before = ipv6::HEADER_OCTETS + HEADER_OCTETS;
    let quote = about.packet().get(..about.total_octets().min(MAX_ERROR_OCTETS - before))?;
    let message_octets = u16::try_from(HEADER_OCTETS + quote.len()).ok()?;
    let repr = ipv6::Repr {
        src,
        dst: about.src(),
        next: Proto::ICMPV6,
        traffic_class: 0,
        flow_label: 0,
        hop_limit: ttl,
        payload_octets: message_octets,
    };
    let total_octets = before + quote.len();
    let (header, message) = out.get_mut(..total_octets)?.split_first_chunk_mut()?;
    *header = repr.emit();
    let dst = about.src().into();
    let pseudo = checksum::pseudo_header(&src.into(), &dst, Proto::ICMPV6, u32::from(message_octets));
    write_message(message, error.v6(), quote, pseudo)?;
    Some(total_octets)
}

fn write_message(message: &mut [u8], fields: (u8, u8, u32), quote: &[u8], pseudo: u64) -> Option<()> {
    let (kind, code, word) = fields;
    let [a, b, c, d] = word.to_be_bytes();
    let (head, body) = message.split_first_chunk_mut()?;
    *head = [kind, code, 0, 0, a, b, c, d];
    body.copy_from_slice(quote);
    let [high, low] = (!checksum::fold(checksum::sum(message, pseudo))).to_be_bytes();
    let [_, _, first, second, ..] = message else { return None };
    (*first, *second) = (high, low);
    Some(())
}
