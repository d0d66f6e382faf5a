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

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 254);
    const ROUTER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0xfe);

    fn about4(proto: Proto, octets: u16) -> Vec<u8> {
        let repr = ipv4::Repr {
            src: [10, 1, 0, 1].into(),
            dst: [10, 2, 0, 1].into(),
            proto,
            tos: 0,
            ttl: 1,
            ident: 7,
            dont_fragment: true,
            total_octets: octets,
        };
        let mut packet = repr.emit().to_vec();
        packet.resize(octets.into(), 0x5a);
        packet
    }

    fn about6(next: Proto, dst: &str, octets: u16) -> Vec<u8> {
        let repr = ipv6::Repr {
            src: "2001:db8:1::1".parse().unwrap(),
            dst: dst.parse().unwrap(),
            next,
            traffic_class: 0,
            flow_label: 0,
            hop_limit: 1,
            payload_octets: octets - 40,
        };
        let mut packet = repr.emit().to_vec();
        packet.resize(octets.into(), 0x5a);
        packet
    }

    fn made(kind: Error, about: &[u8]) -> Option<Vec<u8>> {
        let src = match about[0] >> 4 {
            4 => IpAddr::V4(ROUTER),
            _ => IpAddr::V6(ROUTER6),
        };
        let mut out = [0; MAX_ERROR_OCTETS];
        error(kind, about, src, 64, &mut out).map(|octets| out[..octets].to_vec())
    }

    const KINDS: [Error; 5] = [
        Error::TooBig { mtu: 1400 },
        Error::TimeExceeded,
        Error::NoRoute,
        Error::HostUnreachable,
        Error::Prohibited,
    ];

    #[test]
    fn an_ipv4_error_quotes_the_packet_and_sums_right() {
        for (kind, fields) in
            KINDS.into_iter().zip([(3, 4, 1400), (11, 0, 0), (3, 0, 0), (3, 1, 0), (3, 13, 0)])
        {
            for octets in [20, 60, 1500] {
                let about = about4(Proto::UDP, octets);
                let packet = made(kind, &about).unwrap();
                let ip = Ip::parse(&packet).unwrap();
                let Ip::V4(v4) = ip else { panic!("not IPv4") };
                assert_eq!((v4.src(), v4.dst(), ip.checksum_ok()), (ROUTER, [10, 1, 0, 1].into(), true));
                assert_eq!(checksum::of(v4.payload()), 0);
                let icmp = Icmp::of(&ip).unwrap();
                assert_eq!((icmp.kind, icmp.code, icmp.word), fields);
                assert_eq!(icmp.body, &about[..about.len().min(548)]);
            }
        }
    }

    #[test]
    fn an_ipv6_error_quotes_the_packet_and_sums_right() {
        for (kind, fields) in
            KINDS.into_iter().zip([(2, 0, 1400), (3, 0, 0), (1, 0, 0), (1, 3, 0), (1, 1, 0)])
        {
            for octets in [40, 60, 1500] {
                let about = about6(Proto::UDP, "2001:db8:2::1", octets);
                let packet = made(kind, &about).unwrap();
                let ip = Ip::parse(&packet).unwrap();
                let icmp = Icmp::of(&ip).unwrap();
                assert_eq!((icmp.kind, icmp.code, icmp.word), fields);
                assert_eq!(icmp.body, &about[..about.len().min(1232)]);
                let message_octets = u32::try_from(packet.len() - 40).unwrap();
                let pseudo = checksum::pseudo_header(&ip.src(), &ip.dst(), Proto::ICMPV6, message_octets);
                assert_eq!(checksum::fold(checksum::sum(&packet[40..], pseudo)), 0xffff);
            }
        }
    }

    #[test]
    fn an_error_is_not_answered_and_an_echo_is() {
        for kind in
            [v4::UNREACHABLE, v4::REDIRECT, v4::TIME_EXCEEDED, v4::PARAMETER_PROBLEM, v4::SOURCE_QUENCH]
        {
            let mut about = about4(Proto::ICMP, 60);
            about[20] = kind;
            assert_eq!(made(Error::NoRoute, &about), None);
            about[20] = v4::ECHO;
            assert!(made(Error::NoRoute, &about).is_some());
        }
        for (kind, answered) in [(1, false), (127, false), (128, true), (135, false), (137, false)] {
            let mut about = about6(Proto::ICMPV6, "2001:db8:2::1", 60);
            about[40] = kind;
            assert_eq!(made(Error::NoRoute, &about).is_some(), answered);
        }
    }

    #[test]
    fn a_later_fragment_is_not_answered_and_the_first_is() {
        let mut about = about4(Proto::UDP, 60);
        about[6..8].copy_from_slice(&[0x20, 0]);
        assert!(made(Error::TimeExceeded, &about).is_some());
        about[6..8].copy_from_slice(&[0, 1]);
        assert_eq!(made(Error::TimeExceeded, &about), None);
    }

    #[test]
    fn a_group_is_told_nothing_but_the_size_of_ipv6() {
        let mut about = about4(Proto::UDP, 60);
        for dst in [[224, 0, 0, 5], [255; 4]] {
            about[16..20].copy_from_slice(&dst);
            assert_eq!(made(Error::NoRoute, &about), None);
        }
        let about = about6(Proto::UDP, "ff0e::1", 1500);
        assert_eq!(made(Error::NoRoute, &about), None);
        assert!(made(Error::TooBig { mtu: 1280 }, &about).is_some());
    }

    #[test]
    fn a_source_that_is_not_one_host_is_not_answered() {
        for src in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4]] {
            let mut about = about4(Proto::UDP, 60);
            about[12..16].copy_from_slice(&src);
            assert_eq!(made(Error::NoRoute, &about), None);
        }
        for src in ["::", "::1", "ff02::1"] {
            let mut about = about6(Proto::UDP, "2001:db8:2::1", 60);
            about[8..24].copy_from_slice(&src.parse::<Ipv6Addr>().unwrap().octets());
            assert_eq!(made(Error::NoRoute, &about), None);
        }
    }

    #[test]
    fn families_do_not_mix_and_a_short_place_is_no_place() {
        let mut out = [0; MAX_ERROR_OCTETS];
        let about = about4(Proto::UDP, 60);
        assert_eq!(error(Error::NoRoute, &about, ROUTER6.into(), 64, &mut out), None);
        assert_eq!(error(Error::NoRoute, &about, ROUTER.into(), 64, &mut out[..87]), None);
        assert_eq!(error(Error::NoRoute, &about, ROUTER.into(), 64, &mut out[..88]), Some(88));
    }
}
