//! The kernel behind a port stays silent about what the engine has already taken.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use espalier_tests::keyed::{self, Keyed};
use espalier_tests::topology::{self, Side};
use serde_json::{Value, json};

#[test]
fn esp_nat_t_and_a_closed_tcp_port_get_no_second_answer() {
    let mut keyed = Keyed::start("closed-ports", topology::espalier_toml(Side::A)).unwrap();
    // The gateway's kernel learns its neighbour, so that an answer would not wait for ARP.
    keyed.sites.gw_b.ping(&Side::A.outer_v4(), 1).unwrap();
    let job = json!({
        "device": "wan", "own_mac": keyed.own_mac(), "gateway_mac": keyed.gateway_mac(),
        "own": Side::B.outer_v4(), "gateway": Side::A.outer_v4(),
    });
    let said = keyed::python(&keyed.sites.gw_b, "closed_ports.py", &job).unwrap();
    let answers: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answers, json!({"rst": 1, "icmp": 0, "other": 0}), "one reset for TCP, nothing for the rest");
    keyed.check().unwrap();
}
