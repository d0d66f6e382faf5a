//! Plain ESP and ESP in UDP against scapy's ESP layer, both directions.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use espalier_tests::keyed::{ECHO_PORT, Echo, Keyed, ScapyPeer, usual_networks, usual_sas};
use espalier_tests::topology::{self, Side};
use serde_json::{Value, json};

/// How a tunnel differs from the usual one.
#[derive(Clone, Copy, Default)]
struct Variant {
    outer_v6: bool,
    esn: bool,
    encap: bool,
    key_octets: usize,
    start: u64,
}

/// Exchanges datagrams of both inner families with scapy and compares every octet and number.
fn exchange(keyed: &Keyed, variant: Variant) {
    let [mut inbound, mut outbound] = usual_sas(variant.outer_v6);
    for sa in [&mut inbound, &mut outbound] {
        sa.esn = variant.esn;
        sa.seq = variant.start;
        sa.key_and_salt.truncate(variant.key_octets + 4);
    }
    if variant.encap {
        inbound.encap = Some((4500, 4500));
        outbound.encap = Some((4500, 4500));
    }
    keyed.gateway.espctl().run("xfrm state flush").unwrap();
    keyed.gateway.espctl().run("xfrm policy flush").unwrap();
    keyed.install(&inbound, &outbound, &usual_networks()).unwrap();
    let mut steps = Vec::new();
    for number in 0..8_usize {
        let (src, dst) = if number % 2 == 0 {
            (Side::B.host_v4(), Side::A.host_v4())
        } else {
            (Side::B.host_v6(), Side::A.host_v6())
        };
        // Lengths that meet every padding length.
        let payload = "c3".repeat(1 + number * 3);
        steps.push(json!({
            "kind": "genuine", "src": src, "dst": dst, "port": ECHO_PORT, "payload": payload, "echo": true
        }));
    }
    let results = keyed
        .scapy(&ScapyPeer { inbound: &inbound, outbound: &outbound, others: &[] }, steps.clone())
        .unwrap();
    for (number, (step, result)) in steps.iter().zip(&results).enumerate() {
        let answer = &result["answer"];
        let what = format!("datagram {number}, outer v6 {}, esn {}", variant.outer_v6, variant.esn);
        assert_ne!(*answer, Value::Null, "{what}: no answer");
        assert_eq!(answer["payload"], step["payload"], "{what}");
        assert_eq!((&answer["src"], &answer["dst"]), (&step["dst"], &step["src"]), "{what}");
        assert_eq!(answer["ttl"], 63, "{what}: the gateway is one hop");
        assert_eq!(answer["seq"], variant.start + 1 + number as u64, "{what}");
    }
}

/// Numbers that cross the border between two high halves in the middle of an exchange.
const BORDER: u64 = 0x1_ffff_fffb;

#[test]
fn scapy_and_the_gateway_open_what_the_other_sealed() {
    let toml = topology::espalier_toml(Side::A)
        .interface("ipsec1", 1)
        .route("10.2.0.0/24", "ipsec1")
        .route("fd00:2::/64", "ipsec1");
    let mut keyed = Keyed::start("scapy", toml).unwrap();
    let _echo_v4 = Echo::start(&keyed.sites.host_a, &Side::A.host_v4()).unwrap();
    let _echo_v6 = Echo::start(&keyed.sites.host_a, &Side::A.host_v6()).unwrap();
    let usual = Variant { key_octets: 32, ..Variant::default() };
    for outer_v6 in [false, true] {
        exchange(&keyed, Variant { outer_v6, ..usual });
        exchange(&keyed, Variant { outer_v6, esn: true, ..usual });
        exchange(&keyed, Variant { outer_v6, esn: true, start: BORDER, ..usual });
    }
    exchange(&keyed, Variant { encap: true, ..usual });
    exchange(&keyed, Variant { encap: true, esn: true, start: BORDER, ..usual });
    exchange(&keyed, Variant { key_octets: 16, ..usual });
    exchange(&keyed, Variant { key_octets: 24, esn: true, ..usual });
    let ledger = keyed.check().unwrap();
    assert_eq!(ledger.dropped("replay") + ledger.dropped("integrity"), 0);
}

#[test]
fn without_netdevs_the_engine_resolves_its_neighbours_itself() {
    let mut toml = topology::espalier_toml(Side::A)
        .interface("ipsec1", 1)
        .route("10.2.0.0/24", "ipsec1")
        .route("fd00:2::/64", "ipsec1");
    toml.netdevs = false;
    let mut keyed = Keyed::start("scapy-alone", toml).unwrap();
    let _echo_v4 = Echo::start(&keyed.sites.host_a, &Side::A.host_v4()).unwrap();
    let _echo_v6 = Echo::start(&keyed.sites.host_a, &Side::A.host_v6()).unwrap();
    exchange(&keyed, Variant { key_octets: 32, ..Variant::default() });
    exchange(&keyed, Variant { key_octets: 32, outer_v6: true, esn: true, ..Variant::default() });
    assert!(keyed.sites.gw_a.ip("link show dev wan").is_err(), "no TAP was asked for");
    keyed.check().unwrap();
}
