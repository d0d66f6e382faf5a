//! Two Espalier gateways negotiate plain ESP with each other, by a charon each.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use std::time::Duration;

use espalier_tests::pair::{self, Outer, Pair};
use espalier_tests::swanctl::ESP_ESN;
use espalier_tests::topology::{self, Side};
use espalier_tests::traffic::{Flow, MARKER};
use espalier_tests::{esp_trace, traffic, wait};

fn pair(test: &str, outer: Outer) -> Pair {
    let toml = |side: Side| {
        topology::espalier_toml(side)
            .interface("ipsec1", 1)
            .route(&side.other().lan_v4(), "ipsec1")
            .route(&side.other().lan_v6(), "ipsec1")
    };
    let connection = |side: Side| {
        pair::connection("ab", side, outer).child(pair::both_families("net", side).if_id("1").esp(ESP_ESN))
    };
    let (a, b) = (connection(Side::A), connection(Side::B));
    Pair::start(test, [toml(Side::A), toml(Side::B)], [&[a], &[b]]).unwrap()
}

/// Both inner families in both directions while both sides rekey: nothing lost, doubled or repeated.
fn both_families_survive_rekeying(test: &str, outer: Outer) {
    let mut pair = pair(test, outer);
    pair.a.ike().unwrap().initiate("net").unwrap();
    pair.sites.host_a.ping(&Side::B.host_v4(), 2).unwrap();
    pair.sites.host_b.ping(&Side::A.host_v6(), 2).unwrap();
    let wire = pair.capture().unwrap();
    let mut flows = Vec::new();
    for side in [Side::A, Side::B] {
        flows.push(Flow::start(pair.sites.flow_v4(side, 7004, 1000).unwrap()).unwrap());
        flows.push(Flow::start(pair.sites.flow_v6(side, 7006, 1000).unwrap()).unwrap());
    }
    for gateway in [&pair.a, &pair.b, &pair.a] {
        traffic::progress(&flows, 300, wait::STEP).unwrap();
        gateway.ike().unwrap().rekey_child("net").unwrap();
    }
    pair.b.ike().unwrap().rekey_ike("ab").unwrap();
    traffic::progress(&flows, 300, wait::STEP).unwrap();
    for report in traffic::finish(flows).unwrap() {
        assert!(report.is_perfect(), "{report:?}");
    }
    let captured = wire.finish().unwrap();
    let frames = captured.frames();
    let packets = esp_trace::esp_packets(&frames);
    assert_eq!(captured.capture_drops(), 0);
    assert!(
        packets.iter().all(|packet| !packet.encapsulated && packet.src.is_ipv4() == (outer == Outer::V4))
    );
    assert_eq!(esp_trace::repeated_ivs(&packets), []);
    assert_eq!(esp_trace::by_spi(&packets).len(), 8, "four generations of two SAs");
    assert!(!frames.iter().any(|frame| frame.contains(MARKER)), "clear text on the wire");
    pair.check().unwrap();
}

#[test]
fn plain_esp_with_esn_over_ipv4_carries_both_families_through_rekeyings() {
    both_families_survive_rekeying("two-gateways-v4", Outer::V4);
}

#[test]
fn plain_esp_with_esn_over_ipv6_carries_both_families_through_rekeyings() {
    both_families_survive_rekeying("two-gateways-v6", Outer::V6);
}

#[test]
fn a_terminated_tunnel_lets_nothing_out_and_comes_back() {
    let mut pair = pair("terminate", Outer::V4);
    let wire = pair.capture().unwrap();
    pair.a.ike().unwrap().initiate("net").unwrap();
    let flow = Flow::start(pair.sites.flow_v4(Side::A, 7004, 500).unwrap()).unwrap();
    flow.await_progress(200, wait::STEP).unwrap();
    pair.a.ike().unwrap().terminate("net").unwrap();
    wait::until_true("SAs and policies to be gone on both sides", wait::STEP, || {
        [&pair.a, &pair.b].iter().all(|gateway| {
            let listed = |what: &str| gateway.espctl().run(&format!("xfrm {what} list")).unwrap_or_default();
            listed("state").trim().is_empty() && listed("policy").trim().is_empty()
        })
    })
    .unwrap();
    let (sent, received) = (flow.sent(), flow.received());
    wait::until_true("more datagrams without a tunnel", wait::STEP, || flow.sent() > sent + 300).unwrap();
    assert!(flow.received() <= received + 50, "datagrams arrive without a tunnel");
    pair.b.ike().unwrap().initiate("net").unwrap();
    flow.await_progress(200, wait::STEP).unwrap();
    let report = flow.finish().unwrap();
    assert_eq!(report.duplicated + report.foreign, 0, "{report:?}");
    assert!(report.longest_silence > Duration::from_millis(200), "{report:?}");
    let captured = wire.finish().unwrap();
    let frames = captured.frames();
    assert!(!frames.iter().any(|frame| frame.contains(MARKER)), "clear text on the wire");
    assert_eq!(esp_trace::repeated_ivs(&esp_trace::esp_packets(&frames)), []);
    pair.check().unwrap();
}
