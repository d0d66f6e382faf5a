//! Each named drop, provoked on the wire and counted under its own name and no other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use std::collections::BTreeMap;
use std::net::UdpSocket;

use espalier_tests::capture::{Capture, Direction, WHOLE};
use espalier_tests::gateway_toml::{GatewayToml, Port};
use espalier_tests::keyed::{Keyed, ScapyPeer, usual_sas};
use espalier_tests::ledger::Ledger;
use espalier_tests::manual::ManualSa;
use espalier_tests::topology::{self, Side};
use espalier_tests::wait;
use serde_json::{Value, json};

/// Without a default route, so that "no route" can be met.
fn toml() -> GatewayToml {
    let mut toml = GatewayToml { workers: vec![topology::worker_cpu(Side::A)], ..GatewayToml::default() };
    for (number, name) in [(0, "wan"), (1, "lan")] {
        let addresses = topology::gateway_addresses(Side::A, name);
        toml = toml.port(Port::on_veth(number, name, &addresses.each_ref().map(String::as_str)));
    }
    let mut toml = toml.interface("ipsec1", 1).interface("ipsec2", 2);
    for network in ["10.2.0.0/24", "10.60.0.0/16", "10.61.0.0/16", "10.62.0.0/16"] {
        toml = toml.route(network, "ipsec1");
    }
    toml
}

fn sa(direction: &'static str, spi: u32, reqid: u32, if_id: u32, more: &str) -> ManualSa {
    let [inbound, outbound] = usual_sas(false);
    let base = if direction == "in" { inbound } else { outbound };
    let fresh = ManualSa::new(direction, &base.src, &base.dst, spi);
    ManualSa { reqid, if_id, more: more.to_owned(), ..fresh }
}

/// What the cases need besides the usual tunnel; the names are those that steps use.
fn other_inbound() -> Vec<(&'static str, ManualSa)> {
    vec![
        ("selector", sa("in", 0x1011, 11, 1, "sel src 10.2.0.0/24 dst 10.1.0.0/24")),
        ("if-id-2", sa("in", 0x1012, 1, 2, "")),
        ("template", sa("in", 0x1013, 77, 1, "")),
        ("expired", sa("in", 0x1014, 1, 1, "limit packet-hard 1")),
        ("policy-based", sa("in", 0x1015, 4, 0, "")),
    ]
}

fn install(keyed: &Keyed, inbound: &ManualSa, outbound: &ManualSa) {
    keyed.install(inbound, outbound, &[["10.1.0.0/24", "10.2.0.0/24"]]).unwrap();
    let mut lines = String::new();
    for (_, other) in other_inbound() {
        lines += &other.line();
    }
    let policy = |selector: &str, direction: &str, if_id: &str, rest: &str| {
        format!("xfrm policy add {selector} dir {direction} {if_id} {rest}\n")
    };
    let template = |reqid: u32, out: bool| {
        let (src, dst) = if out { ("192.0.2.1", "192.0.2.2") } else { ("192.0.2.2", "192.0.2.1") };
        format!("tmpl src {src} dst {dst} proto esp reqid {reqid} mode tunnel")
    };
    // Decrypted packets for a network without route.
    for direction in ["in", "fwd"] {
        lines += &policy("src 10.2.0.0/24 dst 10.50.0.0/24", direction, "if_id 1", &template(1, false));
        lines += &policy("src 10.2.0.66/32 dst 10.1.0.0/24", direction, "if_id 1", "action block priority 1");
        lines += &policy("src 10.4.0.0/24 dst 10.1.0.0/24", direction, "", &template(4, false));
    }
    lines += &policy("src 10.1.0.0/24 dst 10.60.0.0/16", "out", "if_id 1", &template(99, true));
    lines += &policy("src 10.1.0.0/24 dst 10.62.0.0/16", "out", "if_id 1", "action block");
    keyed.gateway.espctl().batch(&lines).unwrap();
}

/// A genuine inner packet, to be varied.
fn step(kind: &str, more: Value) -> Value {
    let mut step = json!({
        "kind": kind, "src": "10.2.0.2", "dst": "10.1.0.2", "port": 9009, "payload": "00".repeat(40)
    });
    if let (Value::Object(step), Value::Object(more)) = (&mut step, more) {
        step.extend(more);
    }
    step
}

/// The first fragment of an ESP packet from gateway B, as hexadecimal digits.
fn esp_fragment_v6() -> String {
    let address = |last: &str| "20010db8".to_owned() + &"0".repeat(23) + last;
    let header = "60000000".to_owned() + "0048" + "2c" + "40" + &address("2") + &address("1");
    header + "32000001" + "00000001" + "00001001" + "00000001" + &"00".repeat(56)
}

