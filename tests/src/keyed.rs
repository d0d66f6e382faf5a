//! One Espalier gateway with manual keys, and scapy in the namespace of gateway B.

use std::io::Write;
use std::net::UdpSocket;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::gateway_toml::GatewayToml;
use crate::ledger::Ledger;
use crate::manual::ManualSa;
use crate::topology::{Side, Sites, Stack};
use crate::{Netns, Result, World, binaries};

/// Gateway A under test, with nothing but the test at the other end of its wire.
#[derive(Debug)]
pub struct Keyed {
    /// The namespaces; scapy runs in that of gateway B, on its device `wan`.
    pub sites: Sites,
    /// The gateway.
    pub gateway: Gateway,
    gateway_mac: String,
    own_mac: String,
    /// Dropped last: the processes above end first.
    pub world: World,
}

/// The scapy peer's view of the tunnel.
#[derive(Debug, Clone)]
pub struct ScapyPeer<'a> {
    /// The SA by which the gateway receives.
    pub inbound: &'a ManualSa,
    /// The SA by which it sends.
    pub outbound: &'a ManualSa,
    /// Further SAs by which the gateway receives, by the name that steps use.
    pub others: &'a [(&'static str, ManualSa)],
}

impl Keyed {
    /// Starts bridge and engine with this configuration.
    pub fn start(test: &str, toml: GatewayToml) -> Result<Self> {
        let world = World::new(test)?;
        let sites = Sites::new(&world, Stack::Espalier, Stack::Kernel)?;
        let mac = |netns: &Netns, device: &str| -> Result<String> {
            Ok(netns.run("cat", &[&format!("/sys/class/net/{device}/address")])?.trim().to_owned())
        };
        // Read before the engine gives the TAP the address of the device.
        let gateway_mac = mac(&sites.gw_a, "veth-wan")?;
        let own_mac = mac(&sites.gw_b, "wan")?;
        let gateway = Gateway::new(&world, &sites.gw_a, "gateway-a", toml)?;
        let mut keyed = Self { sites, gateway, gateway_mac, own_mac, world };
        keyed.gateway.start(&keyed.world)?;
        Ok(keyed)
    }

    /// Returns the address that frames to the gateway carry.
    pub fn gateway_mac(&self) -> &str {
        &self.gateway_mac
    }

    /// Returns the address of the device scapy sends from.
    pub fn own_mac(&self) -> &str {
        &self.own_mac
    }

    /// Installs SAs and policies between the two networks, which may be of either family.
    pub fn install(&self, inbound: &ManualSa, outbound: &ManualSa, networks: &[[&str; 2]]) -> Result<()> {
        let mut lines = inbound.line() + &outbound.line();
        for [ours, theirs] in networks {
            lines += &inbound.policies(theirs, ours);
            lines += &outbound.policies(ours, theirs);
        }
        self.gateway.espctl().batch(&lines).map(drop)
    }

    /// Runs the steps of the scapy peer and returns one result for each.
    pub fn scapy(&self, peer: &ScapyPeer<'_>, steps: Vec<Value>) -> Result<Vec<Value>> {
        let sa = |sa: &ManualSa| json!({"spi": sa.spi, "key": sa.key_hex(), "esn": sa.esn, "seq": sa.seq});
        let encap = peer.inbound.encap.map(|(sport, dport)| json!([sport, dport]));
        let count = steps.len();
        let job = json!({
            "device": "wan", "own_mac": self.own_mac, "gateway_mac": self.gateway_mac,
            "own": peer.inbound.src, "gateway": peer.inbound.dst,
            "inbound": sa(peer.inbound), "outbound": sa(peer.outbound), "encap": encap, "steps": steps,
            "others": peer.others.iter().map(|(name, other)| ((*name).to_owned(), sa(other))).collect::<Value>(),
        });
        let results: Vec<Value> = serde_json::from_str(&python(&self.sites.gw_b, "peer.py", &job)?)?;
        if results.len() != count {
            bail!("scapy ran {} of {count} steps", results.len());
        }
        Ok(results)
    }

    /// Checks that the daemons run and the ledger adds up, and returns it.
    pub fn check(&mut self) -> Result<Ledger> {
        self.gateway.must_run()?;
        let ledger = Ledger::settled(&self.gateway.espctl())?;
        ledger.check()?;
        Ok(ledger)
    }
}

/// Runs a script of `tests/scapy` with a JSON object as its input and returns what it printed.
pub fn python(netns: &Netns, script: &str, job: &Value) -> Result<String> {
    let path = binaries::repository().join("tests/scapy").join(script);
    let mut child = netns
        .command("/usr/bin/python3", &[&path.display().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {script}"))?;
    child.stdin.take().context("stdin")?.write_all(job.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{script}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A host that sends every datagram back.
#[derive(Debug)]
pub struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// Port of the echo service.
pub const ECHO_PORT: u16 = 7007;

impl Echo {
    /// Starts the service at one address of a namespace.
    pub fn start(netns: &Netns, address: &str) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (netns, address, seen) = (netns.clone(), address.to_owned(), Arc::clone(&stop));
        let socket = netns.inside(|| Ok(UdpSocket::bind((address.as_str(), ECHO_PORT))?))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let thread = std::thread::spawn(move || {
            let mut datagram = [0_u8; 2048];
            while !seen.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut datagram) {
                    let _ = socket.send_to(datagram.get(..length).unwrap_or_default(), from);
                }
            }
            Ok(())
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Returns the usual pair of manual SAs of gateway A: inbound and outbound, over IPv4 or IPv6 outside.
pub fn usual_sas(outer_v6: bool) -> [ManualSa; 2] {
    let outer = |side: Side| if outer_v6 { side.outer_v6() } else { side.outer_v4() };
    [
        ManualSa::new("in", &outer(Side::B), &outer(Side::A), 0x1001),
        ManualSa::new("out", &outer(Side::A), &outer(Side::B), 0x2002),
    ]
}

/// Returns both sites' networks, ours first, of both families.
pub fn usual_networks() -> [[&'static str; 2]; 2] {
    [["10.1.0.0/24", "10.2.0.0/24"], ["fd00:1::/64", "fd00:2::/64"]]
}
