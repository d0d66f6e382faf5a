//! The peers of a row: one pair of SAs each, and who is behind them.
//!
//! One peer is a site, 10.2.0.0/16 behind 192.0.2.2. Many are single hosts, each behind an outer address of its own and
//! with policies of its own, as road warriors have them.

use std::net::Ipv4Addr;

/// Outer address of the gateway.
pub const OWN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The neighbor on the outer side: the peer itself, or the router to all of them.
pub const NEIGHBOR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The network behind the gateway.
pub const OURS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 1, 0, 0), 16);
/// The outer addresses of many peers.
pub const OUTER: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);
/// The hosts of many peers.
pub const HOSTS: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 128, 0, 0), 9);
const SITE: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 2, 0, 0), 16);

/// The peers of a row, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peers {
    /// How many there are; at most 100 000.
    pub count: u32,
}

impl Peers {
    /// Returns what is behind all of them, as address and prefix length.
    #[must_use]
    pub const fn networks(self) -> (Ipv4Addr, u8) {
        if self.count == 1 { SITE } else { HOSTS }
    }

    /// Returns what is behind one of them, as address and prefix length.
    #[must_use]
    pub fn network(self, peer: u32) -> (Ipv4Addr, u8) {
        if self.count == 1 { SITE } else { (Self::nth(HOSTS.0, peer), 32) }
    }

    /// Returns the outer address of one of them.
    #[must_use]
    pub fn outer(self, peer: u32) -> Ipv4Addr {
        if self.count == 1 { NEIGHBOR } else { Self::nth(OUTER.0, peer) }
    }

    /// Returns the request id that ties the SAs and policies of one of them together.
    #[must_use]
    pub const fn reqid(self, peer: u32) -> u32 {
        peer + 1
    }

    /// Returns the SPI of the SA to one of them, which it chose itself.
    #[must_use]
    pub const fn spi(self, peer: u32) -> u32 {
        0x0010_0001 + peer
    }

    /// Returns the SPI of the SA from one of them: its low 20 bits are its place in the SAD.
    #[must_use]
    pub const fn inbound_spi(self, peer: u32) -> u32 {
        0x5a50_0000 | peer
    }

    /// The first address is the network's own.
    fn nth(network: Ipv4Addr, peer: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(network.to_bits() + 1 + peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_many_peers_has_addresses_of_its_own_inside_the_networks() {
        let peers = Peers { count: 100_000 };
        let inside = |(network, bits): (Ipv4Addr, u8), address: Ipv4Addr| {
            network.to_bits() >> (32 - bits) == address.to_bits() >> (32 - bits)
        };
        for peer in [0, 255, 256, 65_535, 99_999] {
            assert!(inside(OUTER, peers.outer(peer)) && inside(HOSTS, peers.network(peer).0));
            assert_eq!(peers.network(peer).1, 32);
        }
        assert_ne!(peers.outer(256), peers.outer(257));
        assert_ne!(peers.spi(1), peers.spi(2));
    }

    #[test]
    fn one_peer_is_a_site_behind_the_neighbor() {
        let peers = Peers { count: 1 };
        assert_eq!((peers.outer(0), peers.network(0), peers.networks()), (NEIGHBOR, SITE, SITE));
    }
}
