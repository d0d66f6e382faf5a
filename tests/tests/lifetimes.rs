//! charon never rekeys by itself: limits are kept below it, and reported.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use espalier_tests::pair::{self, Outer, Pair};
use espalier_tests::topology::{self, Side};
use espalier_tests::traffic::{self, Flow};
use espalier_tests::{esp_trace, wait};

/// Starts two gateways; the lines go into gateway A's tunnel.
fn pair(test: &str, lines: &[&str]) -> Pair {
    let toml = |side: Side| {
        topology::espalier_toml(side).interface("ipsec1", 1).route(&side.other().lan_v4(), "ipsec1")
    };
    let connection = |side: Side| {
        let mut child = pair::both_families("net", side).if_id("1");
        if side == Side::A {
            child = lines.iter().fold(child, |child, line| child.line(line));
        }
        pair::connection("ab", side, Outer::V4).child(child)
    };
    let (a, b) = (connection(Side::A), connection(Side::B));
    Pair::start(test, [toml(Side::A), toml(Side::B)], [&[a], &[b]]).unwrap()
}

/// Waits for `rekeyings` new pairs of SAs while numbered traffic flows, and expects none of it to be lost.
fn rekeys_itself(test: &str, lines: &[&str], rekeyings: usize) {
    let mut pair = pair(test, lines);
    pair.a.ike().unwrap().initiate("net").unwrap();
    pair.sites.acquaint().unwrap();
    let wire = pair.capture().unwrap();
    let flows =
        [Side::A, Side::B].map(|side| Flow::start(pair.sites.flow_v4(side, 7004, 1000).unwrap()).unwrap());
    let mut seen = std::collections::HashSet::new();
    wait::until("the tunnel to rekey itself", wait::LONG, || {
        seen.extend(pair.a.ike()?.inbound_spis("net")?);
        Ok((seen.len() > rekeyings).then_some(()))
    })
    .unwrap();
    traffic::progress(&flows, 200, wait::STEP).unwrap();
    for report in traffic::finish(flows).unwrap() {
        assert!(report.is_perfect(), "{report:?}");
    }
    let captured = wire.finish().unwrap();
    let packets = esp_trace::esp_packets(&captured.frames());
    assert_eq!(esp_trace::repeated_ivs(&packets), []);
    assert!(esp_trace::by_spi(&packets).len() >= 2 * (rekeyings + 1));
    pair.check().unwrap();
}

#[test]
fn a_soft_limit_of_packets_makes_charon_rekey_under_traffic() {
    rekeys_itself("soft-packets", &["rekey_packets = 2000", "life_packets = 100000", "rand_packets = 0"], 2);
}

#[test]
fn a_soft_limit_of_octets_makes_charon_rekey_under_traffic() {
    rekeys_itself("soft-octets", &["rekey_bytes = 500000", "life_bytes = 50000000", "rand_bytes = 0"], 2);
}

#[test]
fn a_soft_limit_of_time_makes_charon_rekey_under_traffic() {
    // The usual `rekey_time = 1h` comes first in the file; the later line wins.
    rekeys_itself("soft-time", &["rekey_time = 3s", "life_time = 60s", "rand_time = 0s"], 2);
}

#[test]
fn a_trap_policy_brings_the_tunnel_up_with_the_first_packet() {
    let mut pair = pair("trap", &["start_action = trap"]);
    let wire = pair.capture().unwrap();
    let flow = Flow::start(pair.sites.flow_v4(Side::A, 7004, 300).unwrap()).unwrap();
    flow.await_progress(300, wait::LONG).unwrap();
    let report = flow.finish().unwrap();
    assert_eq!(report.duplicated + report.foreign, 0, "{report:?}");
    let captured = wire.finish().unwrap();
    let clear = captured.frames().iter().any(|frame| frame.contains(espalier_tests::traffic::MARKER));
    assert!(!clear, "clear text on the wire");
    pair.check().unwrap();
}
