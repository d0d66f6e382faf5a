//! ICMP and ICMPv6 messages as far as a gateway reads them. RFC: 792, 4443.

use super::checksum;
use super::ip::{Ip, Proto};

/// Length of type, code, checksum and the word behind them. Units: octets.
pub const HEADER_OCTETS: usize = 8;

/// ICMP types of IPv4.
pub mod v4 {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench.
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// ICMP types of IPv6.
pub mod v6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Echo request.
    pub const ECHO: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Router solicitation, the first of the neighbour discovery types.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Neighbour solicitation.
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
    /// Redirect, the last of the neighbour discovery types.
    pub const REDIRECT: u8 = 137;
}

/// A message of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmp<'a> {
    /// Whether it is ICMPv6.
    pub six: bool,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The word behind the checksum: identifier and sequence, MTU, or unused.
    pub word: u32,
    /// What follows: the quoted packet of an error.
    pub body: &'a [u8],
}

impl<'a> Icmp<'a> {
    /// Reads the message of a packet; `None` where it is none, is a later fragment, or is cut short.
    #[must_use]
    pub fn of(ip: &Ip<'a>) -> Option<Self> {
        let (payload, six) = match ip {
            Ip::V4(ip) if ip.proto() == Proto::ICMP && ip.fragment_offset() == 0 => (ip.payload(), false),
            Ip::V4(_) => return None,
            Ip::V6(ip) => {
                let upper = ip.upper().ok()?;
                let first = upper.fragment.is_none_or(|fragment| fragment.offset == 0);
                (Some(upper.payload).filter(|_| first && upper.proto == Proto::ICMPV6)?, true)
            }
        };
        let ([kind, code, _, _, a, b, c, d], body) = payload.split_first_chunk()?;
        Some(Self { six, kind: *kind, code: *code, word: u32::from_be_bytes([*a, *b, *c, *d]), body })
    }

    /// Tells whether the message reports an error about the packet it quotes. RFC: 1122 section 3.2.2, 4443 section 2.1.
    #[must_use]
    pub const fn is_error(&self) -> bool {
        is_error(self.six, self.kind)
    }

    /// Tells whether the message belongs to neighbour discovery. RFC: 4861 section 4.
    #[must_use]
    pub const fn is_neighbor_discovery(&self) -> bool {
        self.six && self.kind >= v6::ROUTER_SOLICITATION && self.kind <= v6::REDIRECT
    }
}

/// Tells whether a type is that of an error. RFC: 1122 section 3.2.2, 4443 section 2.1.
#[must_use]
pub const fn is_error(six: bool, kind: u8) -> bool {
    if six {
        return kind < 128;
    }
    matches!(
        kind,
        v4::UNREACHABLE | v4::SOURCE_QUENCH | v4::REDIRECT | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM
    )
}

/// Makes an echo request its own reply, from its IP header on: addresses, type, TTL and checksums.
/// Returns whether it was one; other packets stay as they are. Units of `ttl`: hops.
pub fn echo_reply(packet: &mut [u8], ttl: u8) -> bool {
    let Ok(ip) = Ip::parse(packet) else { return false };
    let Some(icmp) = Icmp::of(&ip) else { return false };
    let (asks, answer) = if icmp.six { (v6::ECHO, v6::ECHO_REPLY) } else { (v4::ECHO, v4::ECHO_REPLY) };
    let whole = match &ip {
        Ip::V4(ip) => !ip.is_fragment(),
        Ip::V6(ip) => ip.next() == Proto::ICMPV6,
    };
    if icmp.kind != asks || !whole || !ip.checksum_ok() {
        return false;
    }
    let header_octets = match &ip {
        Ip::V4(ip) => ip.header_octets(),
        Ip::V6(_) => super::ipv6::HEADER_OCTETS,
    };
    let Some((header, [kind, code, a, b, ..])) = packet.split_at_mut_checked(header_octets) else {
        return false;
    };
    let (old, new) = (u16::from_be_bytes([*kind, *code]), u16::from_be_bytes([answer, *code]));
    *kind = answer;
    [*a, *b] = checksum::update(u16::from_be_bytes([*a, *b]), old, new).to_be_bytes();
    turn_round(header, ttl);
    true
}

