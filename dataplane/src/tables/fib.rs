//! Routes: longest prefix first, IPv4 and IPv6, immutable once built.

use std::collections::HashMap;
use std::net::IpAddr;

use super::topology::{Device, Prefix, Route, Topology};

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Port or interface it leaves by.
    pub device: Device,
    /// Next hop on a port; `None` where the destination itself is on the link.
    pub via: Option<IpAddr>,
}

/// The routes of one prefix length.
#[derive(Clone, Debug)]
struct Level {
    mask: u128,
    targets: HashMap<u128, Target>,
}

/// The forwarding information base of one snapshot.
#[derive(Clone, Debug, Default)]
pub struct Fib {
    /// Longest prefix first.
    v4: Vec<Level>,
    v6: Vec<Level>,
}

impl Fib {
    /// Builds the table from the static routes and the connected routes of the addresses.
    /// Where two routes have the same prefix, the first in the configuration wins; a static one beats a connected
    /// one.
    #[must_use]
    pub fn build(topology: &Topology) -> Self {
        let mut fib = Self::default();
        for route in topology.routes.iter().copied().chain(connected(topology)) {
            fib.insert(route);
        }
        for levels in [&mut fib.v4, &mut fib.v6] {
            levels.sort_by_key(|level| std::cmp::Reverse(level.mask));
        }
        fib
    }

    fn insert(&mut self, route: Route) {
        let (bits, mask) = (to_bits(route.to.addr), mask_of(route.to));
        let levels = if route.to.addr.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        let target = Target { device: route.device, via: route.via };
        let level = match levels.iter_mut().position(|level| level.mask == mask) {
            Some(at) => levels.get_mut(at),
            None => {
                levels.push(Level { mask, targets: HashMap::new() });
                levels.last_mut()
            }
        };
        if let Some(level) = level {
            level.targets.entry(bits & mask).or_insert(target);
        }
    }

    /// Returns where a packet to `destination` goes, or `None` without a route.
    #[must_use]
    pub fn lookup(&self, destination: IpAddr) -> Option<Target> {
        let bits = to_bits(destination);
        let levels = if destination.is_ipv4() { &self.v4 } else { &self.v6 };
        levels.iter().find_map(|level| level.targets.get(&(bits & level.mask)).copied())
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

/// IPv4 addresses take the low 32 bits.
fn to_bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(u32::from(addr)),
        IpAddr::V6(addr) => u128::from(addr),
    }
}

fn mask_of(prefix: Prefix) -> u128 {
    let bits = if prefix.addr.is_ipv4() { 32 } else { 128 };
    let host_bits = bits - u32::from(prefix.len).min(bits);
    let all = u128::MAX >> (128 - bits);
    u128::MAX.checked_shl(host_bits).unwrap_or(0) & all
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
    fn a_family_without_a_route_has_none_although_the_other_has_a_default() {
        let fib = Fib::build(&topology(&[("0.0.0.0/0", 1)]));
        assert_eq!(port_of(&fib, "2001:db8::1"), None);
        let fib = Fib::build(&topology(&[("::/0", 1), ("2001:db8::/32", 2)]));
        assert_eq!(port_of(&fib, "2001:db8::1"), Some(2));
        assert_eq!(port_of(&fib, "10.0.0.1"), None);
    }
}
