//! Two workers seal and open packets of the same SA in the same second.
//!
//! Gateway A has two LAN ports, so that both workers seal, and two WAN ports, over which a splitter deals out
//! what gateway B sends, so that both workers open.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use std::time::Duration;

use espalier_tests::capture::{Capture, Direction, WHOLE};
use espalier_tests::gateway::Gateway;
use espalier_tests::gateway_toml::{GatewayToml, Port};
use espalier_tests::ledger::Ledger;
use espalier_tests::netns::veth;
use espalier_tests::pair::{self, Outer};
use espalier_tests::swanctl::Child;
use espalier_tests::topology::{self, Side};
use espalier_tests::traffic::{self, Flow, FlowSpec};
use espalier_tests::{Netns, Process, World, binaries, esp_trace, wait};
use serde_json::Value;

struct Split {
    hosts: [Netns; 2],
    host_b: Netns,
    split: Netns,
    a: Gateway,
    b: Gateway,
    _splitter: Process,
    world: World,
}

fn host(world: &World, role: &str, gateway: &Netns, device: &str, net: &str) -> Netns {
    let host = world.netns(role).unwrap();
    veth(&host, "eth0", gateway, device).unwrap();
    host.ip(&format!("addr add {net}.2/24 dev eth0")).unwrap();
    host.ip(&format!("route add default via {net}.1")).unwrap();
    host
}

fn mac(netns: &Netns, device: &str) -> String {
    netns.run("cat", &[&format!("/sys/class/net/{device}/address")]).unwrap().trim().to_owned()
}

impl Split {
    fn start(workers: &[u32]) -> Self {
        let world = World::new(&format!("workers-{}", workers.len())).unwrap();
        let (gw_a, gw_b, split) =
            (world.netns("ga").unwrap(), world.netns("gb").unwrap(), world.netns("split").unwrap());
        let hosts = [
            host(&world, "ha", &gw_a, "veth-lan", "10.1.0"),
            host(&world, "ha2", &gw_a, "veth-lan2", "10.1.1"),
        ];
        let host_b = host(&world, "hb", &gw_b, "veth-lan", "10.2.0");
        veth(&gw_a, "veth-wan", &split, "first").unwrap();
        veth(&gw_a, "veth-wan2", &split, "second").unwrap();
        veth(&gw_b, "veth-wan", &split, "from-b").unwrap();
        let script = binaries::repository().join("tests/scapy/split.py").display().to_string();
        let macs = [mac(&gw_a, "veth-wan"), mac(&gw_a, "veth-wan2")];
        let mut command =
            split.command("/usr/bin/python3", &[&script, "from-b", "first", &macs[0], "second", &macs[1]]);
        let splitter = Process::spawn(&world, "splitter", &mut command).unwrap();
        wait::until_true("the splitter", wait::STEP, || splitter.said().contains("ready")).unwrap();
        let ports = [
            ("wan", "192.0.2.1/24"),
            ("wan2", "198.51.100.1/24"),
            ("lan", "10.1.0.1/24"),
            ("lan2", "10.1.1.1/24"),
        ];
        let mut toml_a = GatewayToml { workers: workers.to_vec(), ..GatewayToml::default() };
        for (number, (name, address)) in (0..).zip(ports) {
            toml_a = toml_a.port(Port::on_veth(number, name, &[address]));
        }
        toml_a = toml_a.interface("ipsec1", 1).route("10.2.0.0/24", "ipsec1");
        toml_a.spread = true;
        let toml_b = topology::espalier_toml(Side::B).interface("ipsec1", 1).route("10.1.0.0/16", "ipsec1");
        let mut a = Gateway::new(&world, &gw_a, "gateway-a", toml_a).unwrap();
        let mut b = Gateway::new(&world, &gw_b, "gateway-b", toml_b).unwrap();
        a.start(&world).unwrap();
        b.start(&world).unwrap();
        let (net_a, net_b) = ("10.1.0.0/16", "10.2.0.0/24");
        let conn = |side, local, remote| {
            pair::connection("ab", side, Outer::V4).child(Child::new("net", local, remote).if_id("1"))
        };
        a.start_charon(&world, &[conn(Side::A, net_a, net_b)]).unwrap();
        b.start_charon(&world, &[conn(Side::B, net_b, net_a)]).unwrap();
        a.ike().unwrap().initiate("net").unwrap();
        Self { hosts, host_b, split, a, b, _splitter: splitter, world }
    }

