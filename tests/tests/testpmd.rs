//! The load of `benches/pktgen` without pktgen: dpdk-testpmd on a veth pair, two gateways configured and keyed by the
//! files of that folder, and every packet of the load accounted for at each place it passes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Output;

use anyhow::{bail, ensure};
use espalier_tests::capture::{Capture, Captured, Direction, WHOLE};
use espalier_tests::gateway_toml::GatewayToml;
use espalier_tests::ledger::Ledger;
use espalier_tests::topology::{self, Side, Sites, Stack};
use espalier_tests::{Gateway, Netns, Result, World, binaries, esp_trace, wait};

/// Packets of one burst of testpmd.
const BURST_PKTS: u64 = 32;
/// Rounds of the mix: 12 bursts each.
const ROUNDS: u64 = 4;
/// Packets of the load with many sources, as many as testpmd makes.
const MANY_PKTS: u64 = 256;

struct Lab {
    sites: Sites,
    a: Gateway,
    b: Gateway,
    /// Address of gateway A's LAN port.
    lan_mac: String,
    world: World,
}

fn files() -> PathBuf {
    binaries::repository().join("benches/pktgen")
}

fn mac(netns: &Netns, device: &str) -> String {
    netns.run("cat", &[&format!("/sys/class/net/{device}/address")]).unwrap().trim().to_owned()
}

/// Makes a gateway of its file, with the devices of this machine in the place of the file's.
fn gateway(world: &World, side: Side, netns: &Netns, peer_mac: &str) -> Gateway {
    let (letter, peers) = match side {
        Side::A => ("a", "02:00:00:00:0b:00"),
        Side::B => ("b", "02:00:00:00:0a:00"),
    };
    let gateway = Gateway::new(world, netns, &format!("gateway-{letter}"), GatewayToml::default()).unwrap();
    let mut text = std::fs::read_to_string(files().join(format!("gateway-{letter}.toml"))).unwrap();
    for (theirs, ours) in [
        ("\"/run/espalier\"", format!("\"{}\"", gateway.runtime_dir().display())),
        ("[2] ", format!("[{}] ", topology::worker_cpu(side))),
        ("hugepages   = true", "hugepages   = false".to_owned()),
        ("\"spin\"", "\"sleep\"".to_owned()),
        ("0000:3b:00.0", "net_af_packet0,iface=veth-wan,framecnt=8192".to_owned()),
        ("0000:3b:00.1", "net_af_packet1,iface=veth-lan,framecnt=8192".to_owned()),
        (peers, peer_mac.to_owned()),
    ] {
        assert_eq!(text.matches(theirs).count(), 1, "{theirs} in gateway-{letter}.toml");
        text = text.replace(theirs, &ours);
    }
    std::fs::write(gateway.config(), text).unwrap();
    gateway
}

impl Lab {
    fn start() -> Self {
        let world = World::new("testpmd").unwrap();
        let sites = Sites::new(&world, Stack::Espalier, Stack::Espalier).unwrap();
        // Namespaces that say nothing of their own accord: the ledgers shall hold the load alone.
        for netns in [&sites.host_a, &sites.gw_a, &sites.gw_b, &sites.host_b] {
            netns.sysctl("net.ipv6.conf.all.disable_ipv6", "1").unwrap();
        }
        for host in [&sites.host_a, &sites.host_b] {
            host.ip("addr flush dev eth0").unwrap();
        }
        let lan_mac = mac(&sites.gw_a, "veth-lan");
        let (wan_a, wan_b) = (mac(&sites.gw_a, "veth-wan"), mac(&sites.gw_b, "veth-wan"));
        let mut a = gateway(&world, Side::A, &sites.gw_a, &wan_b);
        let mut b = gateway(&world, Side::B, &sites.gw_b, &wan_a);
        let keys = world.run_dir("keys").unwrap();
        let script = files().join("keys.sh");
        sites.gw_a.run("sh", &[script.to_str().unwrap(), keys.to_str().unwrap()]).unwrap();
        for (gateway, batch) in [(&mut a, "a.batch"), (&mut b, "b.batch")] {
            gateway.start(&world).unwrap();
            gateway.espctl().run(&format!("-batch {}", keys.join(batch).display())).unwrap();
        }
        Self { sites, a, b, lan_mac, world }
    }

    /// Runs `testpmd.sh` towards a MAC address and checks that so many packets left.
    fn testpmd(&self, to: &str, more: &[&str], pkts: u64) {
        let cpu = topology::worker_cpu(Side::B);
        let script = files().join("testpmd.sh").display().to_string();
        let cores = format!("{cpu},{cpu}");
        let port = "net_af_packet0,iface=eth0";
        let mut words = vec![&*script, "--port", port, "--mac", to, "--no-huge", "--cores", &*cores];
        words.extend(more);
        let output = self.sites.host_a.command("sh", &words).output().unwrap();
        left(&output, pkts).unwrap();
    }
}

fn left(output: &Output, pkts: u64) -> Result<()> {
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !said.contains(&format!("{pkts} packets sent")) {
        bail!("testpmd.sh: {}: {said}", output.status);
    }
    Ok(())
}

