//! The bridge beside an engine: adoption, counters, limits, events and the loss of `live`.
#![allow(clippy::unwrap_used, missing_docs, reason = "a failed step of a test is the test's failure")]

mod common;

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use common::{Bridge, Connection, Engine, eventually, id_in, id_out, inbound, outbound, status};
use shm_protocol::ids::{Generation, IfId, PolicySlot, Slot, Spi};
use shm_protocol::live::{Event, EventKind, Flow, NewRecord};
use shm_protocol::messages::control::{
    BridgeReply, BridgeRequest, CHANGED, CHANGED_BY_LOAD, PolicyId, PolicySpec, XfrmChange,
};
use shm_protocol::messages::plugin::{Acquire, Mapping, NEVER_USED, Status};
use shm_protocol::policy::{Action, PolicyDirection};
use shm_protocol::sa::{Direction, Mark, Occupant, Sa, SlotContents};
use shm_protocol::selector::{Family, SelectorRecord};
use zerocopy::FromBytes;

const SUCCESS: u32 = Status::Success as u32;
const NOT_FOUND: u32 = Status::NotFound as u32;

fn outbound_sa(bridge: &Bridge) -> Sa {
    let sad = bridge.sad();
    let found = (0..sad.sa_slots_used()).filter_map(Slot::new).find_map(|slot| {
        match sad.sa(slot).unwrap().occupant {
            Occupant::Sa(sa) if sa.direction == Direction::Out => Some(*sa),
            Occupant::Sa(_) | Occupant::Larval(_) | Occupant::Empty => None,
        }
    });
    found.unwrap()
}

fn take_up(engine: &Engine, sa: &Sa) {
    let (slot, uid, initial) = (sa.slot, sa.uid, sa.initial);
    let new = NewRecord { slot, uid, initial, if_id: sa.if_id, window_pkts: 32 };
    engine.live.init(&new, &mut |_, _| {}).unwrap();
}

#[test]
fn an_inbound_sa_is_acknowledged_when_it_is_adopted_or_after_a_tenth_of_a_second() {
    let bridge = Bridge::start(&[]);
    let engine = Engine::connect(bridge.path());
    let mut charon = bridge.daemon();
    let spi = charon.get_spi();
    let began = Instant::now();
    assert_eq!(status(&charon.add_sa(&mut inbound(spi))), SUCCESS);
    let took = began.elapsed();
    assert!((Duration::from_millis(95)..Duration::from_millis(400)).contains(&took), "{took:?}");
    assert!(engine.changed.read().unwrap() > 0, "the engine was woken");
    engine.live.set_adopted_generation(Generation(u64::MAX));
    let spi = charon.get_spi();
    let began = Instant::now();
    assert_eq!(status(&charon.add_sa(&mut inbound(spi))), SUCCESS);
    assert!(began.elapsed() < Duration::from_millis(90), "{:?}", began.elapsed());
}

#[test]
fn the_engine_is_told_which_changes_are_lines_of_a_load() {
    let bridge = Bridge::start(&[]);
    let engine = Engine::connect(bridge.path());
    let mut charon = bridge.daemon();
    let any = SelectorRecord::any(Family::V4);
    let id =
        PolicyId { direction: PolicyDirection::In, selector: any, if_id: IfId(9), mark: Mark::default() };
    let add = XfrmChange::PolicyAdd(PolicySpec { id, priority: 0, action: Action::Discard });
    let _ = engine.changed.read();
    let operator = Connection::open(&bridge.path().join("bridge.sock")).unwrap();
    let reply = operator.operate(&BridgeRequest::Batch(vec![add]));
    assert!(matches!(reply, BridgeReply::Done { .. }), "{reply:?}");
    eventually("a load is told", || engine.changed.read().is_ok_and(|told| told == CHANGED_BY_LOAD));
    charon.get_spi();
    eventually("a change is told", || engine.changed.read().is_ok_and(|told| told == CHANGED));
}

#[test]
fn a_waiting_request_holds_up_no_other() {
    let bridge = Bridge::start(&[]);
    let _engine = Engine::connect(bridge.path());
    let mut charon = bridge.daemon();
    let (spi, id) = (charon.get_spi(), charon.next_id());
    charon.send_as(id, 0, 3, &mut inbound(spi));
    let began = Instant::now();
    assert_eq!(status(&charon.query_sa(id_in(spi))), SUCCESS);
    assert!(began.elapsed() < Duration::from_millis(80), "{:?}", began.elapsed());
    assert_eq!(status(&charon.reply(id)), SUCCESS);
}

#[test]
fn queries_are_answered_from_the_counters_in_live() {
    let bridge = Bridge::start(&[]);
    let engine = Engine::connect(bridge.path());
    let mut charon = bridge.daemon();
    let (_, peer) = charon.add_pair(0xc0de_2001);
    charon.add_policy(1, peer);
    assert_eq!(charon.query_sa(id_out(peer)).last_use_ago_ns.get(), NEVER_USED);
    let sa = outbound_sa(&bridge);
    take_up(&engine, &sa);
    let record = engine.live.record(sa.slot);
    record.out_octets.store(1400, Relaxed);
    record.out_packets.store(1, Relaxed);
    record.out_last_use_ns.store(1, Relaxed);
    let reply = charon.query_sa(id_out(peer));
    assert_eq!((reply.octets.get(), reply.packets.get()), (1400, 1));
    assert!(reply.last_use_ago_ns.get() < NEVER_USED);
    assert!(charon.query_policy(1).last_use_ago_ns.get() < NEVER_USED);
}

