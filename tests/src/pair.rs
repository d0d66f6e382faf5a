//! Two Espalier gateways with a charon each, in the usual network.

use crate::capture::{Capture, Captured, Direction, WHOLE};
use crate::gateway::Gateway;
use crate::gateway_toml::GatewayToml;
use crate::ledger::Ledger;
use crate::pcap::Frame;
use crate::swanctl::{Child, Connection};
use crate::topology::{Side, Sites, Stack};
use crate::{Result, World};

/// The two gateways, started.
#[derive(Debug)]
pub struct Pair {
    /// The namespaces.
    pub sites: Sites,
    /// Gateway A.
    pub a: Gateway,
    /// Gateway B.
    pub b: Gateway,
    /// Dropped last: the processes above end first.
    pub world: World,
}

/// The captures at both ends of the wire between the gateways.
#[derive(Debug)]
pub struct Wire {
    to_a: Capture,
    to_b: Capture,
}

/// What the wire carried.
#[derive(Debug)]
pub struct WireCaptured {
    /// What arrived at gateway A.
    pub to_a: Captured,
    /// What arrived at gateway B.
    pub to_b: Captured,
}

/// Family of the outer addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outer {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Pair {
    /// Makes the network and starts both gateways with these configurations and connections.
    pub fn start(test: &str, tomls: [GatewayToml; 2], connections: [&[Connection]; 2]) -> Result<Self> {
        Self::start_with(test, tomls, connections, &[])
    }

    /// Does so with further arguments for both bridges.
    pub fn start_with(
        test: &str,
        tomls: [GatewayToml; 2],
        connections: [&[Connection]; 2],
        bridge_arguments: &[String],
    ) -> Result<Self> {
        let world = World::new(test)?;
        let sites = Sites::new(&world, Stack::Espalier, Stack::Espalier)?;
        let [toml_a, toml_b] = tomls;
        let mut pair = Self {
            a: Gateway::new(&world, &sites.gw_a, "gateway-a", toml_a)?,
            b: Gateway::new(&world, &sites.gw_b, "gateway-b", toml_b)?,
            sites,
            world,
        };
        pair.a.bridge_arguments = bridge_arguments.to_vec();
        pair.b.bridge_arguments = bridge_arguments.to_vec();
        pair.a.start(&pair.world)?;
        pair.b.start(&pair.world)?;
        pair.a.start_charon(&pair.world, connections[0])?;
        pair.b.start_charon(&pair.world, connections[1])?;
        Ok(pair)
    }

    /// Starts the captures of the wire.
    pub fn capture(&self) -> Result<Wire> {
        Wire::start(&self.world, &self.sites, "veth-wan")
    }

    /// Checks that all daemons run and that both ledgers add up, per port and in sum.
    pub fn check(&mut self) -> Result<()> {
        self.a.must_run()?;
        self.b.must_run()?;
        Ledger::settled(&self.a.espctl())?.check()?;
        Ledger::settled(&self.b.espctl())?.check()
    }
}

impl Wire {
    /// Starts a capture of what arrives at each end; `device_b` is the end at gateway B.
    pub fn start(world: &World, sites: &Sites, device_b: &str) -> Result<Self> {
        Ok(Self {
            to_a: Capture::start(world, &sites.gw_a, "veth-wan", Direction::In, WHOLE)?,
            to_b: Capture::start(world, &sites.gw_b, device_b, Direction::In, WHOLE)?,
        })
    }

    /// Ends the captures and reads them.
    pub fn finish(self) -> Result<WireCaptured> {
        Ok(WireCaptured { to_a: self.to_a.finish()?, to_b: self.to_b.finish()? })
    }
}

impl WireCaptured {
    /// Returns all frames in the order of time.
    pub fn frames(&self) -> Vec<Frame> {
        let mut all: Vec<_> = self.to_a.frames.iter().chain(&self.to_b.frames).cloned().collect();
        all.sort_by_key(|frame| frame.at_ns);
        all
    }

    /// Returns how many frames the captures themselves lost.
    pub fn capture_drops(&self) -> u64 {
        self.to_a.capture_drops + self.to_b.capture_drops
    }
}

/// Returns a connection between the two gateways as seen from `side`, without tunnels.
///
/// `name` distinguishes several connections: it is part of both identities.
pub fn connection(name: &str, side: Side, outer: Outer) -> Connection {
    let address = |of: Side| match outer {
        Outer::V4 => of.outer_v4(),
        Outer::V6 => of.outer_v6(),
    };
    let identity = |of: Side| format!("{name}.{}", of.identity());
    Connection::new(
        name,
        (&identity(side), &address(side)),
        (&identity(side.other()), &address(side.other())),
    )
}

/// Returns a tunnel between the networks of both sites, of both families, as seen from `side`.
pub fn both_families(name: &str, side: Side) -> Child {
    let networks = |of: Side| format!("{},{}", of.lan_v4(), of.lan_v6());
    Child::new(name, &networks(side), &networks(side.other()))
}
