//! The charon plugin when what it needs is not there.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use espalier_tests::World;
use espalier_tests::charon::{Charon, Kernel};
use espalier_tests::gateway::Gateway;
use espalier_tests::gateway_toml::GatewayToml;
use espalier_tests::pair::{self, Outer};
use espalier_tests::swanctl::Child;
use espalier_tests::topology::{Side, Sites, Stack};

#[test]
fn without_a_bridge_charon_starts_and_refuses_tunnels_instead_of_leaving_them_to_the_kernel() {
    let world = World::new("no-bridge").unwrap();
    let sites = Sites::new(&world, Stack::Kernel, Stack::Kernel).unwrap();
    let nowhere = world.run_dir("gateway-a").unwrap().join("bridge.sock");
    let connection = |side: Side| {
        let child = Child::new("net", &side.lan_v4(), &side.other().lan_v4());
        pair::connection("ab", side, Outer::V4).child(child)
    };
    let mut a = Charon::new(&world, &sites.gw_a, "gateway-a", Kernel::Espalier(nowhere)).unwrap();
    a.configure(&[connection(Side::A)]).unwrap();
    a.start(&world).unwrap();
    let mut b = Charon::new(&world, &sites.gw_b, "gateway-b", Kernel::Libipsec).unwrap();
    b.configure(&[connection(Side::B)]).unwrap();
    b.start(&world).unwrap();
    assert!(a.initiate("net").is_err(), "a tunnel without a bridge");
    let log = a.log();
    let complaints: Vec<_> = log.lines().filter(|line| line.contains("bridge.sock")).collect();
    assert!(!complaints.is_empty(), "{log}");
    assert!(a.inbound_spis("net").unwrap().is_empty(), "no CHILD_SA is left");
    a.stop().unwrap();
}

#[test]
fn without_an_engine_charon_negotiates_and_rekeys_since_the_segment_is_the_truth() {
    let world = World::new("no-engine").unwrap();
    let sites = Sites::new(&world, Stack::Kernel, Stack::Kernel).unwrap();
    let connection = |side: Side| {
        let child = Child::new("net", &side.lan_v4(), &side.other().lan_v4());
        pair::connection("ab", side, Outer::V4).child(child)
    };
    let mut a = Gateway::new(&world, &sites.gw_a, "gateway-a", GatewayToml::default()).unwrap();
    a.start_bridge(&world).unwrap();
    a.start_charon(&world, &[connection(Side::A)]).unwrap();
    let mut b = Charon::new(&world, &sites.gw_b, "gateway-b", Kernel::Libipsec).unwrap();
    b.configure(&[connection(Side::B)]).unwrap();
    b.start(&world).unwrap();
    let ike = a.ike().unwrap();
    ike.initiate("net").unwrap();
    for charon in [ike, &b] {
        charon.rekey_child("net").unwrap();
    }
    ike.rekey_ike("ab").unwrap();
    ike.terminate("net").unwrap();
    a.must_run().unwrap();
}