#[test]
fn time_limits_are_told_while_no_engine_is_there() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let mut sa = outbound(0xc0de_2002);
    (sa.time.rekey, sa.time.life) = (1.into(), 2.into());
    assert_eq!(status(&charon.add_sa(&mut sa)), SUCCESS);
    let began = Instant::now();
    let soft = charon.expire();
    assert_eq!((soft.spi.get(), soft.hard, soft.proto), (0xc0de_2002, 0, 50));
    assert_eq!(soft.dst.ip().unwrap().to_string(), "192.0.2.2");
    let hard = charon.expire();
    assert_eq!((hard.spi.get(), hard.hard), (0xc0de_2002, 1));
    let took = began.elapsed();
    assert!((Duration::from_millis(1900)..Duration::from_millis(2600)).contains(&took), "{took:?}");
    assert_eq!(status(&charon.query_sa(id_out(0xc0de_2002))), NOT_FOUND, "it is not used any more");
}

#[test]
fn a_hard_limit_reached_while_the_daemon_was_away_is_told_when_it_is_back() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let mut sa = outbound(0xc0de_2003);
    sa.time.life = 1.into();
    charon.add_sa(&mut sa);
    drop(charon);
    eventually("the end of the SA", || bridge.sad().occupancy().sas == 0);
    assert_eq!(bridge.daemon().expire().hard, 1);
}

#[test]
fn octet_limits_are_found_in_live_without_any_event() {
    let bridge = Bridge::start(&[]);
    let engine = Engine::connect(bridge.path());
    let mut charon = bridge.daemon();
    let mut sa = outbound(0xc0de_2004);
    (sa.octets.rekey, sa.octets.life) = (1000.into(), 2000.into());
    charon.add_sa(&mut sa);
    let sa = outbound_sa(&bridge);
    take_up(&engine, &sa);
    engine.live.record(sa.slot).out_octets.store(1500, Relaxed);
    assert_eq!(charon.expire().hard, 0);
    engine.live.record(sa.slot).out_octets.store(2000, Relaxed);
    assert_eq!(charon.expire().hard, 1);
}

#[test]
fn sas_added_before_the_first_engine_run_on_its_segment() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let (spi, _) = charon.add_pair(0xc0de_2005);
    let engine = Engine::connect(bridge.path());
    assert_eq!(bridge.sad().instance(), engine.live.instance());
    assert_eq!(status(&charon.query_sa(id_in(spi))), SUCCESS);
}

#[test]
fn with_the_numbers_every_sa_is_lost_and_the_daemon_is_told() {
    let bridge = Bridge::start(&[]);
    let engine = Engine::connect(bridge.path());
    let mut charon = bridge.daemon();
    charon.add_pair(0xc0de_2006);
    drop(engine);
    std::fs::remove_file(bridge.path().join("live")).unwrap();
    let engine = Engine::connect(bridge.path());
    let (first, second) = (charon.expire(), charon.expire());
    assert_eq!((first.hard, second.hard), (1, 1));
    assert_eq!(bridge.sad().occupancy().sas, 0);
    assert_eq!(bridge.sad().instance(), engine.live.instance());
    let (spi, _) = charon.add_pair(0xc0de_2007);
    assert_eq!(status(&charon.query_sa(id_in(spi))), SUCCESS, "new ones run on the new segment");
    assert!(Slot::of(Spi(spi)).index() < 1 << 20);
}

#[test]
fn acquires_and_mappings_of_the_engine_reach_the_owner() {
    let bridge = Bridge::start(&[]);
    let engine = Engine::connect(bridge.path());
    let mut charon = bridge.daemon();
    charon.add_policy(1, 0);
    let spi = charon.get_spi();
    let mut sa = inbound(spi);
    sa.encap = 1;
    assert_eq!(status(&charon.add_sa(&mut sa)), SUCCESS);
    let SlotContents { occupant: Occupant::Sa(sa), .. } = bridge.sad().sa(Slot::of(Spi(spi))).unwrap() else {
        panic!("no SA under {spi:#x}");
    };
    let flow = |src: &str, sport| Flow {
        src: src.parse().unwrap(),
        dst: "10.2.0.9".parse().unwrap(),
        proto: 17,
        sport,
        dport: 53,
    };
    let blank = Event {
        kind: EventKind::Acquire,
        time_ns: 1,
        sa: None,
        spi: None,
        policy: PolicySlot::new(0),
        if_id: sa.if_id,
        flow: Some(flow("10.1.0.9", 4000)),
    };
    engine.live.raise(&blank);
    let (uid, moved) = (sa.uid, Some(flow("198.51.100.9", 1027)));
    engine.live.raise(&Event { kind: EventKind::Mapping, sa: Some((sa.slot, uid)), flow: moved, ..blank });
    engine.events.write(1).unwrap();
    let datagram = charon.connection.receive().unwrap();
    let (acquire, _) = Acquire::ref_from_prefix(&datagram).unwrap();
    assert_eq!((acquire.header.kind.get(), acquire.reqid.get()), (129, 1));
    let range = acquire.dst_ts.range().unwrap();
    assert_eq!((range.from.to_string().as_str(), range.proto), ("10.2.0.9", 17));
    let datagram = charon.connection.receive().unwrap();
    let (mapping, _) = Mapping::ref_from_prefix(&datagram).unwrap();
    assert_eq!((mapping.header.kind.get(), mapping.spi.get()), (130, spi));
    assert_eq!(
        (mapping.remote.ip().unwrap().to_string().as_str(), mapping.remote.port.get()),
        ("198.51.100.9", 1027)
    );
}
