//! What IPv4 and IPv6 share: family, protocol numbers, and the first look at a packet.

use core::fmt;
use core::net::IpAddr;

use super::ipv4::Ipv4;
use super::ipv6::Ipv6;
use crate::DropReason;

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Returns the family of an address.
    #[must_use]
    #[inline]
    pub const fn of(addr: &IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Returns the family that the version field of a packet claims.
    #[must_use]
    #[inline]
    pub fn of_packet(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Some(Self::V4),
            6 => Some(Self::V6),
            _ => None,
        }
    }

    /// Returns the next header value that announces a packet of this family. RFC: 4303 section 2.6.
    #[must_use]
    #[inline]
    pub const fn proto(self) -> Proto {
        match self {
            Self::V4 => Proto::IPV4,
            Self::V6 => Proto::IPV6,
        }
    }

    /// Returns the length of the header without options or extensions. Units: octets.
    #[must_use]
    #[inline]
    pub const fn header_octets(self) -> usize {
        match self {
            Self::V4 => super::ipv4::HEADER_OCTETS,
            Self::V6 => super::ipv6::HEADER_OCTETS,
        }
    }
}

/// IP protocol or next header number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Proto(pub u8);

impl Proto {
    /// IPv6 hop-by-hop options; in a [`Selector`](crate::Selector) 0 means any protocol.
    pub const HOP_BY_HOP: Self = Self(0);
    /// ICMP for IPv4.
    pub const ICMP: Self = Self(1);
    /// IPv4 in something.
    pub const IPV4: Self = Self(4);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// IPv6 in something.
    pub const IPV6: Self = Self(41);
    /// IPv6 routing header.
    pub const ROUTING: Self = Self(43);
    /// IPv6 fragment header.
    pub const FRAGMENT: Self = Self(44);
    /// ESP.
    pub const ESP: Self = Self(50);
    /// AH.
    pub const AH: Self = Self(51);
    /// ICMPv6.
    pub const ICMPV6: Self = Self(58);
    /// No next header: in ESP a dummy packet.
    pub const NONE: Self = Self(59);
    /// IPv6 destination options.
    pub const DEST_OPTIONS: Self = Self(60);
    /// DCCP.
    pub const DCCP: Self = Self(33);
    /// SCTP.
    pub const SCTP: Self = Self(132);
    /// Mobility header.
    pub const MOBILITY: Self = Self(135);
    /// Host identity protocol.
    pub const HIP: Self = Self(139);
    /// Shim6.
    pub const SHIM6: Self = Self(140);
    /// UDP-Lite.
    pub const UDP_LITE: Self = Self(136);

    /// Returns the number.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ICMP => f.write_str("icmp"),
            Self::TCP => f.write_str("tcp"),
            Self::UDP => f.write_str("udp"),
            Self::ESP => f.write_str("esp"),
            Self::ICMPV6 => f.write_str("ipv6-icmp"),
            Self(number) => write!(f, "{number}"),
        }
    }
}

impl fmt::Debug for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proto({self})")
    }
}

/// A checked packet of either family.
#[derive(Clone, Copy, Debug)]
pub enum Ip<'a> {
    /// IPv4.
    V4(Ipv4<'a>),
    /// IPv6.
    V6(Ipv6<'a>),
}

impl<'a> Ip<'a> {
    /// Checks a packet; octets behind its own length (Ethernet padding) are not part of the view.
    /// Errors: `MalformedIp`.
    #[inline]
    pub fn parse(packet: &'a [u8]) -> Result<Self, DropReason> {
        match Family::of_packet(packet) {
            Some(Family::V4) => Ipv4::parse(packet).map(Self::V4),
            Some(Family::V6) => Ipv6::parse(packet).map(Self::V6),
            None => Err(DropReason::MalformedIp),
        }
    }

    /// Returns the family.
    #[must_use]
    #[inline]
    pub const fn family(&self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6(_) => Family::V6,
        }
    }

    /// Returns the source address.
    #[must_use]
    #[inline]
    pub fn src(&self) -> IpAddr {
        match self {
            Self::V4(ip) => ip.src().into(),
            Self::V6(ip) => ip.src().into(),
        }
    }

    /// Returns the destination address.
    #[must_use]
    #[inline]
    pub fn dst(&self) -> IpAddr {
        match self {
            Self::V4(ip) => ip.dst().into(),
            Self::V6(ip) => ip.dst().into(),
        }
    }

    /// Returns the length of the packet with its header. Units: octets.
    #[must_use]
    #[inline]
    pub fn total_octets(&self) -> usize {
        match self {
            Self::V4(ip) => ip.total_octets(),
            Self::V6(ip) => ip.total_octets(),
        }
    }

    /// Returns the type of service or traffic class octet: DSCP and ECN.
    #[must_use]
    #[inline]
    pub fn tos(&self) -> u8 {
        match self {
            Self::V4(ip) => ip.tos(),
            Self::V6(ip) => ip.traffic_class(),
        }
    }

    /// Returns the TTL or hop limit.
    #[must_use]
    #[inline]
    pub fn ttl(&self) -> u8 {
        match self {
            Self::V4(ip) => ip.ttl(),
            Self::V6(ip) => ip.hop_limit(),
        }
    }

    /// Tells whether a router must not fragment the packet.
    #[must_use]
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        match self {
            Self::V4(ip) => ip.dont_fragment(),
            Self::V6(_) => true,
        }
    }

    /// Tells whether the header checksum is right; IPv6 has none.
    #[must_use]
    #[inline]
    pub fn checksum_ok(&self) -> bool {
        match self {
            Self::V4(ip) => ip.checksum_ok(),
            Self::V6(_) => true,
        }
    }
}

/// Takes one from the TTL or hop limit of a packet that is forwarded, and mends the checksum.
/// Errors: `TtlExpired` when none would be left, `MalformedIp` when there is no header.
#[inline]
pub fn decrement_ttl(packet: &mut [u8]) -> Result<(), DropReason> {
    match Family::of_packet(packet) {
        Some(Family::V4) => super::ipv4::decrement_ttl(packet),
        Some(Family::V6) => super::ipv6::decrement_hop_limit(packet),
        None => Err(DropReason::MalformedIp),
    }
}

/// Replaces the type of service or traffic class octet, and mends the checksum. Does nothing without a header.
#[inline]
pub fn set_tos(packet: &mut [u8], tos: u8) {
    match Family::of_packet(packet) {
        Some(Family::V4) => super::ipv4::set_tos(packet, tos),
        Some(Family::V6) => super::ipv6::set_traffic_class(packet, tos),
        None => {}
    }
}