fn inbound_cases() -> Vec<(&'static str, Value)> {
    vec![
        ("unknown_spi", step("unknown-spi", json!({"spi": 0x0777_0777_u32}))),
        ("sa_mismatch", step("by-hand", json!({"outer": {"in_udp": true}}))),
        ("integrity", step("forged", json!({}))),
        ("integrity", step("forged", json!({"at": 20}))),
        ("integrity", step("forged", json!({"at": 7}))),
        ("malformed_esp", step("short", json!({"octets_kept": 20}))),
        // The af_packet driver lets the kernel reassemble IPv4, so only IPv6 fragments are seen here.
        ("esp_fragment", json!({"kind": "ethernet", "type": 0x86dd, "octets": esp_fragment_v6()})),
        ("bad_padding", step("bad-padding", json!({}))),
        ("bad_padding", step("long-padding", json!({}))),
        ("dummy", step("next-header", json!({"next_header": 59}))),
        ("not_tunnel", step("next-header", json!({"next_header": 17}))),
        ("bad_inner", json!({"kind": "by-hand", "octets": "4500".to_owned() + &"ff".repeat(30)})),
        ("ecn", step("by-hand", json!({"outer": {"tos": 3}}))),
        ("inbound_selector", step("genuine", json!({"sa": "selector", "src": "10.2.7.7"}))),
        ("inbound_no_policy", step("genuine", json!({"src": "10.9.9.9"}))),
        ("if_id_mismatch", step("genuine", json!({"sa": "if-id-2"}))),
        ("inbound_blocked", step("genuine", json!({"src": "10.2.0.66"}))),
        ("inbound_template", step("genuine", json!({"sa": "template"}))),
        ("ttl_expired", step("genuine", json!({"ttl": 1}))),
        ("no_route", step("genuine", json!({"dst": "10.50.0.1"}))),
        ("unprotected", step("clear", json!({"src": "10.4.0.2"}))),
        ("unprotected_forwarding", step("clear", json!({"src": "203.0.113.9"}))),
        ("martian", step("clear", json!({"src": "127.0.0.1"}))),
        ("keepalive", json!({"kind": "udp-4500", "octets": "ff"})),
        ("unknown_ethertype", json!({"kind": "ethernet", "type": 0x88b5, "octets": "00".repeat(50)})),
        (
            "foreign_mac",
            json!({"kind": "ethernet", "type": 0x800, "mac": "02:99:99:99:99:99", "octets": "45".repeat(50)}),
        ),
        (
            "malformed_ip",
            json!({"kind": "ethernet", "type": 0x800, "octets": "4500ffff".to_owned() + &"00".repeat(46)}),
        ),
        (
            "ip_checksum",
            json!({"kind": "ethernet", "type": 0x800, "octets":
                "4500001c00010000401112340a0200020a010002".to_owned() + &"00".repeat(26)}),
        ),
    ]
}

