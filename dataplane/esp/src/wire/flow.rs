//! The fields of a packet that traffic selectors look at. RFC: 4301 section 4.4.1.1.

use core::net::IpAddr;

use super::ip::{Family, Ip, Proto};
use super::{ipv4, ipv6};
use crate::DropReason;

/// Addresses, protocol and ports of a packet.
///
/// For ICMP, type and code stand in `sport` and `dport`, as in XFRM; for a mobility header its type stands in
/// `sport`. Protocols without ports have 0 there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol behind any extension headers.
    pub proto: Proto,
    /// Source port, or ICMP type.
    pub sport: u16,
    /// Destination port, or ICMP code.
    pub dport: u16,
    /// Whether the packet is a later fragment: its ports are in another packet, so only selectors that ask for no
    /// port fit it (OPAQUE).
    pub fragment: bool,
}

impl FlowKey {
    /// Reads the key of a packet that starts at its IP header.
    /// Errors: `MalformedIp`, also when the ports of a protocol that has some are cut off.
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, DropReason> {
        Self::of(&Ip::parse(packet)?)
    }

    /// Reads the key of a checked packet. Errors: `MalformedIp` as for [`Self::parse`].
    #[inline(always)]
    #[allow(
        clippy::inline_always,
        reason = "the key is built where it stays; returned by copy it stalls a core"
    )]
    pub fn of(ip: &Ip<'_>) -> Result<Self, DropReason> {
        let (proto, payload, later) = match ip {
            Ip::V4(ip) => (ip.proto(), ip.payload(), ip.fragment_offset() != 0),
            Ip::V6(ip) => {
                let upper = ip.upper()?;
                (upper.proto, upper.payload, upper.fragment.is_some_and(|fragment| fragment.offset != 0))
            }
        };
        let (sport, dport) = if later { (0, 0) } else { ports(proto, payload)? };
        Ok(Self { src: ip.src(), dst: ip.dst(), proto, sport, dport, fragment: later })
    }

    /// Returns the family of the addresses.
    #[must_use]
    #[inline]
    pub const fn family(&self) -> Family {
        Family::of(&self.src)
    }

    /// Returns the key of the answers to this packet. ICMP type and code stay in their fields.
    #[must_use]
    pub const fn reversed(&self) -> Self {
        let icmp = matches!(self.proto, Proto::ICMP | Proto::ICMPV6 | Proto::MOBILITY);
        let (sport, dport) = if icmp { (self.sport, self.dport) } else { (self.dport, self.sport) };
        Self { src: self.dst, dst: self.src, sport, dport, ..*self }
    }

    /// Reads the key of the packet that an ICMP error quotes, which may be cut off behind its ports.
    /// `None` when there is not enough of it. RFC: 4301 section 6.2.
    #[must_use]
    pub fn quoted(quote: &[u8]) -> Option<Self> {
        let mut whole = [0u8; QUOTE_OCTETS];
        let octets = quote.len().min(QUOTE_OCTETS);
        whole.get_mut(..octets)?.copy_from_slice(quote.get(..octets)?);
        // The quoted length is that of the packet that was not quoted in full, so it is set to what is here.
        let length = u16::try_from(octets).ok()?;
        match Family::of_packet(&whole)? {
            Family::V4 => whole.get_mut(2..4)?.copy_from_slice(&length.to_be_bytes()),
            Family::V6 => {
                let payload = length.checked_sub(u16::try_from(ipv6::HEADER_OCTETS).ok()?)?;
                whole.get_mut(4..6)?.copy_from_slice(&payload.to_be_bytes());
            }
        }
        Self::parse(whole.get(..octets)?).ok()
    }
}

/// Length of what is read of a quoted packet: the longest IPv4 header, or IPv6 with some extensions, and ports.
const QUOTE_OCTETS: usize = ipv4::HEADER_OCTETS + 108;

