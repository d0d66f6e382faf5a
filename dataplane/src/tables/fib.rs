//! Routes: longest prefix first, IPv4 and IPv6, immutable once built.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use super::topology::{Device, Prefix, Route, Topology};

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Port or interface it leaves by.
    pub device: Device,
    /// Next hop on a port; `None` where the destination itself is on the link.
    pub via: Option<IpAddr>,
}

/// The routes of one prefix length; `B` is an address as a number.
#[derive(Clone, Debug)]
struct Level<B> {
    mask: B,
    targets: FxHashMap<B, Target>,
}

/// Routes up to which comparing with each is quicker than a hash per prefix length.
const FEW: usize = 16;

/// The routes of one family, longest prefix first: few are compared with one by one, many are looked up by level.
#[derive(Clone, Debug)]
struct Levels<B> {
    /// Mask, prefix and target; empty where there are more than [`FEW`].
    few: Vec<(B, B, Target)>,
    levels: Vec<Level<B>>,
}

impl<B> Default for Levels<B> {
    fn default() -> Self {
        Self { few: Vec::new(), levels: Vec::new() }
    }
}

impl<B: Copy + Ord + std::hash::Hash + std::ops::BitAnd<Output = B>> Levels<B> {
    fn insert(&mut self, bits: B, mask: B, target: Target) {
        let level = match self.levels.iter_mut().position(|level| level.mask == mask) {
            Some(at) => self.levels.get_mut(at),
            None => {
                self.levels.push(Level { mask, targets: FxHashMap::default() });
                self.levels.last_mut()
            }
        };
        if let Some(level) = level {
            level.targets.entry(bits & mask).or_insert(target);
        }
    }

    /// Puts the longest prefix first; after the last route.
    fn sort(&mut self) {
        self.levels.sort_by_key(|level| std::cmp::Reverse(level.mask));
        let all = self
            .levels
            .iter()
            .flat_map(|level| level.targets.iter().map(|(prefix, target)| (level.mask, *prefix, *target)));
        let all: Vec<_> = all.collect();
        if all.len() <= FEW {
            self.few = all;
            self.levels.clear();
        }
    }

    #[inline]
    fn lookup(&self, bits: B) -> Option<&Target> {
        let few = self.few.iter().find(|(mask, prefix, _)| bits & *mask == *prefix);
        let found = few.map(|(_, _, target)| target);
        found.or_else(|| self.levels.iter().find_map(|level| level.targets.get(&(bits & level.mask))))
    }
}

/// The forwarding information base of one snapshot.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    v4: Levels<u32>,
    v6: Levels<u128>,
}

impl Fib {
    /// Builds the table from the static routes and the connected routes of the addresses.
    /// Where two routes have the same prefix, the first in the configuration wins; a static one beats a connected
    /// one.
    #[must_use]
    pub fn build(topology: &Topology) -> Self {
        let mut fib = Self::default();
        for route in topology.routes.iter().copied().chain(connected(topology)) {
            let target = Target { device: route.device, via: route.via };
            match route.to.addr {
                IpAddr::V4(addr) => fib.v4.insert(addr.to_bits(), mask4(route.to), target),
                IpAddr::V6(addr) => fib.v6.insert(addr.to_bits(), mask6(route.to), target),
            }
        }
        fib.v4.sort();
        fib.v6.sort();
        fib
    }

    /// Returns where a packet to `destination` goes, or `None` without a route.
    #[must_use]
    #[inline]
    pub fn lookup(&self, destination: IpAddr) -> Option<&Target> {
        match destination {
            IpAddr::V4(addr) => self.v4.lookup(addr.to_bits()),
            IpAddr::V6(addr) => self.v6.lookup(addr.to_bits()),
        }
    }
}

fn connected(topology: &Topology) -> impl Iterator<Item = Route> {
    let index = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
    let ports = topology.ports.iter().enumerate().flat_map(move |(at, port)| {
        port.addresses.iter().map(move |&to| (to, Device::Port(crate::ports::PortId(index(at)))))
    });
    let interfaces = topology.interfaces.iter().enumerate().flat_map(move |(at, interface)| {
        interface
            .addresses
            .iter()
            .map(move |&to| (to, Device::Interface(crate::ports::InterfaceId(index(at)))))
    });
    ports.chain(interfaces).map(|(to, device)| Route { to, via: None, device })
}

fn mask4(prefix: Prefix) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.len).min(32)).unwrap_or(0)
}

fn mask6(prefix: Prefix) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix.len).min(128)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::topology::Port;
    use super::*;
    use crate::ports::PortId;

    fn prefix(text: &str) -> Prefix {
        let (addr, len) = text.split_once('/').unwrap();
        Prefix { addr: addr.parse().unwrap(), len: len.parse().unwrap() }
    }

    fn topology(routes: &[(&str, u16)]) -> Topology {
        let routes = routes
            .iter()
            .map(|(to, port)| Route { to: prefix(to), via: None, device: Device::Port(PortId(*port)) })
            .collect();
        let port =
            Port { name: "wan".into(), mac: [0; 6], mtu: 1500, addresses: vec![prefix("192.0.2.1/24")] };
        Topology { ports: vec![port], routes, ..Topology::default() }
    }

    fn port_of(fib: &Fib, to: &str) -> Option<u16> {
        fib.lookup(to.parse().unwrap()).map(|target| match target.device {
            Device::Port(port) => port.0,
            Device::Interface(_) => panic!("a port was configured"),
        })
    }

    #[test]
    fn the_longest_prefix_wins_whatever_the_order() {
        let fib = Fib::build(&topology(&[("0.0.0.0/0", 7), ("10.1.2.0/24", 9), ("10.0.0.0/8", 8)]));
        assert_eq!(port_of(&fib, "10.1.2.3"), Some(9));
        assert_eq!(port_of(&fib, "10.9.2.3"), Some(8));
        assert_eq!(port_of(&fib, "172.16.0.1"), Some(7));
        assert_eq!(port_of(&fib, "192.0.2.77"), Some(0), "connected");
    }

    #[test]
    fn many_routes_are_looked_up_as_few_are() {
        let many: Vec<_> = (0..200_u16).map(|n| (format!("10.{n}.0.0/16"), n)).collect();
        let mut all: Vec<_> = many.iter().map(|(to, port)| (to.as_str(), *port)).collect();
        all.extend([("10.7.3.0/24", 300), ("0.0.0.0/0", 400)]);
        let fib = Fib::build(&topology(&all));
        for (to, port) in [("10.7.3.9", 300), ("10.7.4.9", 7), ("10.199.0.1", 199), ("11.0.0.1", 400)] {
            assert_eq!(port_of(&fib, to), Some(port), "{to}");
        }
    }

    #[test]
    fn a_family_without_a_route_has_none_although_the_other_has_a_default() {
        let fib = Fib::build(&topology(&[("0.0.0.0/0", 1)]));
        assert_eq!(port_of(&fib, "2001:db8::1"), None);
        let fib = Fib::build(&topology(&[("::/0", 1), ("2001:db8::/32", 2)]));
        assert_eq!(port_of(&fib, "2001:db8::1"), Some(2));
        assert_eq!(port_of(&fib, "10.0.0.1"), None);
    }
}
