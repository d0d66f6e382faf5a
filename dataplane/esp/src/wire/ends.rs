//! The two ends of an IP packet, in words that are compared at once.

use core::net::IpAddr;

use super::ip::Family;

/// Source and destination. Octets within the words are in the order of the packet.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    src: [u64; 2],
    dst: [u64; 2],
    family: Family,
}

impl Ends {
    /// Reads source and destination of an IPv4 header.
    #[must_use]
    #[inline]
    pub const fn of4(addresses: [[u8; 4]; 2]) -> Self {
        let [src, dst] = addresses;
        Self { src: [word(src), 0], dst: [word(dst), 0], family: Family::V4 }
    }

    /// Reads source and destination of an IPv6 header.
    #[must_use]
    #[inline]
    pub const fn of6(addresses: [[u8; 16]; 2]) -> Self {
        let [src, dst] = addresses;
        Self { src: words(src), dst: words(dst), family: Family::V6 }
    }

    /// Returns the ends of a packet between two addresses; `None` when they are of different families.
    #[must_use]
    pub const fn between(src: IpAddr, dst: IpAddr) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Self::of4([src.octets(), dst.octets()])),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Self::of6([src.octets(), dst.octets()])),
            _ => None,
        }
    }

    /// Returns the source.
    #[must_use]
    #[inline]
    pub fn src(&self) -> IpAddr {
        address(self.src, self.family)
    }

    /// Returns the destination.
    #[must_use]
    #[inline]
    pub fn dst(&self) -> IpAddr {
        address(self.dst, self.family)
    }

    /// Whether both are to the same destination.
    #[must_use]
    #[inline]
    pub fn dst_is_of(&self, other: &Self) -> bool {
        let ([a, b], [c, d]) = (self.dst, other.dst);
        (a ^ c) | (b ^ d) == 0 && self.family == other.family
    }

    /// Whether `address` is the source.
    #[must_use]
    #[inline]
    pub fn is_from(&self, address: IpAddr) -> bool {
        is(self.src, self.family, address)
    }

    /// Whether `address` is the destination.
    #[must_use]
    #[inline]
    pub fn is_to(&self, address: IpAddr) -> bool {
        is(self.dst, self.family, address)
    }
}

impl PartialEq for Ends {
    /// Without a branch for each word.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let ([a, b], [c, d], [e, f], [g, h]) = (self.src, self.dst, other.src, other.dst);
        (a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) == 0 && self.family == other.family
    }
}

impl Eq for Ends {}

#[inline]
const fn word(octets: [u8; 4]) -> u64 {
    u32::from_ne_bytes(octets) as u64
}

#[inline]
const fn words(octets: [u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = octets;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)]
}

#[inline]
fn address([first, second]: [u64; 2], family: Family) -> IpAddr {
    match family {
        #[allow(clippy::cast_possible_truncation, reason = "an IPv4 address is all there is in the word")]
        Family::V4 => IpAddr::from((first as u32).to_ne_bytes()),
        Family::V6 => {
            let ([a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]) =
                (first.to_ne_bytes(), second.to_ne_bytes());
            IpAddr::from([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
        }
    }
}

#[inline]
fn is([first, second]: [u64; 2], family: Family, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => family == Family::V4 && first == word(address.octets()),
        IpAddr::V6(address) => family == Family::V6 && [first, second] == words(address.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ends_are_the_addresses_they_were_made_of(
            addresses in any::<(IpAddr, IpAddr)>(),
            others in any::<(IpAddr, IpAddr)>(),
        ) {
            let (src, dst) = addresses;
            prop_assert_eq!(Ends::between(src, dst).is_some(), src.is_ipv4() == dst.is_ipv4());
            if let Some(ends) = Ends::between(src, dst) {
                prop_assert_eq!((ends.src(), ends.dst()), addresses);
                prop_assert!(ends.is_from(src) && ends.is_to(dst));
                prop_assert_eq!((ends.is_from(others.0), ends.is_to(others.1)), (others.0 == src, others.1 == dst));
                if let Some(other) = Ends::between(others.0, others.1) {
                    prop_assert_eq!(ends == other, addresses == others);
                }
            }
        }
    }

    #[test]
    fn one_octet_of_either_end_tells_ends_apart() {
        for (at, v6) in (0..8).map(|at| (at, false)).chain((0..32).map(|at| (at, true))) {
            let mut octets = [[7_u8; 16]; 2];
            let made = |octets: [[u8; 16]; 2]| {
                let four = octets.map(|end| [end[0], end[1], end[2], end[3]]);
                if v6 { Ends::of6(octets) } else { Ends::of4(four) }
            };
            let before = made(octets);
            let width = if v6 { 16 } else { 4 };
            octets[at / width][at % width] ^= 0x10;
            assert_ne!(before, made(octets), "octet {at}, IPv6 {v6}");
            assert_eq!(before.is_from(made(octets).src()), at / width == 1);
            assert_eq!(before.is_to(made(octets).dst()), at / width == 0);
        }
    }

    #[test]
    fn an_ipv4_address_is_not_the_ipv6_address_with_its_octets() {
        let (four, six) = (Ends::of4([[1, 2, 3, 4]; 2]), {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&[1, 2, 3, 4]);
            Ends::of6([octets; 2])
        });
        assert_ne!(four, six);
        assert!(!four.is_to(six.dst()) && !six.is_to(four.dst()));
    }
}
