//! What fits a path: the largest inner packet, and what becomes of one that is larger. RFC: 4301 section 8.2.1.

use crate::aead::ICV_OCTETS;
use crate::wire::esp::{ALIGN_OCTETS, HEADER_OCTETS, IV_OCTETS, TRAILER_OCTETS};
use crate::wire::ip::Ip;
use crate::wire::ipv6;

/// The smallest MTU that is told to an IPv4 sender. Units: octets. RFC: 791 section 3.2.
pub const MIN_IPV4_OCTETS: u16 = 68;

/// Returns the largest inner packet whose protected form fits `outer_mtu`; 0 when none does.
/// Units: octets; `outer_header_octets` counts IP and UDP. RFC: 4303 section 2.4, 4106 section 3.
#[must_use]
#[inline]
pub fn inner_mtu(outer_mtu: u16, outer_header_octets: usize) -> u16 {
    let around = outer_header_octets + HEADER_OCTETS + IV_OCTETS + ICV_OCTETS;
    let text = usize::from(outer_mtu).saturating_sub(around) / ALIGN_OCTETS * ALIGN_OCTETS;
    u16::try_from(text.saturating_sub(TRAILER_OCTETS)).unwrap_or(u16::MAX)
}

/// What becomes of a packet on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// It goes as it is.
    Whole,
    /// It is IPv4 that may be fragmented: it goes in pieces that fit the path each.
    Fragment,
    /// It is IPv6 and no longer than what any link must carry, but the path carries less: the protected packet is fragmented.
    FragmentOuter,
    /// It must not be fragmented: its sender is told the size and it is dropped.
    TooBig {
        /// What the sender is told. Units: octets.
        mtu: u16,
    },
}

/// Decides about a packet. Units of `mtu`: octets that the path carries, for a tunnel what [`inner_mtu`] says.
#[must_use]
#[inline]
pub fn fit(ip: &Ip<'_>, mtu: u16) -> Fit {
    let octets = ip.total_octets();
    if octets <= usize::from(mtu) {
        return Fit::Whole;
    }
    match ip {
        //= rfc4301#8.2.1
        Ip::V4(ip) if !ip.dont_fragment() && ip.header_octets() + 8 <= usize::from(mtu) => Fit::Fragment,
        Ip::V4(_) => Fit::TooBig { mtu: mtu.max(MIN_IPV4_OCTETS) },
        //= rfc8200#5
        Ip::V6(_) if octets <= usize::from(ipv6::MIN_MTU_OCTETS) => Fit::FragmentOuter,
        Ip::V6(_) => Fit::TooBig { mtu: mtu.max(ipv6::MIN_MTU_OCTETS) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Proto, ipv4};

    fn v4(octets: u16, dont_fragment: bool) -> Vec<u8> {
        let repr = ipv4::Repr {
            src: [10, 1, 0, 1].into(),
            dst: [10, 2, 0, 1].into(),
            proto: Proto::UDP,
            tos: 0,
            ttl: 64,
            ident: 1,
            dont_fragment,
            total_octets: octets,
        };
        let mut packet = repr.emit().to_vec();
        packet.resize(octets.into(), 0);
        packet
    }

    fn v6(octets: u16) -> Vec<u8> {
        let (src, dst) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let repr = ipv6::Repr {
            src,
            dst,
            next: Proto::UDP,
            traffic_class: 0,
            flow_label: 0,
            hop_limit: 64,
            payload_octets: octets - 40,
        };
        let mut packet = repr.emit().to_vec();
        packet.resize(octets.into(), 0);
        packet
    }

    #[test]
    fn an_ipv4_tunnel_over_1500_octets_carries_1446() {
        assert_eq!(inner_mtu(1500, 20), 1446);
        assert_eq!(inner_mtu(1500, 28), 1438);
        assert_eq!(inner_mtu(1500, 40), 1426);
        assert_eq!(inner_mtu(50, 20), 0);
    }

    #[test]
    fn ipv4_is_fragmented_unless_it_says_no() {
        let fit = |octets, df| super::fit(&Ip::parse(&v4(octets, df)).unwrap(), 1400);
        assert_eq!(fit(1400, true), Fit::Whole);
        assert_eq!(fit(1401, false), Fit::Fragment);
        assert_eq!(fit(1401, true), Fit::TooBig { mtu: 1400 });
    }

    #[test]
    fn ipv6_is_told_no_less_than_1280() {
        let fit = |octets, mtu| super::fit(&Ip::parse(&v6(octets)).unwrap(), mtu);
        assert_eq!(fit(1400, 1400), Fit::Whole);
        assert_eq!(fit(1401, 1400), Fit::TooBig { mtu: 1400 });
        assert_eq!(fit(1300, 1200), Fit::TooBig { mtu: 1280 });
        assert_eq!(fit(1280, 1200), Fit::FragmentOuter);
    }
}
