//! Interface ids: chosen by charon, different per direction, shared by peers, and telling twins apart.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use espalier_tests::charon::{Charon, Kernel};
use espalier_tests::esp_trace::{self, Esp};
use espalier_tests::gateway::Gateway;
use espalier_tests::gateway_toml::{GatewayToml, Port};
use espalier_tests::ledger::Ledger;
use espalier_tests::netns::veth;
use espalier_tests::pair::{self, Outer, Pair, Wire};
use espalier_tests::swanctl::{Child, Connection};
use espalier_tests::topology::{self, Side, Sites, Stack};
use espalier_tests::traffic::{self, Flow, FlowSpec, MARKER};
use espalier_tests::{World, wait};

fn routed(side: Side, if_id_out: u32) -> GatewayToml {
    topology::espalier_toml(side)
        .interface("ipsec1", if_id_out)
        .route(&side.other().lan_v4(), "ipsec1")
        .route(&side.other().lan_v6(), "ipsec1")
}

/// Brings the tunnel up, rekeys it once from each side, and expects every datagram to arrive once.
fn carries_traffic_through_rekeyings(pair: &mut Pair) {
    pair.a.ike().unwrap().initiate("net").unwrap();
    pair.sites.acquaint().unwrap();
    let flows: Vec<_> = [Side::A, Side::B]
        .map(|side| Flow::start(pair.sites.flow_v4(side, 7004, 1000).unwrap()).unwrap())
        .into_iter()
        .collect();
    for gateway in [&pair.a, &pair.b] {
        traffic::progress(&flows, 300, wait::STEP).unwrap();
        gateway.ike().unwrap().rekey_child("net").unwrap();
    }
    traffic::progress(&flows, 300, wait::STEP).unwrap();
    for report in traffic::finish(flows).unwrap() {
        assert!(report.is_perfect(), "{report:?}");
    }
    pair.check().unwrap();
}

#[test]
fn a_unique_if_id_chosen_by_charon_leads_to_its_interface() {
    let child = |side, if_id| pair::both_families("net", side).if_id(if_id);
    let a = pair::connection("ab", Side::A, Outer::V4).child(child(Side::A, "%unique"));
    let b = pair::connection("ab", Side::B, Outer::V4).child(child(Side::B, "77"));
    // charon counts its unique ids from 1.
    let mut pair = Pair::start("unique", [routed(Side::A, 1), routed(Side::B, 77)], [&[a], &[b]]).unwrap();
    carries_traffic_through_rekeyings(&mut pair);
}

#[test]
fn if_ids_that_differ_per_direction_are_kept_apart() {
    let child = |side, if_id| pair::both_families("net", side).if_id(if_id);
    let a = pair::connection("ab", Side::A, Outer::V4).child(child(Side::A, "%unique-dir"));
    let b = pair::connection("ab", Side::B, Outer::V4).child(child(Side::B, "77"));
    // %unique-dir takes 1 for inbound and 2 for outbound.
    let toml = routed(Side::A, 2).interface("ipsec-in", 1);
    let mut pair = Pair::start("unique-dir", [toml, routed(Side::B, 77)], [&[a], &[b]]).unwrap();
    carries_traffic_through_rekeyings(&mut pair);
}

/// Two tunnels between the same endpoints. Host B answers at .2 through the first, at .130 through the second.
struct Twins {
    pair: Pair,
}

/// Host B's second address.
const SECOND: &str = "10.2.0.130";

impl Twins {
    fn start(test: &str, selectors: [[&str; 2]; 2]) -> Self {
        let connection = |number: usize, side: Side| {
            let (name, if_id) = (["one", "two"][number], ["1", "2"][number]);
            let [a, b] = selectors[number];
            let (local, remote) = if side == Side::A { (a, b) } else { (b, a) };
            pair::connection(name, side, Outer::V4).child(Child::new(name, local, remote).if_id(if_id))
        };
        let both = |side: Side| [connection(0, side), connection(1, side)];
        let toml = |side: Side| {
            let toml = topology::espalier_toml(side).interface("ipsec1", 1).interface("ipsec2", 2);
            match side {
                Side::A => toml.route("10.2.0.0/25", "ipsec1").route("10.2.0.128/25", "ipsec2"),
                Side::B => toml.route("10.1.0.0/25", "ipsec1").route("10.1.0.128/25", "ipsec2"),
            }
        };
        let pair =
            Pair::start(test, [toml(Side::A), toml(Side::B)], [&both(Side::A), &both(Side::B)]).unwrap();
        pair.sites.host_b.ip(&format!("addr add {SECOND}/24 dev eth0")).unwrap();
        Self { pair }
    }