/// Swaps source and destination of an IP header and sets its TTL.
fn turn_round(header: &mut [u8], ttl: u8) {
    match header {
        [0x60..=0x6f, _, _, _, _, _, _, hops, addresses @ ..] => {
            *hops = ttl;
            if let Some((src, dst)) = addresses.split_at_mut_checked(16) {
                src.swap_with_slice(dst);
            }
        }
        [_, _, _, _, _, _, _, _, hops, proto, a, b, addresses @ ..] => {
            let (old, new) = (u16::from_be_bytes([*hops, *proto]), u16::from_be_bytes([ttl, *proto]));
            *hops = ttl;
            [*a, *b] = checksum::update(u16::from_be_bytes([*a, *b]), old, new).to_be_bytes();
            if let Some(([s0, s1, s2, s3, d0, d1, d2, d3], _)) = addresses.split_first_chunk_mut() {
                [*s0, *s1, *s2, *s3, *d0, *d1, *d2, *d3] = [*d0, *d1, *d2, *d3, *s0, *s1, *s2, *s3];
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ipv4, ipv6};
    use super::*;
    use proptest::prelude::*;

    fn echo4() -> Vec<u8> {
        let repr = ipv4::Repr {
            src: [10, 1, 0, 1].into(),
            dst: [10, 2, 0, 1].into(),
            proto: Proto::ICMP,
            tos: 0,
            ttl: 3,
            ident: 1,
            dont_fragment: false,
            total_octets: 32,
        };
        let mut packet = repr.emit().to_vec();
        packet.extend([8, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let sum = checksum::of(&packet[20..]);
        packet[22..24].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    #[test]
    fn an_echo_request_turns_into_its_reply() {
        let mut packet = echo4();
        assert!(echo_reply(&mut packet, 64));
        let ip = Ip::parse(&packet).unwrap();
        assert_eq!((ip.src().to_string(), ip.dst().to_string()), ("10.2.0.1".into(), "10.1.0.1".into()));
        assert!(ip.checksum_ok() && ip.ttl() == 64);
        assert_eq!(checksum::of(&packet[20..]), 0);
        assert_eq!(Icmp::of(&ip).unwrap().kind, v4::ECHO_REPLY);
        assert!(!echo_reply(&mut packet, 64));
    }

    #[test]
    fn an_echo_request_of_ipv6_turns_into_its_reply() {
        let (src, dst) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let repr = ipv6::Repr {
            src,
            dst,
            next: Proto::ICMPV6,
            traffic_class: 0,
            flow_label: 0,
            hop_limit: 3,
            payload_octets: 12,
        };
        let mut packet = repr.emit().to_vec();
        packet.extend([128, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        let pseudo = checksum::pseudo_header(&src.into(), &dst.into(), Proto::ICMPV6, 12);
        let sum = !checksum::fold(checksum::sum(&packet[40..], pseudo));
        packet[42..44].copy_from_slice(&sum.to_be_bytes());
        assert!(echo_reply(&mut packet, 64));
        let ip = Ip::parse(&packet).unwrap();
        assert_eq!((ip.src(), ip.dst(), ip.ttl()), (dst.into(), src.into(), 64));
        assert_eq!(checksum::fold(checksum::sum(&packet[40..], pseudo)), 0xffff);
    }

    #[test]
    fn errors_are_told_from_questions() {
        assert!(is_error(false, v4::UNREACHABLE) && is_error(true, v6::TOO_BIG));
        assert!(!is_error(false, v4::ECHO) && !is_error(true, v6::ECHO));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_left(mut octets in prop::collection::vec(any::<u8>(), 1..96), six: bool) {
            octets[0] = if six { 0x60 } else { 0x45 };
            if let Ok(ip) = Ip::parse(&octets) {
                let _ = Icmp::of(&ip);
            }
            let _ = echo_reply(&mut octets, 64);
        }
    }
}
