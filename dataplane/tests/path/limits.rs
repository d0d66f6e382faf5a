//! Lifetimes: soft limits ask for a new SA once, at hard limits use ends by itself, and no number is used twice.

use std::net::IpAddr;

use esp::DropReason;
use shm_protocol::live::{Event, EventKind};
use shm_protocol::sa::{Initial, Limit, Limits};

use crate::gateway::{Gateway, LAN, MS, WAN};
use crate::plan::{HOST, Plan, mac};
use crate::records::{Side, Tunnel};
use crate::wire::{Packet, esp_head};

/// Octets of cipher text of the packets here: inner packet, padding, trailer.
const TEXT: u64 = 104;

fn outbound() -> Packet {
    Packet::udp_of("10.1.0.9", "10.2.0.9", 100)
}

fn inbound() -> Packet {
    Packet::udp_of("10.2.0.9", "10.1.0.9", 100)
}

fn with(limits: Limits) -> Tunnel {
    Tunnel { limits, ..Tunnel::new(1, 1) }
}

/// Sends `count` packets into the tunnel, each in a burst of its own; returns how many were sealed.
fn seal(gateway: &mut Gateway, count: usize) -> usize {
    for _ in 0..count {
        gateway.host_sends(LAN, &outbound());
        gateway.poll();
    }
    gateway.to_peer().len()
}

/// Lets `count` packets arrive by the tunnel, numbered from `first`; returns how many were delivered.
fn open(tunnel: &Tunnel, gateway: &mut Gateway, first: u64, count: u64) -> usize {
    for seq in first..first + count {
        gateway.peer_sends(&tunnel.peer(Side::B).seal(seq, &inbound()));
    }
    gateway.poll();
    gateway.to_hosts(LAN).len()
}

fn kinds(events: &[Event]) -> Vec<EventKind> {
    events.iter().map(|event| event.kind).collect()
}

#[test]
fn limits_of_packets_and_octets_end_an_outbound_sa_and_each_is_reported_once() {
    let packets = Limits { packets: Limit::new(3, 5), ..Limits::default() };
    let octets = Limits { octets: Limit::new(3 * TEXT, 5 * TEXT + TEXT / 2), ..Limits::default() };
    for (limits, soft, hard) in [
        (packets, EventKind::SoftPackets, EventKind::HardPackets),
        (octets, EventKind::SoftOctets, EventKind::HardOctets),
    ] {
        let tunnel = with(limits);
        let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
        assert_eq!(seal(&mut gateway, 2), 2);
        assert_eq!(gateway.events(), []);
        assert_eq!(seal(&mut gateway, 1), 1);
        let events = gateway.events();
        assert_eq!(kinds(&events), [soft]);
        let sa = tunnel.sa(Side::A, Side::A);
        assert_eq!((events[0].sa, events[0].spi), (Some((sa.slot, sa.uid)), Some(sa.spi)));
        assert_eq!(seal(&mut gateway, 2), 2);
        assert_eq!(gateway.events(), []);
        for _ in 0..3 {
            assert_eq!(seal(&mut gateway, 10), 0);
            gateway.pass(2_000 * MS);
        }
        assert_eq!(kinds(&gateway.events()), [hard]);
        let usage = gateway.usage(&sa);
        assert_eq!(
            (usage.packets, usage.octets, usage.oseq),
            (5, 5 * TEXT, 5),
            "no number is lost to a limit"
        );
        gateway.only_drops(DropReason::OutboundExpired, 30);
    }
}

#[test]
fn limits_of_packets_and_octets_end_an_inbound_sa_and_each_is_reported_once() {
    let packets = Limits { packets: Limit::new(3, 5), ..Limits::default() };
    let octets = Limits { octets: Limit::new(3 * TEXT, 5 * TEXT + TEXT / 2), ..Limits::default() };
    for (limits, soft, hard) in [
        (packets, EventKind::SoftPackets, EventKind::HardPackets),
        (octets, EventKind::SoftOctets, EventKind::HardOctets),
    ] {
        let tunnel = with(limits);
        let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
        assert_eq!(open(&tunnel, &mut gateway, 1, 8), 5);
        assert_eq!(open(&tunnel, &mut gateway, 9, 8), 0);
        gateway.pass(2_000 * MS);
        assert_eq!(open(&tunnel, &mut gateway, 17, 8), 0);
        let mut seen = kinds(&gateway.events());
        seen.sort_by_key(|kind| *kind == hard);
        assert_eq!(seen, [soft, hard]);
        gateway.only_drops(DropReason::InboundExpired, 19);
    }
}

