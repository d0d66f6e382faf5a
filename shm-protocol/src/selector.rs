//! Traffic selectors as the segment holds them: inclusive ranges of addresses and ports of one family.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Address family of a selector.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Family {
    /// IPv4; addresses stand in the first 4 octets.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

impl Family {
    /// Returns the family of `addr`.
    pub const fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Reads an address of this family; `None` when octets behind an IPv4 address are not 0.
    pub fn address(self, octets: [u8; 16]) -> Option<IpAddr> {
        match self {
            Self::V4 => match octets {
                [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0] => Some(Ipv4Addr::new(a, b, c, d).into()),
                _ => None,
            },
            Self::V6 => Some(Ipv6Addr::from(octets).into()),
        }
    }

    /// Length of an address. Units: bits.
    pub const fn address_bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// Returns `addr` in 16 octets, network order, IPv4 in the first 4.
pub fn octets(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(v4) => {
            let mut out = [0; 16];
            out[..4].copy_from_slice(&v4.octets());
            out
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// An inclusive port range; ICMP type and code stand in source and destination ports as in XFRM.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PortRange {
    lo: u16,
    hi: u16,
}

impl PortRange {
    /// Every port.
    pub const ANY: Self = Self { lo: 0, hi: u16::MAX };

    /// Returns the range, or `None` when `lo` is above `hi`.
    pub const fn new(lo: u16, hi: u16) -> Option<Self> {
        if lo <= hi { Some(Self { lo, hi }) } else { None }
    }

    /// First port.
    pub const fn lo(self) -> u16 {
        self.lo
    }

    /// Last port.
    pub const fn hi(self) -> u16 {
        self.hi
    }

    /// Tells whether every port is in it.
    pub const fn is_any(self) -> bool {
        self.lo == 0 && self.hi == u16::MAX
    }
}

/// An inclusive address range of one family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct AddressRange {
    lo: IpAddr,
    hi: IpAddr,
}

impl AddressRange {
    /// Returns the range, or `None` when the families differ or `lo` is above `hi`.
    pub fn new(lo: IpAddr, hi: IpAddr) -> Option<Self> {
        (Family::of(lo) == Family::of(hi) && lo <= hi).then_some(Self { lo, hi })
    }

    /// Returns the range of a prefix; `None` when `prefix_bits` is longer than the address.
    pub fn prefix(addr: IpAddr, prefix_bits: u8) -> Option<Self> {
        let family = Family::of(addr);
        let host_bits = family.address_bits().checked_sub(prefix_bits)?;
        let host = if host_bits == 128 { u128::MAX } else { (1u128 << host_bits) - 1 };
        Some(match addr {
            IpAddr::V4(v4) => {
                let host = u32::try_from(host).ok()?;
                let lo = v4.to_bits() & !host;
                Self { lo: Ipv4Addr::from_bits(lo).into(), hi: Ipv4Addr::from_bits(lo | host).into() }
            }
            IpAddr::V6(v6) => {
                let lo = v6.to_bits() & !host;
                Self { lo: Ipv6Addr::from_bits(lo).into(), hi: Ipv6Addr::from_bits(lo | host).into() }
            }
        })
    }

    /// Returns every address of `family`.
    pub const fn any(family: Family) -> Self {
        match family {
            Family::V4 => Self { lo: IpAddr::V4(Ipv4Addr::UNSPECIFIED), hi: IpAddr::V4(Ipv4Addr::BROADCAST) },
            Family::V6 => {
                Self { lo: IpAddr::V6(Ipv6Addr::UNSPECIFIED), hi: IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)) }
            }
        }
    }

    /// First address.
    pub const fn lo(self) -> IpAddr {
        self.lo
    }

    /// Last address.
    pub const fn hi(self) -> IpAddr {
        self.hi
    }

    /// Returns the prefix length if the range is a prefix. Units: bits.
    pub fn prefix_bits(self) -> Option<u8> {
        let (differ, bits) = match (self.lo, self.hi) {
            (IpAddr::V4(lo), IpAddr::V4(hi)) => (u128::from(lo.to_bits() ^ hi.to_bits()), 32),
            (IpAddr::V6(lo), IpAddr::V6(hi)) => (lo.to_bits() ^ hi.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
        };
        let host_bits = u8::try_from(128 - differ.leading_zeros()).ok()?;
        (Self::prefix(self.lo, bits - host_bits) == Some(self)).then_some(bits - host_bits)
    }
}

/// A traffic selector: source, destination, protocol (0 = any) and ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SelectorRecord {
    src: AddressRange,
    dst: AddressRange,
    /// IP protocol; 0 is any.
    pub proto: u8,
    /// Source ports, or ICMP type.
    pub sport: PortRange,
    /// Destination ports, or ICMP code.
    pub dport: PortRange,
}

impl SelectorRecord {
    /// Returns the selector, or `None` when the two ranges are of different families.
    pub fn new(
        src: AddressRange,
        dst: AddressRange,
        proto: u8,
        sport: PortRange,
        dport: PortRange,
    ) -> Option<Self> {
        (Family::of(src.lo) == Family::of(dst.lo)).then_some(Self { src, dst, proto, sport, dport })
    }

    /// Returns the selector that holds every packet of `family`.
    pub const fn any(family: Family) -> Self {
        Self {
            src: AddressRange::any(family),
            dst: AddressRange::any(family),
            proto: 0,
            sport: PortRange::ANY,
            dport: PortRange::ANY,
        }
    }

    /// Returns the family.
    pub const fn family(&self) -> Family {
        Family::of(self.src.lo)
    }

    /// Returns the source range.
    pub const fn src(&self) -> AddressRange {
        self.src
    }

    /// Returns the destination range.
    pub const fn dst(&self) -> AddressRange {
        self.dst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_range_and_back() {
        for (text, bits) in
            [("10.1.2.3", 8), ("0.0.0.0", 0), ("192.0.2.1", 32), ("2001:db8::1", 64), ("::", 0)]
        {
            let range = AddressRange::prefix(text.parse().unwrap(), bits).unwrap();
            assert_eq!(range.prefix_bits(), Some(bits), "{text}/{bits}");
        }
        let range = AddressRange::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()).unwrap();
        assert_eq!(range.prefix_bits(), None);
    }

    #[test]
    fn a_range_upside_down_or_of_two_families_cannot_be_built() {
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap());
        assert_eq!(AddressRange::new(a, b), None);
        assert_eq!(AddressRange::new(b, "::1".parse().unwrap()), None);
        assert_eq!(AddressRange::prefix(a, 33), None);
        assert_eq!(PortRange::new(2, 1), None);
    }
}