fn drops_since(before: &Ledger, after: &Ledger) -> BTreeMap<String, u64> {
    after
        .drops
        .iter()
        .map(|(reason, count)| (reason.clone(), count - before.dropped(reason)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

fn counted<'a>(reasons: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, u64> {
    let mut expected = BTreeMap::new();
    for reason in reasons {
        *expected.entry(reason.to_owned()).or_default() += 1;
    }
    expected
}

/// Reasons that ordinary neighbours cause while a test runs: neither asked for nor ruled out.
fn without_bystanders(mut drops: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    for bystander in ["multicast", "neighbor_message", "not_for_us", "no_host"] {
        drops.remove(bystander);
    }
    drops
}

#[test]
fn every_inbound_fault_is_dropped_for_its_own_reason() {
    let mut keyed = Keyed::start("drops-in", toml()).unwrap();
    let [inbound, outbound] = usual_sas(false);
    install(&keyed, &inbound, &outbound);
    let behind = Capture::start(&keyed.world, &keyed.sites.host_a, "eth0", Direction::In, WHOLE).unwrap();
    // Both neighbours are known: the gateway tells senders why it dropped some of these.
    keyed.sites.host_a.ping("10.1.0.1", 1).unwrap();
    keyed.sites.gw_b.ping("192.0.2.1", 1).unwrap();
    let before = keyed.check().unwrap();
    let (mut reasons, mut steps): (Vec<_>, Vec<_>) = inbound_cases().into_iter().unzip();
    // One genuine packet, its copies, and one older than the window; the last by an SA that is used up.
    steps.push(step("genuine", json!({"seq": 5000, "copies": 3})));
    // In one burst with the first it would be late, but not too late.
    steps.push(step("genuine", json!({"seq": 100, "pause": 0.2})));
    steps.push(step("genuine", json!({"sa": "expired"})));
    steps.push(step("genuine", json!({"sa": "expired"})));
    reasons.extend(["replay", "replay", "too_old", "inbound_expired"]);
    let others = other_inbound();
    keyed.scapy(&ScapyPeer { inbound: &inbound, outbound: &outbound, others: &others }, steps).unwrap();
    let after = keyed.check().unwrap();
    assert_eq!(without_bystanders(drops_since(&before, &after)), counted(reasons));
    let delivered = behind.finish().unwrap().frames;
    let delivered =
        delivered.iter().filter(|f| f.ip().is_some_and(|ip| ip.payload.get(2..4) == Some(&[0x23, 0x31])));
    assert_eq!(delivered.count(), 2, "only the two genuine packets reach the host");
}

/// Sends a datagram from host A to each address, in one go.
fn from_host_a(keyed: &Keyed, destinations: &[&str]) {
    keyed
        .sites
        .host_a
        .inside(|| {
            let socket = UdpSocket::bind("10.1.0.2:0")?;
            for dst in destinations {
                socket.send_to(&[0; 40], (*dst, 9009))?;
            }
            Ok(())
        })
        .unwrap();
}

/// Gateway A's host makes an ESP packet itself.
fn make_esp(keyed: &Keyed) {
    let script = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 50); \
                  s.sendto(b'\\0' * 60, ('192.0.2.2', 0))";
    keyed.sites.gw_a.run("/usr/bin/python3", &["-c", script]).unwrap();
}

#[test]
fn every_outbound_fault_is_dropped_for_its_own_reason() {
    let mut keyed = Keyed::start("drops-out", toml()).unwrap();
    let [inbound, outbound] = usual_sas(false);
    install(&keyed, &inbound, &outbound);
    let wire = Capture::start(&keyed.world, &keyed.sites.gw_b, "wan", Direction::In, WHOLE).unwrap();
    // Teaches both sides their neighbours.
    from_host_a(&keyed, &["10.2.0.2"]);
    let before = keyed.check().unwrap();
    for (dst, _) in [
        ("10.61.0.1", "outbound_no_policy"),
        ("10.60.0.1", "no_sa"),
        ("10.62.0.1", "outbound_blocked"),
        ("172.31.0.1", "no_route"),
        ("192.0.2.2", "unprotected_forwarding"),
    ] {
        from_host_a(&keyed, &[dst]);
    }
    // Longer than the tunnel's MTU and not to be fragmented: the host is told the size.
    let told = keyed
        .sites
        .host_a
        .command("ping", &["-n", "-c", "1", "-W", "1", "-M", "do", "-s", "1460", "10.2.0.2"]);
    let told = { told }.output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned() + &String::from_utf8_lossy(&told.stderr);
    assert!(told.contains("mtu") || told.contains("Frag needed"), "{told}");
    make_esp(&keyed);
    // Used up by number and by count.
    let mut last = sa("out", 0x2003, 1, 1, "");
    last.seq = 0xffff_fffe;
    keyed.gateway.espctl().batch(&last.line()).unwrap();
    // Both at once: the bridge retires an SA as soon as it hears that it is used up.
    from_host_a(&keyed, &["10.2.0.2"; 2]);
    wait::until_true("the used-up SA to be retired", wait::STEP, || {
        !keyed.gateway.espctl().run("xfrm state list").unwrap_or_default().contains("0x00002003")
    })
    .unwrap();
    let counted_out = sa("out", 0x2004, 1, 1, "limit packet-hard 1");
    keyed.gateway.espctl().batch(&counted_out.line()).unwrap();
    from_host_a(&keyed, &["10.2.0.2"; 2]);
    let after = keyed.check().unwrap();
    let expected = counted([
        "outbound_no_policy",
        "no_sa",
        "outbound_blocked",
        "no_route",
        "unprotected_forwarding",
        "mtu_exceeded",
        "host_esp",
        "sequence_exhausted",
        "outbound_expired",
    ]);
    assert_eq!(without_bystanders(drops_since(&before, &after)), expected);
    let clear = wire.finish().unwrap();
    let clear =
        clear.frames.iter().filter(|f| f.ip().is_some_and(|ip| ip.src.to_string().starts_with("10.1.")));
    assert_eq!(clear.count(), 0, "clear text on the wire");
}
