//! What a gateway in memory is made of: its topology, its workers.

use dataplane::ports::{InterfaceId, PortId};
use dataplane::tables::topology::{Device, Interface, Neighbor, Port, Prefix, Route, Topology};

use crate::gateway::{Gateway, LAN, WAN};
use crate::records::{Side, Tunnel};
use crate::wire::{Mac, ip};

/// What a gateway is made of.
pub(crate) struct Plan {
    pub(crate) side: Side,
    pub(crate) topology: Topology,
    pub(crate) workers: usize,
    /// Whether the workers open what another one receives.
    pub(crate) spray: bool,
}

pub(crate) fn mac(side: Side, port: u16) -> Mac {
    [2, 0, 0, 0, if side == Side::A { 0xa } else { 0xb }, u8::try_from(port).unwrap()]
}

/// The station of every host.
pub(crate) const HOST: Mac = [2, 0, 0, 0, 0xff, 1];

pub(crate) fn prefix(text: &str) -> Prefix {
    let (addr, len) = text.split_once('/').unwrap();
    Prefix { addr: ip(addr), len: len.parse().unwrap() }
}

pub(crate) fn interface(if_id: u32) -> Interface {
    Interface {
        name: format!("ipsec{if_id}"),
        if_id: esp::IfId(if_id),
        mtu: None,
        addresses: Vec::new(),
        spread: false,
        mss_clamp: None,
    }
}

pub(crate) fn neighbor(port: u16, address: &str, mac: Mac) -> Neighbor {
    Neighbor { port: PortId(port), ip: ip(address), mac }
}

pub(crate) fn route(to: &str, device: Device, via: Option<&str>) -> Route {
    Route { to: prefix(to), via: via.map(ip), device }
}

impl Plan {
    /// Ports `lan` and `wan`, interfaces of if_id 1, 2 and 3, the other side's networks behind the first of them.
    pub(crate) fn new(side: Side) -> Self {
        let (own, other, host) = if side == Side::A { (1, 2, 9) } else { (2, 1, 9) };
        let port = |number: u16, name: &str, addresses: [String; 2]| Port {
            name: name.into(),
            mac: mac(side, number),
            mtu: 1500,
            addresses: addresses.iter().map(|address| prefix(address)).collect(),
        };
        let lan = [format!("10.{own}.0.1/24"), format!("2001:db8:{own}::1/64")];
        let wan = [format!("192.0.2.{own}/24"), format!("2001:db8:f::{own}/64")];
        let first = Device::Interface(InterfaceId(0));
        let far = mac(side.other(), WAN);
        let topology = Topology {
            ports: vec![port(LAN, "lan", lan), port(WAN, "wan", wan)],
            interfaces: vec![interface(1), interface(2), interface(3)],
            routes: vec![
                route(&format!("10.{other}.0.0/16"), first, None),
                route(&format!("2001:db8:{other}::/48"), first, None),
            ],
            neighbors: vec![
                neighbor(WAN, &format!("192.0.2.{other}"), far),
                neighbor(WAN, &format!("2001:db8:f::{other}"), far),
                neighbor(LAN, &format!("10.{own}.0.{host}"), HOST),
                neighbor(LAN, &format!("2001:db8:{own}::{host}"), HOST),
            ],
            netdevs: true,
            min_replay_window: 64,
            ..Topology::default()
        };
        Self { side, topology, workers: 1, spray: false }
    }

    /// Routes the other side's networks out of the WAN port instead of into a tunnel interface.
    pub(crate) fn policy_based(mut self) -> Self {
        let (via4, via6) = if self.side == Side::A {
            ("192.0.2.2", "2001:db8:f::2")
        } else {
            ("192.0.2.1", "2001:db8:f::1")
        };
        for route in &mut self.topology.routes {
            route.device = Device::Port(PortId(WAN));
            route.via = Some(ip(if route.to.addr.is_ipv4() { via4 } else { via6 }));
        }
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Topology)) -> Self {
        change(&mut self.topology);
        self
    }

    pub(crate) fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Starts the gateway with these tunnels.
    pub(crate) fn start(self, tunnels: &[&Tunnel]) -> Gateway {
        let mut gateway = Gateway::start(self);
        let side = gateway.side;
        gateway.commit(|changes| tunnels.iter().for_each(|tunnel| tunnel.install(side, changes)));
        gateway
    }
}
