//! What must survive a crash: of charon, of the engine, of a segment.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use std::collections::HashSet;
use std::time::Duration;

use espalier_tests::ledger::Ledger;
use espalier_tests::pair::{self, Outer, Pair};
use espalier_tests::pcap::{self, Frame};
use espalier_tests::topology::{self, Side};
use espalier_tests::traffic::{self, Flow, FlowReport, MARKER};
use espalier_tests::{Gateway, esp_trace, inject, wait};

/// Grace of the bridge after a new charon process. Units: seconds.
const GRACE_SECONDS: u64 = 4;

fn pair(test: &str) -> Pair {
    let toml = |side: Side| {
        topology::espalier_toml(side).interface("ipsec1", 1).route(&side.other().lan_v4(), "ipsec1")
    };
    let connection = |side: Side| {
        pair::connection("ab", side, Outer::V4).child(pair::both_families("net", side).if_id("1"))
    };
    let (a, b) = (connection(Side::A), connection(Side::B));
    let grace = ["--grace".to_owned(), GRACE_SECONDS.to_string()];
    let pair = Pair::start_with(test, [toml(Side::A), toml(Side::B)], [&[a], &[b]], &grace).unwrap();
    pair.a.ike().unwrap().initiate("net").unwrap();
    pair.sites.acquaint().unwrap();
    pair
}

fn flows(pair: &Pair, pps: u32) -> [Flow; 2] {
    [Side::A, Side::B].map(|side| {
        let flow = Flow::start(pair.sites.flow_v4(side, 7004, pps).unwrap()).unwrap();
        flow.await_progress(200, wait::STEP).unwrap();
        flow
    })
}

fn progress(flows: &[Flow; 2]) {
    traffic::progress(flows, 200, wait::LONG).unwrap();
}

fn spis(gateway: &Gateway) -> HashSet<String> {
    let listed = gateway.espctl().run("xfrm state list").unwrap();
    let mut words = listed.split_whitespace();
    let mut found = HashSet::new();
    while let Some(word) = words.next() {
        if word == "spi" {
            found.extend(words.next().map(str::to_owned));
        }
    }
    found
}

#[test]
fn traffic_goes_on_while_charon_is_dead_and_nothing_stale_is_left() {
    let mut pair = pair("charon-killed");
    let running = flows(&pair, 1000);
    let before = spis(&pair.a);
    assert_eq!(before.len(), 2);
    let charon = pair.a.charon.as_mut().unwrap();
    charon.kill9().unwrap();
    progress(&running);
    charon.start(&pair.world).unwrap();
    progress(&running);
    assert_eq!(spis(&pair.a), before, "a new charon alone retires nothing");
    for report in traffic::finish(running).unwrap() {
        assert!(report.is_perfect(), "{report:?}");
    }
    let again = flows(&pair, 1000);
    pair.a.ike().unwrap().initiate("net").unwrap();
    progress(&again);
    let deadline = wait::STEP + Duration::from_secs(2 * GRACE_SECONDS);
    wait::until("the old SAs to be swept", deadline, || {
        let now = spis(&pair.a);
        Ok((now.len() == 2 && now.is_disjoint(&before)).then_some(()))
    })
    .unwrap();
    progress(&again);
    for report in traffic::finish(again).unwrap() {
        assert_eq!(report.duplicated + report.foreign, 0, "{report:?}");
    }
    pair.check().unwrap();
}

#[test]
fn a_killed_engine_goes_on_with_the_same_sas_and_takes_no_packet_twice() {
    let mut pair = pair("engine-killed");
    let wire = pair.capture().unwrap();
    let running = flows(&pair, 1000);
    let before = spis(&pair.a);
    for _ in 0..2 {
        pair.a.kill_engine().unwrap();
        pair.a.start_engine(&pair.world).unwrap();
        progress(&running);
    }
    assert_eq!(spis(&pair.a), before, "no new negotiation");
    // What was sent while the engine was down was never accepted; the window passes over it here.
    traffic::progress(&running, 2500, wait::LONG).unwrap();
    for report in traffic::finish(running).unwrap() {
        assert_eq!(report.duplicated + report.foreign, 0, "{report:?}");
    }
    let captured = wire.finish().unwrap();
    assert_eq!(captured.capture_drops(), 0);
    let packets = esp_trace::esp_packets(&captured.frames());
    assert_eq!(esp_trace::repeated_ivs(&packets), []);
    assert!(!captured.frames().iter().any(|frame| frame.contains(MARKER)), "clear text on the wire");
    reinject(&pair, &captured.to_a.frames);
    pair.check().unwrap();
}