#[test]
fn limits_in_one_burst_are_met_to_the_packet() {
    let tunnel = with(Limits { packets: Limit::new(0, 5), ..Limits::default() });
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    (0..32).for_each(|_| gateway.host_sends(LAN, &outbound()));
    gateway.poll();
    assert_eq!(gateway.to_peer().len(), 5);
}

#[test]
fn an_sa_past_its_deadline_is_used_in_neither_direction() {
    let probe = Plan::new(Side::A).start(&[]);
    let deadline = probe.now_ns + 5_000 * MS;
    let tunnel = with(Limits { deadline_ns: Limit::new(1, deadline), ..Limits::default() });
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    assert_eq!((seal(&mut gateway, 1), open(&tunnel, &mut gateway, 1, 1)), (1, 1));
    gateway.now_ns = deadline - 1;
    assert_eq!((seal(&mut gateway, 1), open(&tunnel, &mut gateway, 2, 1)), (1, 1));
    gateway.now_ns = deadline;
    assert_eq!((seal(&mut gateway, 1), open(&tunnel, &mut gateway, 3, 1)), (0, 0));
    assert_eq!(gateway.dropped(DropReason::OutboundExpired), 1);
    assert_eq!(gateway.dropped(DropReason::InboundExpired), 1);
}

#[test]
fn an_older_sa_is_sent_by_while_the_newest_is_past_its_deadline() {
    let probe = Plan::new(Side::A).start(&[]);
    let deadline = probe.now_ns + 5_000 * MS;
    let old = Tunnel::new(1, 1);
    let new = Tunnel { reqid: 1, ..Tunnel::new(2, 1) };
    let new = Tunnel { limits: Limits { deadline_ns: Limit::new(1, deadline), ..Limits::default() }, ..new };
    let mut gateway = Plan::new(Side::A).start(&[&old, &new]);
    gateway.now_ns = deadline;
    gateway.host_sends(LAN, &outbound());
    gateway.poll();
    assert_eq!(esp_head(&gateway.sent(WAN)[0]).0, old.spi(Side::A).0);
}

#[test]
fn without_esn_an_sa_ends_with_its_32_bit_numbers_and_says_so_before() {
    let last = u64::from(u32::MAX);
    let tunnel = Tunnel { esn: false, initial: Initial { oseq: last - 3, iseq_top: 0 }, ..Tunnel::new(1, 1) };
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    (0..8).for_each(|_| gateway.host_sends(LAN, &outbound()));
    gateway.poll();
    let sent = gateway.sent(WAN);
    let numbers: Vec<_> = sent.iter().map(|frame| esp_head(frame).1).collect();
    assert_eq!(numbers, [u32::MAX - 2, u32::MAX - 1, u32::MAX]);
    assert_eq!(seal(&mut gateway, 20), 0);
    let mut seen = kinds(&gateway.events());
    seen.sort_by_key(|kind| *kind == EventKind::SeqHard);
    // Begun within the last sixteenth and past the end in the same burst.
    assert!(seen == [EventKind::SeqHard] || seen == [EventKind::SeqSoft, EventKind::SeqHard], "{seen:?}");
    gateway.only_drops(DropReason::SequenceExhausted, 25);
}

#[test]
fn the_end_of_the_numbers_is_announced_when_an_sa_comes_near_it() {
    let soft = u64::from(u32::MAX) - u64::from(u32::MAX) / 16;
    let tunnel = Tunnel { esn: false, initial: Initial { oseq: soft - 3, iseq_top: 0 }, ..Tunnel::new(1, 1) };
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    assert_eq!(seal(&mut gateway, 2), 2);
    assert_eq!(gateway.events(), []);
    assert_eq!(seal(&mut gateway, 20), 20);
    gateway.pass(3_000 * MS);
    assert_eq!(seal(&mut gateway, 20), 20);
    assert_eq!(kinds(&gateway.events()), [EventKind::SeqSoft]);
}

#[test]
fn with_esn_numbers_end_at_64_bits_and_never_begin_again() {
    let tunnel = Tunnel { initial: Initial { oseq: u64::MAX - 2, iseq_top: 0 }, ..Tunnel::new(1, 1) };
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    assert_eq!(seal(&mut gateway, 10), 2);
    assert_eq!(gateway.usage(&tunnel.sa(Side::A, Side::A)).oseq, u64::MAX);
    gateway.only_drops(DropReason::SequenceExhausted, 8);
}

