//! Policy-based and route-based tunnels in one gateway.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use espalier_tests::pair::{self, Outer, Pair};
use espalier_tests::swanctl::Child;
use espalier_tests::topology::{self, Side};
use espalier_tests::traffic::{self, Flow, FlowSpec, MARKER};
use espalier_tests::{esp_trace, wait};

/// The network at site B that is reached through the route-based tunnel.
const ROUTED: &str = "10.22.0.0/24";

fn pair() -> Pair {
    let connection = |name: &str, side: Side, b_net: &str, if_id: Option<&str>| {
        let (local, remote) = if side == Side::A { ("10.1.0.0/24", b_net) } else { (b_net, "10.1.0.0/24") };
        let mut child = Child::new(name, local, remote);
        child.if_id = if_id.map(str::to_owned);
        pair::connection(name, side, Outer::V4).child(child)
    };
    let both = |side: Side| {
        // At gateway B both tunnels are policy-based; at A one has an interface.
        let if_id = (side == Side::A).then_some("9");
        [connection("policy", side, "10.2.0.0/24", None), connection("route", side, ROUTED, if_id)]
    };
    let toml_a = topology::espalier_toml(Side::A).interface("ipsec9", 9).route(ROUTED, "ipsec9");
    let toml_b = topology::espalier_toml(Side::B).route_via(ROUTED, "10.2.0.2", "lan");
    let pair = Pair::start("side-by-side", [toml_a, toml_b], [&both(Side::A), &both(Side::B)]).unwrap();
    pair.sites.host_b.ip("addr add 10.22.0.2/24 dev eth0").unwrap();
    pair
}

fn flows(pair: &Pair) -> Vec<Flow> {
    pair.sites.acquaint().unwrap();
    pair.sites.host_a.ping("10.22.0.2", 1).unwrap();
    let mut specs: Vec<FlowSpec> = Vec::new();
    for (address, port) in [("10.2.0.2", 7001), ("10.22.0.2", 7002)] {
        let mut there = pair.sites.flow_v4(Side::A, port, 800).unwrap();
        there.dst = format!("{address}:{port}").parse().unwrap();
        there.label = format!("A to {address}");
        let mut back = pair.sites.flow_v4(Side::B, port, 800).unwrap();
        back.src = address.parse().unwrap();
        back.label = format!("{address} to A");
        specs.extend([there, back]);
    }
    specs.into_iter().map(|spec| Flow::start(spec).unwrap()).collect()
}

#[test]
fn policy_based_and_route_based_tunnels_carry_traffic_side_by_side() {
    let mut pair = pair();
    let wire = pair.capture().unwrap();
    let ike = pair.a.ike().unwrap();
    ike.initiate("policy").unwrap();
    ike.initiate("route").unwrap();
    let running = flows(&pair);
    for (gateway, child) in [(&pair.a, "policy"), (&pair.a, "route"), (&pair.b, "policy"), (&pair.b, "route")]
    {
        traffic::progress(&running, 200, wait::STEP).unwrap();
        gateway.ike().unwrap().rekey_child(child).unwrap();
    }
    traffic::progress(&running, 200, wait::STEP).unwrap();
    for report in traffic::finish(running).unwrap() {
        assert!(report.is_perfect(), "{report:?}");
    }
    let captured = wire.finish().unwrap();
    let frames = captured.frames();
    assert_eq!(captured.capture_drops(), 0);
    assert_eq!(esp_trace::repeated_ivs(&esp_trace::esp_packets(&frames)), []);
    assert!(!frames.iter().any(|frame| frame.contains(MARKER)), "clear text on the wire");
    pair.check().unwrap();
}

#[test]
fn without_its_tunnel_a_policy_based_network_is_not_reached_in_clear() {
    let mut pair = pair();
    let wire = pair.capture().unwrap();
    let ike = pair.a.ike().unwrap();
    ike.initiate("policy").unwrap();
    ike.initiate("route").unwrap();
    let running = flows(&pair);
    traffic::progress(&running, 100, wait::STEP).unwrap();
    ike.terminate("policy").unwrap();
    ike.terminate("route").unwrap();
    let sent = running[0].sent();
    wait::until_true("more datagrams without tunnels", wait::STEP, || running[0].sent() > sent + 300)
        .unwrap();
    for report in traffic::finish(running).unwrap() {
        assert_eq!(report.duplicated + report.foreign, 0, "{report:?}");
    }
    let captured = wire.finish().unwrap();
    assert_eq!(captured.capture_drops(), 0);
    assert!(!captured.frames().iter().any(|frame| frame.contains(MARKER)), "clear text on the wire");
    pair.check().unwrap();
}