    fn flow_to(&self, address: &str, port: u16) -> Flow {
        let mut spec = self.pair.sites.flow_v4(Side::A, port, 800).unwrap();
        spec.dst = format!("{address}:{port}").parse().unwrap();
        spec.label = format!("A to {address}");
        Flow::start(spec).unwrap()
    }

    /// Sends through both tunnels at once while both rekey, and checks which SPIs carried what.
    fn carry_apart(mut self) {
        let ike = self.pair.a.ike().unwrap();
        ike.initiate("one").unwrap();
        ike.initiate("two").unwrap();
        self.pair.sites.acquaint().unwrap();
        self.pair.sites.host_a.ping(SECOND, 1).unwrap();
        let wire = self.pair.capture().unwrap();
        let mut payloads = [0_u64; 2];
        let flows = [self.flow_to(&Side::B.host_v4(), 7001), self.flow_to(SECOND, 7002)];
        let mut spis = [Vec::new(), Vec::new()];
        for child in ["one", "two", "one"] {
            for (list, name) in spis.iter_mut().zip(["one", "two"]) {
                list.extend(self.pair.b.ike().unwrap().inbound_spis(name).unwrap());
            }
            traffic::progress(&flows, 300, wait::STEP).unwrap();
            self.pair.a.ike().unwrap().rekey_child(child).unwrap();
        }
        traffic::progress(&flows, 300, wait::STEP).unwrap();
        for (list, name) in spis.iter_mut().zip(["one", "two"]) {
            list.extend(self.pair.b.ike().unwrap().inbound_spis(name).unwrap());
        }
        for (report, sent) in traffic::finish(flows).unwrap().into_iter().zip(&mut payloads) {
            assert!(report.is_perfect(), "{report:?}");
            *sent = report.sent;
        }
        let captured = wire.finish().unwrap();
        let packets = esp_trace::esp_packets(&captured.to_b.frames);
        assert_eq!(captured.capture_drops(), 0);
        for (number, sent) in payloads.into_iter().enumerate() {
            let by_these =
                packets.iter().filter(|packet| spis[number].contains(&format!("{:08x}", packet.spi)));
            assert_eq!(by_these.count() as u64, sent, "tunnel {} carried its own traffic only", number + 1);
        }
        assert_eq!(esp_trace::repeated_ivs(&packets), []);
        assert!(!captured.frames().iter().any(|frame| frame.contains(MARKER)), "clear text on the wire");
        self.pair.check().unwrap();
    }
}

#[test]
fn two_tunnels_with_selectors_for_everything_are_told_apart_by_if_id() {
    Twins::start("everything", [["0.0.0.0/0", "0.0.0.0/0"]; 2]).carry_apart();
}

#[test]
fn overlapping_tunnels_between_the_same_endpoints_carry_what_is_routed_to_each() {
    Twins::start("overlap", [["10.1.0.0/24", "10.2.0.0/24"], ["10.0.0.0/8", "10.2.0.0/16"]]).carry_apart();
}

/// A hub with two strongSwan peers behind one `if_id`; peer C hangs on a second port.
struct Hub {
    gateway: Gateway,
    charon_b: Charon,
    charon_c: Charon,
    sites: Sites,
    host_c: espalier_tests::Netns,
    gw_c: espalier_tests::Netns,
    world: World,
}

impl Hub {
    fn start() -> Self {
        let world = World::new("one-if-id").unwrap();
        let sites = Sites::new(&world, Stack::Espalier, Stack::Kernel).unwrap();
        let (gw_c, host_c) = (world.netns("gc").unwrap(), world.netns("hc").unwrap());
        veth(&sites.gw_a, "veth-wan2", &gw_c, "wan").unwrap();
        veth(&gw_c, "lan", &host_c, "eth0").unwrap();
        gw_c.forward().unwrap();
        gw_c.ip("addr add 198.51.100.2/24 dev wan").unwrap();
        gw_c.ip("addr add 10.3.0.1/24 dev lan").unwrap();
        host_c.ip("addr add 10.3.0.2/24 dev eth0").unwrap();
        host_c.ip("route add default via 10.3.0.1").unwrap();
        let toml = topology::espalier_toml(Side::A)
            .port(Port::on_veth(2, "wan2", &["198.51.100.1/24"]))
            .interface("ipsec1", 1)
            .route("10.2.0.0/16", "ipsec1")
            .route("10.3.0.0/16", "ipsec1");
        let gateway = Gateway::new(&world, &sites.gw_a, "gateway-a", toml).unwrap();
        let charon_b = Charon::new(&world, &sites.gw_b, "gateway-b", Kernel::Libipsec).unwrap();
        let charon_c = Charon::new(&world, &gw_c, "gateway-c", Kernel::Libipsec).unwrap();
        let mut hub = Self { gateway, charon_b, charon_c, sites, host_c, gw_c, world };
        let conn =
            |name: &str, own: (&str, &str), peer: (&str, &str), nets: [&str; 2], if_id: Option<&str>| {
                let mut child = Child::new(name, nets[0], nets[1]);
                child.if_id = if_id.map(str::to_owned);
                Connection::new(name, own, peer).child(child)
            };
        let (a, a2, b, c) = (
            ("a.test", "192.0.2.1"),
            ("a.test", "198.51.100.1"),
            ("b.test", "192.0.2.2"),
            ("c.test", "198.51.100.2"),
        );
        // Each peer reaches the other's network through the hub.
        let (net_b, net_c) = ("10.2.0.0/24", "10.3.0.0/24");
        let (beyond_b, beyond_c) = ("10.1.0.0/24,10.3.0.0/24", "10.1.0.0/24,10.2.0.0/24");
        hub.gateway.start(&hub.world).unwrap();
        hub.gateway
            .start_charon(
                &hub.world,
                &[
                    conn("to-b", a, b, [beyond_b, net_b], Some("1")),
                    conn("to-c", a2, c, [beyond_c, net_c], Some("1")),
                ],
            )
            .unwrap();
        hub.charon_b.configure(&[conn("to-b", b, a, [net_b, beyond_b], None)]).unwrap();
        hub.charon_b.start(&hub.world).unwrap();
        hub.charon_c.configure(&[conn("to-c", c, a2, [net_c, beyond_c], None)]).unwrap();
        hub.charon_c.start(&hub.world).unwrap();
        hub
    }