/// Checks that a gateway took `pkts` from a port since `before`, and sent every one of them on.
fn carried(gateway: &Gateway, port: &str, before: &Ledger, pkts: u64) -> Result<Ledger> {
    let espctl = gateway.espctl();
    let then = before.ports[port];
    wait::until_true("the load at its port", wait::STEP, || {
        Ledger::read(&espctl).is_ok_and(|now| now.ports[port].received >= then.received + pkts)
    })?;
    let now = Ledger::settled(&espctl)?;
    now.check()?;
    let account = now.ports[port];
    let grown = (account.received - then.received, account.sent - then.sent, account.drops - then.drops);
    ensure!(grown == (pkts, pkts, 0), "received, sent, dropped: {grown:?} of {pkts}; {:?}", now.drops);
    Ok(now)
}

/// The ESP packet around an inner packet of so many octets: SPI to IV, padding to 4 with the two octets, ICV.
fn esp_octets(inner: usize) -> usize {
    16 + (inner + 2).next_multiple_of(4) + 16
}

/// Checks what left gateway A: one packet under each number, and the lengths of the README's arithmetic.
fn check_wire(wire: &Captured, inner: &BTreeMap<usize, u64>) {
    let packets = esp_trace::esp_packets(&wire.frames);
    assert_eq!((wire.capture_drops, esp_trace::repeated_ivs(&packets)), (0, Vec::new()));
    let mut lengths: BTreeMap<usize, u64> = BTreeMap::new();
    let mut numbers = BTreeSet::new();
    for packet in &packets {
        assert_eq!(packet.spi, 0x1001);
        numbers.insert(u64::from(packet.seq_lo));
        *lengths.entry(packet.esp_octets).or_default() += 1;
    }
    assert_eq!(lengths, inner.iter().map(|(octets, pkts)| (esp_octets(*octets), *pkts)).collect());
    assert!(numbers.into_iter().eq(1..=inner.values().sum()), "a number is missing");
}

/// Checks what came out of gateway B: the same packets in clear, one hop older, `MANY_PKTS` of them from many sources.
fn check_arrivals(arrived: &Captured, inner: &BTreeMap<usize, u64>) {
    assert_eq!(arrived.capture_drops, 0);
    let mut lengths: BTreeMap<usize, u64> = BTreeMap::new();
    let mut sources = BTreeSet::new();
    for frame in &arrived.frames {
        let ip = frame.ip().unwrap();
        assert_eq!((ip.protocol, ip.dst.to_string()), (17, "10.2.0.2".to_owned()));
        assert_eq!(frame.octets[22], 62, "TTL behind two routers");
        *lengths.entry(ip.total_octets).or_default() += 1;
        sources.insert(ip.src);
    }
    assert_eq!(&lengths, inner);
    assert_eq!(sources.len() as u64, 1 + MANY_PKTS);
}

#[test]
fn every_packet_that_testpmd_sends_is_sealed_and_opened_once() {
    let mut lab = Lab::start();
    let [idle, before_b] = [&lab.a, &lab.b].map(|gateway| Ledger::settled(&gateway.espctl()).unwrap());

    // A load that is not carried is noticed: one burst for another station.
    lab.testpmd("02:00:00:00:0f:0f", &["--inner", "46:1"], BURST_PKTS);
    let error = carried(&lab.a, "lan", &idle, BURST_PKTS).unwrap_err().to_string();
    assert!(error.contains("(32, 0, 32) of 32"), "{error}");
    let before = Ledger::settled(&lab.a.espctl()).unwrap();
    assert_eq!(before.dropped("foreign_mac"), BURST_PKTS);

    let wire = Capture::start(&lab.world, &lab.sites.gw_b, "veth-wan", Direction::In, WHOLE).unwrap();
    let clear = Capture::start(&lab.world, &lab.sites.host_b, "eth0", Direction::In, WHOLE).unwrap();
    let mut inner = BTreeMap::from(
        [(46, 7), (552, 4), (1400, 1)].map(|(octets, weight)| (octets, weight * ROUNDS * BURST_PKTS)),
    );
    let mixed: u64 = inner.values().sum();
    lab.testpmd(&lab.lan_mac, &["--rounds", &ROUNDS.to_string()], mixed);
    let after = carried(&lab.a, "lan", &before, mixed).unwrap();

    // Their sources lie beyond the gateway's own network, which the open selectors allow.
    lab.testpmd(&lab.lan_mac, &["--inner", "100:8", "--many"], MANY_PKTS);
    carried(&lab.a, "lan", &after, MANY_PKTS).unwrap();
    inner.insert(100, MANY_PKTS);
    carried(&lab.b, "wan", &before_b, mixed + MANY_PKTS).unwrap();

    check_wire(&wire.finish().unwrap(), &inner);
    check_arrivals(&clear.finish().unwrap(), &inner);
    lab.a.must_run().unwrap();
    lab.b.must_run().unwrap();
}
