//! The load of `benches/pktgen` without pktgen: dpdk-testpmd on a veth pair, a gateway configured and keyed by the
//! files of that folder, and every packet of the load accounted for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Output;

use anyhow::{bail, ensure};
use espalier_tests::capture::{Capture, Direction, WHOLE};
use espalier_tests::gateway_toml::GatewayToml;
use espalier_tests::ledger::Ledger;
use espalier_tests::topology::{self, Side, Sites, Stack};
use espalier_tests::{Gateway, Netns, Result, World, binaries, esp_trace, wait};

/// Packets of one burst of testpmd.
const BURST_PKTS: u64 = 32;
/// Rounds of the mix: 12 bursts each.
const ROUNDS: u64 = 4;

struct Lab {
    sites: Sites,
    gateway: Gateway,
    lan_mac: String,
    world: World,
}

fn files() -> PathBuf {
    binaries::repository().join("benches/pktgen")
}

fn mac(netns: &Netns, device: &str) -> String {
    netns.run("cat", &[&format!("/sys/class/net/{device}/address")]).unwrap().trim().to_owned()
}

/// Returns `gateway-a.toml` with the devices of this machine in the place of its own.
fn configuration(gateway: &Gateway, peer_mac: &str) -> String {
    let mut text = std::fs::read_to_string(files().join("gateway-a.toml")).unwrap();
    let here = [
        ("\"/run/espalier\"", format!("\"{}\"", gateway.runtime_dir().display())),
        ("[2] ", format!("[{}] ", topology::worker_cpu(Side::A))),
        ("hugepages   = true", "hugepages   = false".to_owned()),
        ("\"spin\"", "\"sleep\"".to_owned()),
        ("0000:3b:00.0", "net_af_packet0,iface=veth-wan,framecnt=8192".to_owned()),
        ("0000:3b:00.1", "net_af_packet1,iface=veth-lan,framecnt=8192".to_owned()),
        ("02:00:00:00:0b:00", peer_mac.to_owned()),
    ];
    for (theirs, ours) in here {
        assert_eq!(text.matches(theirs).count(), 1, "{theirs} in gateway-a.toml");
        text = text.replace(theirs, &ours);
    }
    text
}

impl Lab {
    fn start() -> Self {
        let world = World::new("testpmd").unwrap();
        let sites = Sites::new(&world, Stack::Espalier, Stack::Kernel).unwrap();
        // Hosts that say nothing of their own accord: the ledger shall hold the load alone.
        for (netns, device) in [(&sites.host_a, "eth0"), (&sites.gw_b, "wan")] {
            netns.sysctl(&format!("net.ipv6.conf.{device}.disable_ipv6"), "1").unwrap();
            netns.ip(&format!("addr flush dev {device}")).unwrap();
        }
        let lan_mac = mac(&sites.gw_a, "veth-lan");
        let mut gateway = Gateway::new(&world, &sites.gw_a, "gateway-a", GatewayToml::default()).unwrap();
        std::fs::write(gateway.config(), configuration(&gateway, &mac(&sites.gw_b, "wan"))).unwrap();
        gateway.start(&world).unwrap();
        let lab = Self { sites, gateway, lan_mac, world };
        lab.load_keys();
        lab
    }

    fn load_keys(&self) {
        let folder = self.world.run_dir("keys").unwrap();
        let script = files().join("keys.sh");
        self.sites.gw_a.run("sh", &[script.to_str().unwrap(), folder.to_str().unwrap()]).unwrap();
        self.gateway.espctl().run(&format!("-batch {}", folder.join("a.batch").display())).unwrap();
    }

    /// Runs `testpmd.sh` towards a MAC address.
    fn testpmd(&self, to: &str, more: &[&str]) -> Output {
        let cpu = topology::worker_cpu(Side::B);
        let script = files().join("testpmd.sh").display().to_string();
        let cores = format!("{cpu},{cpu}");
        let port = "net_af_packet0,iface=eth0";
        let mut words = vec![&*script, "--port", port, "--mac", to, "--no-huge", "--cores", &*cores];
        words.extend(more);
        self.sites.host_a.command("sh", &words).output().unwrap()
    }