    fn flows(&self) -> Vec<Flow> {
        let a = &self.sites.host_a;
        let spec =
            |from: &espalier_tests::Netns, src: &str, to: &espalier_tests::Netns, dst: &str| FlowSpec {
                label: format!("{src} to {dst}"),
                from: from.clone(),
                src: src.parse().unwrap(),
                to: to.clone(),
                dst: dst.parse().unwrap(),
                pps: 800,
                payload_octets: 200,
            };
        [
            spec(a, "10.1.0.2", &self.sites.host_b, "10.2.0.2:7001"),
            spec(a, "10.1.0.2", &self.host_c, "10.3.0.2:7001"),
            spec(&self.sites.host_b, "10.2.0.2", a, "10.1.0.2:7002"),
            spec(&self.host_c, "10.3.0.2", a, "10.1.0.2:7003"),
            spec(&self.sites.host_b, "10.2.0.2", &self.host_c, "10.3.0.2:7004"),
        ]
        .map(|spec| Flow::start(spec).unwrap())
        .into_iter()
        .collect()
    }
}

#[test]
fn two_peers_behind_one_if_id_get_their_own_packets_through_interleaved_rekeyings() {
    let mut hub = Hub::start();
    let ike = hub.gateway.ike().unwrap();
    ike.initiate("to-b").unwrap();
    ike.initiate("to-c").unwrap();
    hub.sites.acquaint().unwrap();
    hub.host_c.ping("10.1.0.2", 1).unwrap();
    hub.host_c.ping("10.2.0.2", 1).unwrap();
    let wire_b = Wire::start(&hub.world, &hub.sites, "wan").unwrap();
    let wire_c = espalier_tests::capture::Capture::start(
        &hub.world,
        &hub.gw_c,
        "wan",
        espalier_tests::capture::Direction::In,
        espalier_tests::capture::WHOLE,
    )
    .unwrap();
    let flows = hub.flows();
    let rekey: [(&Charon, &str); 6] = [
        (ike, "to-b"),
        (ike, "to-c"),
        (&hub.charon_b, "to-b"),
        (ike, "to-c"),
        (&hub.charon_c, "to-c"),
        (ike, "to-b"),
    ];
    for (charon, child) in rekey {
        traffic::progress(&flows, 200, wait::STEP).unwrap();
        charon.rekey_child(child).unwrap();
    }
    traffic::progress(&flows, 200, wait::STEP).unwrap();
    let reports = traffic::finish(flows).unwrap();
    for report in &reports {
        assert!(report.is_perfect(), "{report:?}");
    }
    let to_b = esp_trace::esp_packets(&wire_b.finish().unwrap().to_b.frames);
    let to_c = esp_trace::esp_packets(&wire_c.finish().unwrap().frames);
    let spis = |packets: &[Esp]| esp_trace::by_spi(packets).into_keys().collect::<Vec<_>>();
    assert!(spis(&to_b).iter().all(|spi| !spis(&to_c).contains(spi)), "an SA carried packets to both peers");
    let expected = (reports[0].sent, reports[1].sent + reports[4].sent);
    assert_eq!(
        (to_b.len() as u64, to_c.len() as u64),
        expected,
        "C also gets what B sends it through the hub"
    );
    Ledger::settled(&hub.gateway.espctl()).unwrap().check().unwrap();
    hub.gateway.must_run().unwrap();
}
