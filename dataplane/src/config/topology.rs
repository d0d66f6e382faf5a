//! From the configuration to the packet path's [`Topology`], with interface ids that outlive a reload.

use super::Config;
use crate::ports::{InterfaceId, PortId};
use crate::tables::topology::{self, Device, Mac, Topology};

impl Config {
    /// Builds the topology. `macs` are the ports' Ethernet addresses in order.
    ///
    /// An interface keeps the id it has in `before`, found by its `if_id`, because packets on their way to the
    /// host carry ids; one that is gone keeps its place without name, addresses and routes.
    #[must_use]
    pub fn topology(&self, macs: &[Mac], before: Option<&Topology>) -> Topology {
        let interfaces = self.interfaces(before);
        Topology {
            ports: self.ports.iter().zip(macs).map(|(port, mac)| port.topology(*mac)).collect(),
            routes: self.routes.iter().filter_map(|route| self.route(route, &interfaces)).collect(),
            interfaces,
            neighbors: self.neighbours.iter().filter_map(|neighbour| self.neighbour(neighbour)).collect(),
            unprotected: self.engine.unprotected,
            netdevs: self.engine.netdevs,
            min_replay_window: self.engine.min_replay_window.pkts(),
        }
    }

    fn interfaces(&self, before: Option<&Topology>) -> Vec<topology::Interface> {
        let old = before.map_or(&[][..], |topology| &topology.interfaces);
        let mut interfaces: Vec<topology::Interface> = old.iter().map(without_use).collect();
        for interface in &self.interfaces {
            let new = interface.topology();
            match interfaces.iter_mut().find(|old| old.if_id == new.if_id) {
                Some(place) => *place = new,
                None => interfaces.push(new),
            }
        }
        interfaces
    }

    fn route(&self, route: &super::Route, interfaces: &[topology::Interface]) -> Option<topology::Route> {
        let interface = || interfaces.iter().position(|interface| interface.name == route.dev.as_str());
        let port = self.port_index(&route.dev).map(|index| Device::Port(port_id(index)));
        let device = port.or_else(|| interface().map(|index| Device::Interface(interface_id(index))))?;
        Some(topology::Route { to: route.to, via: route.via, device })
    }

    fn neighbour(&self, neighbour: &super::Neighbour) -> Option<topology::Neighbor> {
        let port = port_id(self.port_index(&neighbour.port)?);
        Some(topology::Neighbor { port, ip: neighbour.ip, mac: neighbour.mac })
    }
}

impl super::Port {
    fn topology(&self, mac: Mac) -> topology::Port {
        topology::Port {
            name: self.name.to_string(),
            mac,
            mtu: self.mtu.octets(),
            addresses: self.addresses.clone(),
        }
    }
}

impl super::Interface {
    fn topology(&self) -> topology::Interface {
        topology::Interface {
            name: self.name.to_string(),
            if_id: self.if_id,
            mtu: self.mtu.map(super::Mtu::octets),
            addresses: self.addresses.clone(),
            spread: self.spread,
            mss_clamp: self.mss_clamp.map(super::SegmentSize::octets),
        }
    }
}

/// Whether an interface only keeps the place of one that was taken away.
#[must_use]
pub(crate) fn is_vacant(interface: &topology::Interface) -> bool {
    interface.name.is_empty()
}

/// Returns the id of the port at a position.
#[must_use]
pub(crate) fn port_id(index: usize) -> PortId {
    PortId(u16::try_from(index).unwrap_or(u16::MAX))
}

/// Returns the id of the interface at a position.
#[must_use]
pub(crate) fn interface_id(index: usize) -> InterfaceId {
    InterfaceId(u16::try_from(index).unwrap_or(u16::MAX))
}

fn without_use(interface: &topology::Interface) -> topology::Interface {
    topology::Interface { name: String::new(), addresses: Vec::new(), ..interface.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::NetdevName;
    use super::super::tests::{EXAMPLE, parse};
    use super::*;

    const MACS: [Mac; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

    #[test]
    fn routes_lead_to_ports_and_interfaces_by_name() {
        let topology = parse(EXAMPLE).unwrap().topology(&MACS, None);
        let devices: Vec<Device> = topology.routes.iter().map(|route| route.device).collect();
        assert_eq!(devices, [Device::Interface(InterfaceId(0)), Device::Port(PortId(0))]);
        assert_eq!(topology.neighbors[0].port, PortId(0));
    }

    #[test]
    fn an_interface_keeps_its_id_when_another_goes() {
        let two = format!("{EXAMPLE}\n[[interface]]\nname = \"b\"\nif_id = 2\n");
        let before = parse(&two).unwrap().topology(&MACS, None);
        let one = two
            .replace("name      = \"ipsec1\"\nif_id     = 1", "name = \"c\"\nif_id = 3")
            .replace("\"ipsec1\"", "\"c\"");
        let after = parse(&one).unwrap().topology(&MACS, Some(&before));
        let ids: Vec<(&str, u32)> =
            after.interfaces.iter().map(|interface| (interface.name.as_str(), interface.if_id.0)).collect();
        assert_eq!(ids, [("", 1), ("b", 2), ("c", 3)]);
        assert!(is_vacant(&after.interfaces[0]));
    }

    #[test]
    fn a_name_is_never_empty_in_a_file() {
        assert!(NetdevName::parse("").is_err());
    }
}
