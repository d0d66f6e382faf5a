//! The configuration of a gateway of the tests.

use dataplane::ports::{InterfaceId, PortId};
use dataplane::tables::topology::{Device, Interface, Neighbor, Port, Prefix, Route, Topology};

use super::octets::{MAC, OWN_MAC};

pub(crate) fn prefix(text: &str) -> Prefix {
    let (addr, len) = text.split_once('/').unwrap();
    Prefix { addr: addr.parse().unwrap(), len: len.parse().unwrap() }
}

pub(crate) fn route(to: &str, device: Device) -> Route {
    Route { to: prefix(to), via: None, device }
}

/// Gateway `own` of 1 to 3; the other two are behind the interfaces `ipsec1` and `ipsec2`, in order of number; the
/// networks 10.`n`.1.0/24 of gateway `n` are reached by the WAN port, for policies without interface.
pub(crate) fn site(own: u8) -> Topology {
    let others: Vec<u8> = (1..=3).filter(|other| *other != own).collect();
    let port = |name: &str, addresses: &[String]| Port {
        name: name.into(),
        mac: OWN_MAC,
        mtu: 1500,
        addresses: addresses.iter().map(|address| prefix(address)).collect(),
    };
    let lan = [format!("10.{own}.0.1/24"), format!("10.{own}.1.1/24"), format!("2001:db8:{own}::1/64")];
    let wan = [format!("192.0.2.{own}/24"), format!("2001:db8:9::{own}/64")];
    let interface = |if_id: u32| Interface {
        name: format!("ipsec{if_id}"),
        if_id: esp::IfId(if_id),
        mtu: None,
        addresses: vec![prefix(&format!("10.9{if_id}.0.{own}/24"))],
        spread: false,
        mss_clamp: None,
    };
    let mut routes = Vec::new();
    for (index, other) in (0..).zip(&others) {
        let into = Device::Interface(InterfaceId(index));
        routes.push(route(&format!("10.{other}.0.0/24"), into));
        routes.push(route(&format!("2001:db8:{other}::/64"), into));
        let via = Some(format!("192.0.2.{other}").parse().unwrap());
        routes.push(Route { via, ..route(&format!("10.{other}.1.0/24"), Device::Port(PortId(1))) });
    }
    Topology {
        ports: vec![port("lan", &lan), port("wan", &wan)],
        interfaces: vec![interface(1), interface(2)],
        routes,
        neighbors: neighbors(own, &others),
        ..Topology::default()
    }
}

fn neighbors(own: u8, others: &[u8]) -> Vec<Neighbor> {
    let at = |port: u16, ip: String| Neighbor { port: PortId(port), ip: ip.parse().unwrap(), mac: MAC };
    let hosts = [format!("10.{own}.0.9"), format!("10.{own}.1.9"), format!("2001:db8:{own}::9")];
    let peers = others.iter().flat_map(|n| [format!("192.0.2.{n}"), format!("2001:db8:9::{n}")]);
    hosts.map(|ip| at(0, ip)).into_iter().chain(peers.map(|ip| at(1, ip))).collect()
}