    fn flows(&self) -> Vec<Flow> {
        let mut flows = Vec::new();
        for (host, address) in self.hosts.iter().zip(["10.1.0.2", "10.1.1.2"]) {
            let spec = |from: &Netns, src: &str, to: &Netns, dst: &str| FlowSpec {
                label: format!("{src} to {dst}"),
                from: from.clone(),
                src: src.parse().unwrap(),
                to: to.clone(),
                dst: dst.parse().unwrap(),
                pps: 700,
                payload_octets: 200,
            };
            let port = if address == "10.1.0.2" { 7001 } else { 7002 };
            flows.push(Flow::start(spec(host, address, &self.host_b, &format!("10.2.0.2:{port}"))).unwrap());
            flows
                .push(Flow::start(spec(&self.host_b, "10.2.0.2", host, &format!("{address}:7003"))).unwrap());
        }
        flows
    }

    /// Returns how many packets each worker of gateway A has put through a stage.
    fn stage(&self, name: &str) -> Vec<u64> {
        let workers = self.a.espctl().json("workers").unwrap();
        let stage = |worker: &Value| {
            let stages = worker["stages"].as_array().unwrap();
            stages
                .iter()
                .find(|stage| stage["name"] == name)
                .map_or(0, |stage| stage["packets"].as_u64().unwrap())
        };
        workers["workers"].as_array().unwrap().iter().map(stage).collect()
    }
}

/// Runs the traffic and returns, per worker, how many packets were sealed and opened within one second.
fn run(workers: &[u32]) -> [Vec<u64>; 2] {
    let mut split = Split::start(workers);
    // What A sends leaves by its first port; what B sends is seen before the splitter.
    let out = Capture::start(&split.world, &split.split, "first", Direction::In, WHOLE).unwrap();
    let back = Capture::start(&split.world, &split.split, "from-b", Direction::In, WHOLE).unwrap();
    for host in &split.hosts {
        host.ping("10.2.0.2", 1).unwrap();
    }
    let flows = split.flows();
    traffic::progress(&flows, 300, wait::STEP).unwrap();
    let before = ["seal", "open"].map(|stage| split.stage(stage));
    std::thread::sleep(Duration::from_secs(1));
    let after = ["seal", "open"].map(|stage| split.stage(stage));
    for report in traffic::finish(flows).unwrap() {
        assert!(report.is_perfect(), "{report:?}");
    }
    for captured in [out.finish().unwrap(), back.finish().unwrap()] {
        let packets = esp_trace::esp_packets(&captured.frames);
        assert_eq!((captured.capture_drops, esp_trace::repeated_ivs(&packets)), (0, Vec::new()));
        assert_eq!(esp_trace::by_spi(&packets).len(), 1, "one SA each way");
    }
    for gateway in [&mut split.a, &mut split.b] {
        gateway.must_run().unwrap();
        Ledger::settled(&gateway.espctl()).unwrap().check().unwrap();
    }
    let grown =
        |stage: usize| after[stage].iter().zip(&before[stage]).map(|(now, then)| now - then).collect();
    [grown(0), grown(1)]
}

#[test]
fn two_workers_on_one_sa_do_what_one_worker_does() {
    let cpus = topology::open_cpus();
    run(&cpus[..1]);
    if cpus.len() < 2 {
        eprintln!("only one CPU: two workers cannot be tried");
        return;
    }
    let [sealed, opened] = run(&cpus[..2]);
    println!("sealed per worker in one second: {sealed:?}, opened: {opened:?}");
    assert!(sealed.len() == 2 && sealed.iter().all(|count| *count > 0), "{sealed:?}");
    assert!(opened.len() == 2 && opened.iter().all(|count| *count > 0), "{opened:?}");
}
