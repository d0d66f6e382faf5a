//! The priority of a policy, as charon's kernel-netlink computes it, so that a configuration orders its
//! policies
//! here as it does over the Linux kernel. Lower wins.

use std::net::IpAddr;

/// The class charon installs a policy under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Passes or blocks traffic ahead of every tunnel.
    Pass,
    /// Belongs to an established CHILD_SA.
    Default,
    /// A trap.
    Routed,
    /// Catches what would leak while a tunnel is rebuilt.
    Fallback,
}

/// Returns the priority of a policy of `class` on a selector with these prefix and port mask lengths.
pub fn of(class: Class, prefix_bits: u32, has_protocol: bool, port_bits: u32, has_interface: bool) -> u32 {
    let base = match class {
        Class::Pass => BASE,
        Class::Default | Class::Routed => 2 * BASE,
        Class::Fallback => 3 * BASE,
    };
    base - prefix_bits.min(256) * 512
        - u32::from(has_protocol) * 256
        - port_bits.min(32) * 4
        - u32::from(has_interface) * 2
        - u32::from(class != Class::Routed)
}

/// Returns the length of the smallest prefix that holds the address range `lo..=hi`.
pub fn prefix_bits(lo: IpAddr, hi: IpAddr) -> u32 {
    match (lo, hi) {
        (IpAddr::V4(lo), IpAddr::V4(hi)) => (lo.to_bits() ^ hi.to_bits()).leading_zeros(),
        (IpAddr::V6(lo), IpAddr::V6(hi)) => (lo.to_bits() ^ hi.to_bits()).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
    }
}

/// Returns the number of leading bits that all ports of `lo..=hi` share.
pub fn port_bits(lo: u16, hi: u16) -> u32 {
    (lo ^ hi).leading_zeros()
}

const BASE: u32 = 200_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_of_24_prefixes_has_the_priority_charon_shows() {
        assert_eq!(of(Class::Default, 48, false, 0, false), 375_423);
        assert_eq!(of(Class::Routed, 48, false, 0, false), 375_424);
    }

    #[test]
    fn the_narrowest_and_the_widest_selector_bound_the_range() {
        assert_eq!(of(Class::Pass, 256, true, 32, true), 68_541);
        assert_eq!(of(Class::Routed, 0, false, 0, false), 400_000);
        assert_eq!(of(Class::Fallback, 0, false, 0, false), 599_999);
    }

    #[test]
    fn a_range_counts_as_the_prefix_that_holds_it() {
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        assert_eq!(prefix_bits(ip("10.0.0.0"), ip("10.0.0.255")), 24);
        assert_eq!(prefix_bits(ip("10.0.0.1"), ip("10.0.0.1")), 32);
        assert_eq!(prefix_bits(ip("10.0.0.1"), ip("10.0.0.2")), 30);
        assert_eq!(prefix_bits(ip("::"), ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")), 0);
        assert_eq!(port_bits(0, 65535), 0);
        assert_eq!(port_bits(500, 500), 16);
        assert_eq!(port_bits(1024, 2047), 6);
    }
}
