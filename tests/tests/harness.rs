//! The harness against code that is not ours on both sides: what it then finds is its own fault.

use std::time::Duration;

use espalier_tests::capture::{Capture, Direction, WHOLE};
use espalier_tests::charon::{Charon, Kernel};
use espalier_tests::swanctl::{Child, Connection};
use espalier_tests::topology::{Side, Sites, Stack};
use espalier_tests::traffic::{Flow, MARKER};
use espalier_tests::{World, esp_trace, wait};

fn connection(side: Side) -> Connection {
    let (own, peer) = (side.outer_v4(), side.other().outer_v4());
    Connection::new("ab", (side.identity(), &own), (side.other().identity(), &peer)).child(Child::new(
        "net",
        &side.lan_v4(),
        &side.other().lan_v4(),
    ))
}

#[test]
fn numbered_traffic_between_two_strongswans_survives_a_rekeying() {
    let world = World::new("harness").unwrap();
    let sites = Sites::new(&world, Stack::Kernel, Stack::Kernel).unwrap();
    let mut charons = Vec::new();
    for (side, netns) in [(Side::A, &sites.gw_a), (Side::B, &sites.gw_b)] {
        let mut charon = Charon::new(&world, netns, side.identity(), Kernel::Libipsec).unwrap();
        charon.configure(&[connection(side)]).unwrap();
        charon.start(&world).unwrap();
        charons.push(charon);
    }
    charons[0].initiate("net").unwrap();
    sites.host_a.ping(&Side::B.host_v4(), 1).unwrap();
    let wire = Capture::start(&world, &sites.gw_b, "wan", Direction::Both, WHOLE).unwrap();
    let behind = Capture::start(&world, &sites.host_b, "eth0", Direction::In, WHOLE).unwrap();
    let flow = Flow::start(sites.flow_v4(Side::A, 7001, 2000).unwrap()).unwrap();
    flow.await_progress(500, wait::STEP).unwrap();
    let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    charons[1].rekey_child("net").unwrap();
    flow.await_progress(500, wait::STEP).unwrap();
    charons[0].rekey_ike("ab").unwrap();
    let report = flow.finish().unwrap();
    let captured = wire.finish().unwrap();
    assert!(report.is_perfect(), "{report:?}");
    assert!(report.longest_silence < Duration::from_secs(20), "{report:?}");
    let esp = esp_trace::esp_packets(&captured.frames);
    assert_eq!(captured.capture_drops, 0);
    assert!(esp.len() as u64 >= report.sent);
    assert!(esp.iter().all(|packet| packet.encapsulated));
    assert_eq!(esp_trace::repeated_ivs(&esp), []);
    let began_ns = u64::try_from(began.as_nanos()).unwrap();
    // Nothing flows from B to A, so only one of the two new SPIs carries packets.
    assert_eq!(esp_trace::new_spis_after(&esp, &[began_ns])[0].len(), 1);
    assert!(!captured.frames.iter().any(|frame| frame.contains(MARKER)));
    // The same search finds clear text where there is some.
    let clear = behind.finish().unwrap().frames.iter().filter(|frame| frame.contains(MARKER)).count();
    assert_eq!(clear as u64, report.sent);
}