#[inline]
fn ports(proto: Proto, payload: &[u8]) -> Result<(u16, u16), DropReason> {
    match (proto, payload) {
        (Proto::TCP | Proto::UDP | Proto::UDP_LITE | Proto::SCTP | Proto::DCCP, [a, b, c, d, ..]) => {
            Ok((u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d])))
        }
        (Proto::ICMP | Proto::ICMPV6, [kind, code, ..]) => Ok((u16::from(*kind), u16::from(*code))),
        (Proto::MOBILITY, [_, _, kind, ..]) => Ok((u16::from(*kind), 0)),
        (Proto::TCP | Proto::UDP | Proto::UDP_LITE | Proto::SCTP | Proto::DCCP, _)
        | (Proto::ICMP | Proto::ICMPV6 | Proto::MOBILITY, _) => Err(DropReason::MalformedIp),
        _ => Ok((0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4(proto: Proto, offset: u16, payload: &[u8]) -> Vec<u8> {
        let repr = ipv4::Repr {
            src: [10, 1, 0, 1].into(),
            dst: [10, 2, 0, 1].into(),
            proto,
            tos: 0,
            ttl: 64,
            ident: 1,
            dont_fragment: false,
            total_octets: (20 + payload.len()).try_into().unwrap(),
        };
        let mut octets = repr.emit().to_vec();
        octets[6..8].copy_from_slice(&offset.to_be_bytes());
        octets.extend(payload);
        octets
    }

    #[test]
    fn udp_gives_its_ports_and_their_reverse() {
        let key = FlowKey::parse(&v4(Proto::UDP, 0, &[0, 53, 1, 2, 0, 8, 0, 0])).unwrap();
        assert_eq!((key.sport, key.dport, key.fragment), (53, 258, false));
        let back = key.reversed();
        assert_eq!((back.src, back.dst, back.sport, back.dport), (key.dst, key.src, 258, 53));
    }

    #[test]
    fn a_first_fragment_has_ports_and_a_later_one_none() {
        let first = FlowKey::parse(&v4(Proto::UDP, 0x2000, &[0, 53, 1, 2, 0, 8, 0, 0])).unwrap();
        assert_eq!((first.sport, first.fragment), (53, false));
        let later = FlowKey::parse(&v4(Proto::UDP, 2, &[0, 53, 1, 2, 0, 8, 0, 0])).unwrap();
        assert_eq!((later.sport, later.dport, later.fragment), (0, 0, true));
    }

    #[test]
    fn icmp_gives_type_and_code() {
        let key = FlowKey::parse(&v4(Proto::ICMP, 0, &[8, 3, 0, 0])).unwrap();
        assert_eq!((key.sport, key.dport), (8, 3));
    }

    #[test]
    fn a_protocol_without_ports_has_zeros() {
        let key = FlowKey::parse(&v4(Proto(47), 0, &[])).unwrap();
        assert_eq!((key.proto, key.sport, key.dport), (Proto(47), 0, 0));
    }

    #[test]
    fn cut_ports_are_malformed() {
        assert_eq!(FlowKey::parse(&v4(Proto::TCP, 0, &[0, 1, 2])), Err(DropReason::MalformedIp));
    }

    #[test]
    fn a_quote_cut_behind_its_ports_still_has_a_key() {
        let mut quote = v4(Proto::UDP, 0, &[0, 53, 1, 2, 0, 8, 0, 0]);
        quote[2..4].copy_from_slice(&1500u16.to_be_bytes());
        assert_eq!(FlowKey::quoted(&quote).unwrap().sport, 53);
        assert_eq!(FlowKey::quoted(&quote[..22]), None);
    }

    proptest! {
        #[test]
        fn any_octets_parse_or_are_refused(mut octets in prop::collection::vec(any::<u8>(), 1..160), six: bool) {
            octets[0] = if six { 0x60 } else { 0x45 };
            let _ = FlowKey::quoted(&octets);
            let _ = FlowKey::parse(&octets);
        }
    }
}