/// Sends every ESP packet gateway A ever received once more, before and after another kill: none may pass.
fn reinject(pair: &Pair, frames: &[Frame]) {
    let esp: Vec<Frame> =
        frames.iter().filter(|frame| frame.ip().is_some_and(|ip| ip.protocol == 50)).cloned().collect();
    let path = pair.world.logs().join("again.pcap");
    pcap::write(&path, &esp).unwrap();
    let listener = Flow::start(pair.sites.flow_v4(Side::B, 7004, 0).unwrap()).unwrap();
    let refused = |ledger: &Ledger| ledger.dropped("replay") + ledger.dropped("too_old");
    let before = refused(&Ledger::settled(&pair.a.espctl()).unwrap());
    inject::replay(&pair.sites.gw_b, "veth-wan", &path, 5000).unwrap();
    let after = refused(&Ledger::settled(&pair.a.espctl()).unwrap());
    assert_eq!(after - before, esp.len() as u64, "every re-injected packet is refused as seen before");
    let report: FlowReport = listener.finish().unwrap();
    assert_eq!(report.received + report.foreign, 0, "a replayed packet reached the host: {report:?}");
}

/// Whether the engine runs while `live` is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Engine {
    Killed,
    Running,
}

/// Nothing under old keys, a new negotiation, no repeats.
fn live_is_lost(test: &str, engine: Engine, lose: impl Fn(&mut Pair)) {
    let mut pair = pair(test);
    let wire = pair.capture().unwrap();
    let running = flows(&pair, 1000);
    let before = spis(&pair.a);
    if engine == Engine::Killed {
        pair.a.kill_engine().unwrap();
    }
    lose(&mut pair);
    let restarted = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    if engine == Engine::Killed {
        pair.a.start_engine(&pair.world).unwrap();
    }
    let renewed = || {
        let now = spis(&pair.a);
        !now.is_empty() && now.is_disjoint(&before)
    };
    wait::until_true("new SAs instead of the old ones", wait::LONG, renewed).unwrap();
    progress(&running);
    for report in traffic::finish(running).unwrap() {
        assert_eq!(report.duplicated + report.foreign, 0, "{report:?}");
    }
    let captured = wire.finish().unwrap();
    assert_eq!(captured.capture_drops(), 0);
    let packets = esp_trace::esp_packets(&captured.frames());
    assert_eq!(esp_trace::repeated_ivs(&packets), []);
    let old = |spi: u32| before.contains(&format!("{spi:#010x}")) || before.contains(&format!("{spi:#x}"));
    let from_a = esp_trace::esp_packets(&captured.to_b.frames);
    assert!(from_a.iter().any(|packet| old(packet.spi)), "the old SPIs are recognised at all");
    // A running engine notices within a moment and goes on with the counters it has; then the old keys are done with.
    let given_up_ns = match engine {
        Engine::Killed => u64::try_from(restarted.as_nanos()).unwrap(),
        Engine::Running => from_a.iter().find(|packet| !old(packet.spi)).unwrap().at_ns,
    };
    let late = from_a.iter().filter(|packet| old(packet.spi) && packet.at_ns > given_up_ns).count();
    assert_eq!(late, 0, "packets under the old keys");
    assert!(!captured.frames().iter().any(|frame| frame.contains(MARKER)), "clear text on the wire");
    pair.check().unwrap();
}

#[test]
fn after_live_was_deleted_no_old_key_is_used_and_charon_negotiates_anew() {
    live_is_lost("live-deleted", Engine::Killed, |pair| {
        std::fs::remove_file(pair.a.runtime_dir().join("live")).unwrap();
    });
}

#[test]
fn after_live_was_deleted_under_the_engine_no_old_key_is_used_and_charon_negotiates_anew() {
    live_is_lost("live-deleted-running", Engine::Running, |pair| {
        std::fs::remove_file(pair.a.runtime_dir().join("live")).unwrap();
    });
}

#[test]
fn after_live_was_replaced_no_old_key_is_used_and_charon_negotiates_anew() {
    live_is_lost("live-replaced", Engine::Killed, |pair| {
        // Sound, but the memory of another engine.
        let [ours, theirs] =
            [&pair.a, &pair.b].map(|gateway| gateway.runtime_dir().join("live").display().to_string());
        std::fs::remove_file(&ours).unwrap();
        pair.sites.gw_a.run("cp", &["--sparse=always", &theirs, &ours]).unwrap();
    });
}

#[test]
fn traffic_survives_a_killed_bridge_and_the_next_rekeying_works() {
    let mut pair = pair("bridge-killed");
    let running = flows(&pair, 1000);
    pair.a.kill_bridge().unwrap();
    progress(&running);
    pair.a.start_bridge(&pair.world).unwrap();
    progress(&running);
    pair.a.ike().unwrap().rekey_child("net").unwrap();
    progress(&running);
    for report in traffic::finish(running).unwrap() {
        assert!(report.is_perfect(), "{report:?}");
    }
    pair.check().unwrap();
}
