//! Next hops as a worker needs them: a port and an Ethernet address, in one word that is never torn.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use super::hash::{SEEDS, bits, fold};
use super::topology::Mac;
use super::trie::Trie;
use crate::ports::PortId;

/// A port and a station on it, in one word that is compared at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next(u64);

impl Next {
    /// Names a station; its address is not all zeros.
    #[must_use]
    #[inline]
    pub const fn new(port: PortId, mac: Mac) -> Self {
        let ([a, b], [c, d, e, f, g, h]) = (port.0.to_be_bytes(), mac);
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Returns the port.
    #[must_use]
    #[inline]
    #[allow(clippy::cast_possible_truncation, reason = "16 bits are left")]
    pub const fn port(self) -> PortId {
        PortId((self.0 >> MAC_BITS) as u16)
    }

    /// Returns the station's Ethernet address.
    #[must_use]
    #[inline]
    pub const fn mac(self) -> Mac {
        let [_, _, mac @ ..] = self.0.to_be_bytes();
        mac
    }
}

/// State of the way to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hop {
    /// No route leads to it by a port.
    NoRoute,
    /// The port is known, the neighbor's Ethernet address is not.
    Unresolved(PortId),
    /// Everything is known.
    Resolved(Next),
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
const MAC_MASK: u64 = (1 << MAC_BITS) - 1;

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
        let next = Next(self.word.load(Ordering::Relaxed));
        match next {
            Next(NO_ROUTE) => Hop::NoRoute,
            Next(word) if word & MAC_MASK == 0 => Hop::Unresolved(next.port()),
            next => Hop::Resolved(next),
        }
    }

    /// Returns the way if everything of it is known.
    #[must_use]
    #[inline]
    pub fn next(&self) -> Option<Next> {
        match self.load() {
            Hop::Resolved(next) => Some(next),
            Hop::Unresolved(_) | Hop::NoRoute => None,
        }
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
            Hop::Resolved(Next(word)) => word,
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
            Hop::Resolved(Next::new(PortId(0), [2, 0, 0, 0, 0, 9])),
            Hop::Resolved(Next::new(PortId(0x7fff), [0xff; 6])),
            Hop::NoRoute,
        ] {
            cell.store(hop);
            assert_eq!(cell.load(), hop);
            let next = if let Hop::Resolved(next) = hop { Some(next) } else { None };
            assert_eq!(cell.next(), next);
        }
    }
}
