//! The demo's namespaces, gateways and captures.

use anyhow::Context;
use espalier_tests::capture::{Capture, Captured, Direction};
use espalier_tests::charon::{Charon, Kernel};
use espalier_tests::gateway::Gateway;
use espalier_tests::ledger::Ledger;
use espalier_tests::swanctl::{Child, Connection};
use espalier_tests::topology::{self, Side, Sites, Stack};
use espalier_tests::{Process, Result, World, traffic, wait};

/// Everything the demo stands on.
pub(crate) struct Stage {
    pub(crate) sites: Sites,
    pub(crate) gateway_a: Gateway,
    pub(crate) charon_b: Charon,
}

/// The captures that run while the demo does.
pub(crate) struct Captures {
    wire_to_b: Capture,
    wire_to_a: Capture,
    behind_b: Capture,
}

/// The captures when they have ended.
pub(crate) struct Evidence {
    /// What arrived at gateway B from the wire.
    pub(crate) wire_to_b: Captured,
    /// What arrived at gateway A from the wire.
    pub(crate) wire_to_a: Captured,
    /// What host B sent and received.
    pub(crate) behind_b: Captured,
}

/// Enough of a frame for the headers and the marker of a numbered datagram. Units: octets.
const SNAP_OCTETS: u32 = 160;

impl Stage {
    /// Makes the namespaces and writes the configurations.
    pub(crate) fn set_up(world: &World) -> Result<Self> {
        let sites = Sites::new(world, Stack::Espalier, Stack::Kernel)?;
        let toml = topology::espalier_toml(Side::A).interface("ipsec1", 1).route("10.2.0.0/16", "ipsec1");
        let gateway_a = Gateway::new(world, &sites.gw_a, "gateway-a", toml)?;
        let charon_b = Charon::new(world, &sites.gw_b, "gateway-b", Kernel::Libipsec)?;
        Ok(Self { sites, gateway_a, charon_b })
    }

    /// Starts all daemons and loads the connections.
    pub(crate) fn start(&mut self, world: &World) -> Result<()> {
        self.gateway_a.start(world)?;
        self.gateway_a.start_charon(world, &[connection(Side::A)])?;
        self.charon_b.configure(&[connection(Side::B)])?;
        self.charon_b.start(world)?;
        // The TUN of kernel-libipsec holds 500 packets; a busy machine may leave it alone for longer.
        self.sites.gw_b.ip("link set ipsec0 txqueuelen 10000").map(drop)
    }

    /// Returns gateway A's IKE daemon.
    pub(crate) fn ike_a(&self) -> Result<&Charon> {
        self.gateway_a.ike()
    }

    /// Starts the captures on both ends of the wire and behind gateway B.
    pub(crate) fn start_captures(&self, world: &World) -> Result<Captures> {
        let start = |netns, device, direction| Capture::start(world, netns, device, direction, SNAP_OCTETS);
        Ok(Captures {
            wire_to_b: start(&self.sites.gw_b, "wan", Direction::In)?,
            wire_to_a: start(&self.sites.gw_a, "veth-wan", Direction::In)?,
            behind_b: start(&self.sites.host_b, "eth0", Direction::Both)?,
        })
    }

    /// Pings each host from the other.
    pub(crate) fn ping_both_ways(&self) -> Result<()> {
        self.sites.host_a.ping(&Side::B.host_v4(), 3)?;
        self.sites.host_b.ping(&Side::A.host_v4(), 3).map(drop)
    }

    /// Runs iperf3 for two seconds; returns Gbit/s of TCP and the MTU of the hosts.
    pub(crate) fn iperf(&self, world: &World, reverse: bool) -> Result<(f64, String)> {
        let address = Side::B.host_v4();
        let label = if reverse { "iperf3-b-to-a" } else { "iperf3-a-to-b" };
        let mut server = self.sites.host_b.command("iperf3", &["-s", "-1", "--forceflush"]);
        let mut server = Process::spawn(world, label, &mut server)?;
        wait::until("the iperf3 server", wait::STEP, || {
            server.must_run()?;
            Ok(server.said().contains("listening").then_some(()))
        })?;
        let mut words = vec!["-c", address.as_str(), "-t", "2", "-J"];
        if reverse {
            words.push("-R");
        }
        let report: serde_json::Value = serde_json::from_str(&self.sites.host_a.run("iperf3", &words)?)?;
        let bits = report.pointer("/end/sum_received/bits_per_second").and_then(serde_json::Value::as_f64);
        let mtu = self.sites.host_a.run("cat", &["/sys/class/net/eth0/mtu"])?.trim().to_owned();
        Ok((bits.context("iperf3 reported no rate")? / 1e9, mtu))
    }

    /// Returns how many datagrams gateway B's sockets had no room for.
    pub(crate) fn socket_drops_b(&self) -> Result<u64> {
        self.sites.gw_b.inside(traffic::socket_drops)
    }

    /// Reads gateway A's packet ledger.
    pub(crate) fn ledger(&self) -> Result<Ledger> {
        Ledger::settled(&self.gateway_a.espctl())
    }
}

impl Captures {
    /// Ends the captures and reads them.
    pub(crate) fn finish(self) -> Result<Evidence> {
        Ok(Evidence {
            wire_to_b: self.wire_to_b.finish()?,
            wire_to_a: self.wire_to_a.finish()?,
            behind_b: self.behind_b.finish()?,
        })
    }
}

/// One route-based tunnel at gateway A, an ordinary one at gateway B.
fn connection(side: Side) -> Connection {
    let (own, peer) = (side.outer_v4(), side.other().outer_v4());
    let child = Child::new("net", &side.lan_v4(), &side.other().lan_v4());
    let child = if side == Side::A { child.if_id("1") } else { child };
    Connection::new("ab", (side.identity(), &own), (side.other().identity(), &peer)).child(child)
}