#[test]
fn an_updated_sa_may_report_its_new_limit_again() {
    let tunnel = with(Limits { packets: Limit::new(2, 0), ..Limits::default() });
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    seal(&mut gateway, 5);
    assert_eq!(kinds(&gateway.events()), [EventKind::SoftPackets]);
    let later = with(Limits { packets: Limit::new(10, 0), ..Limits::default() });
    gateway.pass(2_000 * MS);
    gateway.commit(|changes| later.install_sas(Side::A, changes));
    seal(&mut gateway, 10);
    assert_eq!(kinds(&gateway.events()), [EventKind::SoftPackets]);
    assert_eq!(gateway.usage(&tunnel.sa(Side::A, Side::A)).oseq, 15, "an update goes on with the numbers");
}

#[test]
fn a_policy_without_an_sa_asks_for_one_and_says_for_which_packet() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).start(&[]);
    gateway.commit(|changes| {
        for policy in tunnel.policies(Side::A) {
            changes.put_policy(&policy);
        }
    });
    gateway.host_sends(LAN, &outbound());
    gateway.poll();
    let events = gateway.events();
    assert_eq!(kinds(&events), [EventKind::Acquire]);
    let flow = events[0].flow.unwrap();
    assert_eq!((flow.src, flow.dst, flow.sport, flow.dport), (outbound().src, outbound().dst, 1000, 2000));
    assert_eq!(events[0].if_id.0, 1);
    gateway.only_drops(DropReason::NoSa, 1);
}

#[test]
fn a_flood_without_an_sa_does_not_keep_the_gateway_from_asking_for_its_neighbors() {
    let (without, with) = (Tunnel::new(1, 2), Tunnel::new(2, 1));
    let mut gateway = Plan::new(Side::A)
        .with(|topology| {
            topology.netdevs = false;
            topology.neighbors.retain(|neighbor| neighbor.port.0 != WAN);
            let second = dataplane::ports::InterfaceId(1);
            let device = dataplane::tables::topology::Device::Interface(second);
            topology.routes.insert(0, crate::plan::route("10.2.0.128/25", device, None));
        })
        .start(&[&with]);
    gateway.commit(|changes| {
        for policy in without.policies(Side::A) {
            changes.put_policy(&policy);
        }
    });
    for _ in 0..2_000 {
        gateway.host_sends(LAN, &Packet::udp("10.1.0.9", "10.2.0.200", 1, 2, b"flood"));
    }
    gateway.host_sends(LAN, &outbound());
    gateway.poll();
    assert_eq!(crate::wire::kind_of(&gateway.sent(WAN)[0]), crate::wire::ARP);
}

#[test]
fn a_peer_that_moved_behind_its_nat_is_reported_at_a_low_rate() {
    let tunnel = Tunnel { encap: Some((4500, 30_000)), ..Tunnel::new(1, 1) };
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    let moved =
        crate::peer::PeerSa { src: "192.0.2.77".into(), ports: Some((31_000, 4500)), ..tunnel.peer(Side::B) };
    let station = mac(Side::A, WAN);
    let arrive = |gateway: &mut Gateway, seqs: std::ops::Range<u64>| {
        for seq in seqs {
            gateway.send(WAN, moved.seal(seq, &inbound()).frame(station, HOST));
        }
        gateway.poll();
    };
    arrive(&mut gateway, 1..50);
    assert_eq!(gateway.to_hosts(LAN).len(), 49, "what is genuine is delivered, wherever it comes from");
    let events = gateway.events();
    assert_eq!(kinds(&events), [EventKind::Mapping]);
    let flow = events[0].flow.unwrap();
    assert_eq!((flow.src, flow.sport), (IpAddr::from([192, 0, 2, 77]), 31_000));
    // It may have been lost, so it is said again.
    gateway.pass(1_500 * MS);
    arrive(&mut gateway, 50..60);
    assert_eq!(kinds(&gateway.events()), [EventKind::Mapping]);
    // A forged packet moves nobody.
    let mut forged = tunnel.peer(Side::B).seal(60, &inbound());
    *forged.payload.last_mut().unwrap() ^= 1;
    gateway.peer_sends(&forged);
    gateway.poll();
    assert_eq!(gateway.events(), []);
}
