//! Next hops as a worker needs them: a port and an Ethernet address, in one word that is never torn.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::hash::{SEEDS, bits, fold};
use super::topology::Mac;
use super::trie::Trie;
use crate::ports::PortId;

/// State of the way to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// No route leads to it by a port.
    NoRoute,
    /// The port is known, the neighbor's Ethernet address is not.
    Unresolved(PortId),
    /// Everything is known.
    Resolved(PortId, Mac),
}

/// The way to one tunnel peer, shared by all its outbound SAs: resolved by the control thread when routes or
/// neighbors change, read by workers once per burst and SA.
#[derive(Debug)]
pub struct HopCell {
    /// Outer destination the cell is about.
    pub destination: IpAddr,
    word: AtomicU64,
}

const NO_ROUTE: u64 = u64::MAX;
const MAC_BITS: u32 = 48;

impl HopCell {
    /// Makes a cell without a route.
    #[must_use]
    pub fn new(destination: IpAddr) -> Self {
        Self { destination, word: AtomicU64::new(NO_ROUTE) }
    }

    /// Returns the way.
    #[must_use]
    #[inline]
    pub fn load(&self) -> Hop {
        let word = self.word.load(Ordering::Relaxed);
        if word == NO_ROUTE {
            return Hop::NoRoute;
        }
        let [high, low, mac @ ..] = word.to_be_bytes();
        let port = PortId(u16::from_be_bytes([high, low]));
        if mac == [0; 6] { Hop::Unresolved(port) } else { Hop::Resolved(port, mac) }
    }

    /// Starts to load the way.
    #[inline]
    pub fn prefetch(&self) {
        dpdk::prefetch(&self.word);
    }

    /// Stores the way.
    pub fn store(&self, hop: Hop) {
        let word = match hop {
            Hop::NoRoute => NO_ROUTE,
            Hop::Unresolved(port) => u64::from(port.0) << MAC_BITS,
            Hop::Resolved(port, mac) => {
                let [p0, p1] = port.0.to_be_bytes();
                let [m0, m1, m2, m3, m4, m5] = mac;
                u64::from_be_bytes([p0, p1, m0, m1, m2, m3, m4, m5])
            }
        };
        self.word.store(word, Ordering::Relaxed);
    }
}

/// A neighbor: the port it is on and its address.
type Neighbor = (PortId, IpAddr);

/// Ethernet addresses of the neighbors on the ports.
#[derive(Clone, Debug, Default)]
pub struct Neighbors(Trie<(Neighbor, Mac)>);

impl Neighbors {
    /// Returns the Ethernet address of a neighbor.
    #[must_use]
    #[inline]
    pub fn get(&self, neighbor: &Neighbor) -> Option<&Mac> {
        self.0.get(hash(neighbor)).find(|(known, _)| known == neighbor).map(|(_, mac)| mac)
    }

    /// Whether the Ethernet address of a neighbor is known.
    #[must_use]
    pub fn contains_key(&self, neighbor: &Neighbor) -> bool {
        self.get(neighbor).is_some()
    }

    /// Notes the Ethernet address of a neighbor.
    pub fn insert(&mut self, neighbor: Neighbor, mac: Mac) {
        self.remove(&neighbor);
        self.0.insert(hash(&neighbor), (neighbor, mac), |_| false);
    }

    /// Forgets a neighbor.
    pub fn remove(&mut self, neighbor: &Neighbor) {
        self.0.remove(hash(neighbor), |(known, _)| known == neighbor);
    }

    /// Number of neighbors known.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no neighbor is known.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[inline]
fn hash((port, ip): &Neighbor) -> u64 {
    let [one, two, ..] = SEEDS;
    fold(bits(*ip), one, two ^ u64::from(port.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_comes_back_as_it_was_stored() {
        let cell = HopCell::new(IpAddr::from([192, 0, 2, 2]));
        assert_eq!(cell.load(), Hop::NoRoute);
        for hop in [
            Hop::Unresolved(PortId(3)),
            Hop::Resolved(PortId(0), [2, 0, 0, 0, 0, 9]),
            Hop::Resolved(PortId(0x7fff), [0xff; 6]),
            Hop::NoRoute,
        ] {
            cell.store(hop);
            assert_eq!(cell.load(), hop);
        }
    }
}