    /// Checks that the gateway took `pkts` from its LAN port since `before` and sealed and sent every one of them.
    fn sealed(&self, before: &Ledger, pkts: u64) -> Result<Ledger> {
        let espctl = self.gateway.espctl();
        wait::until_true("the load at the LAN port", wait::STEP, || {
            Ledger::read(&espctl)
                .is_ok_and(|now| now.ports["lan"].received >= before.ports["lan"].received + pkts)
        })?;
        let now = Ledger::settled(&espctl)?;
        now.check()?;
        let (then, lan) = (before.ports["lan"], now.ports["lan"]);
        let grown = (lan.received - then.received, lan.sent - then.sent, lan.drops - then.drops);
        ensure!(grown == (pkts, pkts, 0), "received, sent, dropped: {grown:?} of {pkts}; {:?}", now.drops);
        Ok(now)
    }
}

fn succeeded(output: &Output, pkts: u64) -> Result<()> {
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !said.contains(&format!("{pkts} packets sent")) {
        bail!("testpmd.sh: {}: {said}", output.status);
    }
    Ok(())
}

/// The ESP packet around an inner packet of so many octets: SPI to IV, padding to 4 with the two octets, ICV.
fn esp_octets(inner: usize) -> usize {
    16 + (inner + 2).next_multiple_of(4) + 16
}

#[test]
fn every_packet_that_testpmd_sends_is_sealed_once() {
    let mut lab = Lab::start();
    let idle = Ledger::settled(&lab.gateway.espctl()).unwrap();

    // A load that does not reach the gateway is noticed: one burst for another station.
    succeeded(&lab.testpmd("02:00:00:00:0f:0f", &["--inner", "46:1"]), BURST_PKTS).unwrap();
    let error = lab.sealed(&idle, BURST_PKTS).unwrap_err().to_string();
    assert!(error.contains("(32, 0, 32) of 32"), "{error}");
    let before = Ledger::settled(&lab.gateway.espctl()).unwrap();
    assert_eq!(before.drops, BTreeMap::from([("foreign_mac".to_owned(), BURST_PKTS)]));

    let wire = Capture::start(&lab.world, &lab.sites.gw_b, "wan", Direction::In, WHOLE).unwrap();
    let mix = BTreeMap::from(
        [(46, 7), (552, 4), (1400, 1)]
            .map(|(inner, weight)| (esp_octets(inner), weight * ROUNDS * BURST_PKTS)),
    );
    let pkts: u64 = mix.values().sum();
    succeeded(&lab.testpmd(&lab.lan_mac, &["--rounds", &ROUNDS.to_string()]), pkts).unwrap();
    let after = lab.sealed(&before, pkts).unwrap();

    // Many sources: they lie beyond the gateway's own network, which the open selectors allow.
    let many = lab.testpmd(&lab.lan_mac, &["--inner", "100:8", "--many"]);
    succeeded(&many, 8 * BURST_PKTS).unwrap();
    lab.sealed(&after, 8 * BURST_PKTS).unwrap();

    let captured = wire.finish().unwrap();
    let packets = esp_trace::esp_packets(&captured.frames);
    assert_eq!(captured.capture_drops, 0);
    assert_eq!(esp_trace::repeated_ivs(&packets), []);
    let mut lengths: BTreeMap<usize, u64> = BTreeMap::new();
    for packet in &packets {
        assert_eq!(packet.spi, 0x1001);
        *lengths.entry(packet.esp_octets).or_default() += 1;
    }
    assert_eq!(lengths.remove(&esp_octets(100)), Some(8 * BURST_PKTS));
    assert_eq!(lengths, mix);
    let highest = packets.iter().map(|packet| packet.seq_lo).max();
    assert_eq!(highest.map(u64::from), Some(pkts + 8 * BURST_PKTS));
    lab.gateway.must_run().unwrap();
}
