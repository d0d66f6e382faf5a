//! Selectors as policies keep them: a gateway has three for each pair of SAs, nearly all of IPv4.

use core::fmt;

use super::{Bits, Selector, Upper};
use crate::wire::{Family, FlowKey};

/// A selector in as few octets as the addresses of its family need.
#[derive(Clone, PartialEq, Eq)]
pub struct Compact(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    /// First and last address of source and destination, as numbers.
    V4 {
        src: (u32, u32),
        dst: (u32, u32),
        upper: Upper,
    },
    V6(Box<Selector>),
}

impl Compact {
    /// Tells whether a packet is one that the selector is about.
    #[must_use]
    #[inline]
    pub fn matches(&self, flow: &FlowKey) -> bool {
        match &self.0 {
            Kind::V4 { src, dst, upper } => {
                let within = |address: &core::net::IpAddr, (lo, hi): (u32, u32)| match address {
                    core::net::IpAddr::V4(address) => (lo..=hi).contains(&address.to_bits()),
                    core::net::IpAddr::V6(_) => false,
                };
                within(&flow.src, *src) && within(&flow.dst, *dst) && upper.matches(flow)
            }
            Kind::V6(selector) => selector.matches(flow),
        }
    }

    /// Returns the selector.
    #[must_use]
    pub fn selector(&self) -> Selector {
        let wide = |(lo, hi): (u32, u32)| (Bits::new(lo.into()), Bits::new(hi.into()));
        match &self.0 {
            Kind::V4 { src, dst, upper } => {
                Selector { family: Family::V4, src: wide(*src), dst: wide(*dst), upper: *upper }
            }
            Kind::V6(selector) => **selector,
        }
    }
}

impl From<Selector> for Compact {
    #[allow(clippy::cast_possible_truncation, reason = "a range of IPv4 was made from 32-bit addresses")]
    fn from(selector: Selector) -> Self {
        let narrow = |(lo, hi): (Bits, Bits)| (lo.get() as u32, hi.get() as u32);
        let Selector { family, src, dst, upper } = selector;
        Self(match family {
            Family::V4 => Kind::V4 { src: narrow(src), dst: narrow(dst), upper },
            Family::V6 => Kind::V6(Box::new(selector)),
        })
    }
}

impl fmt::Debug for Compact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.selector().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::selector::{AddressRange, PortRange};
    use crate::wire::Proto;

    fn address(v6: bool, low: u32) -> core::net::IpAddr {
        if v6 {
            core::net::Ipv6Addr::from_bits(0x2001 << 112 | u128::from(low)).into()
        } else {
            core::net::Ipv4Addr::from_bits(low).into()
        }
    }

    proptest! {
        #[test]
        fn it_says_of_every_packet_what_the_selector_says(
            (v6, flow_v6, fragment) in any::<(bool, bool, bool)>(),
            (src, dst, near) in (0..4_u32, 0..4_u32, 0..3_u32),
            (proto, port, sport, dport) in (0..2_u8, 0..3_u16, 0..3_u16, 0..3_u16),
            (from, to) in (0..7_u32, 0..7_u32),
        ) {
            let range = |lo: u32| AddressRange::new(address(v6, lo), address(v6, lo + near)).unwrap();
            let ports = |port: u16| if port == 0 { PortRange::ANY } else { PortRange::one(port) };
            let selector =
                Selector::new(range(src), range(dst), Proto(proto), ports(sport), ports(dport)).unwrap();
            let compact = Compact::from(selector);
            prop_assert_eq!(compact.selector(), selector);
            let (src, dst) = (address(flow_v6, from), address(flow_v6, to));
            let flow = FlowKey { src, dst, proto: Proto(1), sport: port, dport: port, fragment };
            prop_assert_eq!(compact.matches(&flow), selector.matches(&flow));
        }
    }

    #[test]
    fn one_of_ipv4_takes_32_octets() {
        assert_eq!(size_of::<Compact>(), 32);
    }
}
