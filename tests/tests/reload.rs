//! A reload checks the whole file, applies the difference, and loses nothing of what did not change.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use espalier_tests::pair::{self, Outer, Pair};
use espalier_tests::topology::{self, Side};
use espalier_tests::traffic::{self, Flow};
use espalier_tests::wait;

#[test]
fn a_reload_adds_a_route_refuses_nonsense_and_loses_nothing() {
    let toml = |side: Side| {
        topology::espalier_toml(side).interface("ipsec1", 1).route(&side.other().lan_v4(), "ipsec1")
    };
    let connection = |side: Side| {
        pair::connection("ab", side, Outer::V4).child(pair::both_families("net", side).if_id("1"))
    };
    let (a, b) = (connection(Side::A), connection(Side::B));
    let mut pair = Pair::start("reload", [toml(Side::A), toml(Side::B)], [&[a], &[b]]).unwrap();
    pair.a.ike().unwrap().initiate("net").unwrap();
    pair.sites.acquaint().unwrap();
    let flows =
        [Side::A, Side::B].map(|side| Flow::start(pair.sites.flow_v4(side, 7004, 1000).unwrap()).unwrap());
    let progress = || traffic::progress(&flows, 300, wait::STEP).unwrap();
    progress();
    // The tunnel holds IPv6 as well, but no route led into it so far.
    for gateway in [&mut pair.a, &mut pair.b] {
        let there = if gateway.config().ends_with("gateway-a.toml") { Side::B } else { Side::A };
        gateway.toml = gateway.toml.clone().route(&there.lan_v6(), "ipsec1");
        gateway.write_config().unwrap();
        gateway.espctl().run("reload").unwrap();
    }
    pair.sites.host_a.ping(&Side::B.host_v6(), 2).unwrap();
    progress();
    let good = std::fs::read_to_string(pair.a.config()).unwrap();
    std::fs::write(pair.a.config(), good.replace("netdevs = true", "netdevs = true\nturbo = true")).unwrap();
    let (code, out, err) = pair.a.espctl().outcome("reload").unwrap();
    assert!(code != 0 && format!("{out}{err}").contains("turbo"), "{code}: {out}{err}");
    std::fs::write(pair.a.config(), good.replace("framecnt=8192", "framecnt=4096")).unwrap();
    let (code, out, err) = pair.a.espctl().outcome("reload").unwrap();
    assert!(code != 0 && format!("{out}{err}").contains("restart"), "{code}: {out}{err}");
    progress();
    pair.sites.host_a.ping(&Side::B.host_v6(), 1).unwrap();
    for report in traffic::finish(flows).unwrap() {
        assert!(report.is_perfect(), "{report:?}");
    }
    pair.check().unwrap();
}
