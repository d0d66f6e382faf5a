//! Flows whose way is remembered: they take it only as long as it is the way, in order, and to the same end.

use dataplane::path::counters::Stage;
use dataplane::ports::PortId;
use dataplane::tables::hop::Hop;
use esp::DropReason;
use proptest::prelude::*;
use shm_protocol::policy::{Action, PolicyDirection};
use shm_protocol::sa::Limit;

use crate::gateway::{Gateway, LAN, WAN};
use crate::pair::Pair;
use crate::plan::Plan;
use crate::records::{Side, Tunnel, plain_policy};
use crate::wire::{DF, MF, Packet, UDP};

fn a_to_b(text: &[u8]) -> Packet {
    Packet::udp("10.1.0.9", "10.2.0.9", 1000, 2000, text)
}

/// Packets that took a remembered way.
fn known(gateway: &Gateway) -> u64 {
    gateway.workers.iter().map(|worker| worker.shared.counters.stage(Stage::Known).packets.get()).sum()
}

#[test]
fn the_second_packet_of_a_flow_takes_the_way_of_the_first_at_both_gateways() {
    let tunnel = Tunnel::new(1, 1);
    let mut pair = Pair::new(&[&tunnel]);
    pair.crosses(Side::A, &a_to_b(b"first"));
    assert_eq!((known(&pair.a), known(&pair.b)), (0, 0));
    pair.crosses(Side::A, &a_to_b(b"second"));
    assert_eq!((known(&pair.a), known(&pair.b)), (1, 1));
    pair.a.no_drops();
    pair.b.no_drops();
}

#[test]
fn a_remembered_way_ends_with_its_policy() {
    let tunnel = Tunnel::new(1, 1);
    let mut pair = Pair::new(&[&tunnel]);
    for text in [b"one", b"two"] {
        pair.crosses(Side::A, &a_to_b(text));
    }
    // B lets nothing of the tunnel in any more, then A has nothing for it either.
    pair.b.commit(|changes| {
        for policy in tunnel.policies(Side::B) {
            changes.remove_policy(policy.slot);
        }
    });
    pair.a.host_sends(LAN, &a_to_b(b"three"));
    pair.run();
    assert_eq!(pair.b.sent(LAN).len(), 0);
    pair.b.only_drops(DropReason::InboundNoPolicy, 1);
    pair.a.commit(|changes| {
        for policy in tunnel.policies(Side::A) {
            changes.remove_policy(policy.slot);
        }
    });
    pair.a.host_sends(LAN, &a_to_b(b"four"));
    pair.a.poll();
    assert_eq!(pair.a.sent(WAN).len(), 0);
    pair.a.only_drops(DropReason::OutboundNoPolicy, 1);
}

#[test]
fn a_change_about_one_host_leaves_the_ways_of_the_others() {
    let tunnel = Tunnel::new(1, 1);
    let mut a = Plan::new(Side::A).start(&[&tunnel]);
    let block = |a: &mut Gateway, slot, host| {
        let nets = ("10.1.0.0/16", host);
        let policy = plain_policy(slot, PolicyDirection::Out, 1, nets, Action::Discard);
        a.commit(|changes| {
            changes.put_policy(&policy);
        });
    };
    for (slot, text) in (0..).zip([b"0", b"1", b"2"]) {
        a.host_sends(LAN, &a_to_b(text));
        a.poll();
        assert_eq!(known(&a), u64::from(slot));
        block(&mut a, slot, ["10.2.7.1/32", "10.2.7.2/32", "10.2.0.9/32"][slot as usize]);
    }
    assert_eq!(a.to_peer().len(), 3);
    a.host_sends(LAN, &a_to_b(b"3"));
    a.poll();
    a.only_drops(DropReason::OutboundBlocked, 1);
}

#[test]
fn a_remembered_way_leads_to_the_newest_sa() {
    let (old, new) = (Tunnel::new(1, 1), Tunnel { reqid: 1, installed_ns: 9, ..Tunnel::new(2, 1) });
    let mut a = Plan::new(Side::A).start(&[&old]);
    let seal = |a: &mut Gateway| {
        a.host_sends(LAN, &a_to_b(b"x"));
        a.poll();
        a.to_peer()
    };
    for number in 1..3 {
        assert_eq!(old.peer(Side::A).open(0, &seal(&mut a)[0]).0, number);
    }
    a.commit(|changes| new.install_sas(Side::A, changes));
    for number in 1..3 {
        assert_eq!(new.peer(Side::A).open(0, &seal(&mut a)[0]).0, number);
    }
    a.commit(|changes| old.remove_sas(changes));
    assert_eq!(new.peer(Side::A).open(0, &seal(&mut a)[0]).0, 3);
}

#[test]
fn what_changes_without_a_snapshot_is_looked_at_again() {
    let tunnel = Tunnel::new(1, 1);
    let mut a = Plan::new(Side::A).start(&[&tunnel]);
    for _ in 0..2 {
        a.host_sends(LAN, &a_to_b(b"x"));
        a.poll();
    }
    assert_eq!((known(&a), a.to_peer().len()), (1, 2));
    let hop = a.adopter.snapshot().outbound.get(tunnel.slot(Side::A).index()).unwrap().hop.clone();
    let (resolved, wan) = (hop.load(), PortId(WAN));
    hop.store(Hop::Unresolved(wan));
    a.host_sends(LAN, &a_to_b(b"waits"));
    a.poll();
    assert_eq!(a.to_peer().len(), 0);
    hop.store(resolved);
    a.pass(2_000_000);
    assert_eq!(a.to_peer().len(), 1);
    a.no_drops();
}

#[test]
fn a_known_flow_ends_with_the_time_of_its_sa() {
    let mut tunnel = Tunnel::new(1, 1);
    tunnel.limits.deadline_ns = Limit::new(0, 2_000 * 1_000_000_000);
    let mut a = Plan::new(Side::A).start(&[&tunnel]);
    for _ in 0..2 {
        a.host_sends(LAN, &a_to_b(b"x"));
        a.poll();
    }
    assert_eq!((known(&a), a.to_peer().len()), (1, 2));
    // Nobody has told the worker, which reads the clock itself.
    a.now_ns += 1_000 * 1_000_000_000;
    a.host_sends(LAN, &a_to_b(b"late"));
    a.poll();
    assert_eq!(a.to_peer().len(), 0);
    a.only_drops(DropReason::OutboundExpired, 1);
}

#[test]
fn the_order_within_a_flow_is_kept_when_one_packet_has_to_go_the_long_way() {
    let tunnel = Tunnel::new(1, 1);
    let mut a = Plan::new(Side::A).start(&[&tunnel]);
    a.host_sends(LAN, &a_to_b(b"0"));
    a.poll();
    a.to_peer();
    let long = Packet { flags: 0, ..Packet::udp_of("10.1.0.9", "10.2.0.9", 1500) };
    let other = Packet::udp("10.1.0.9", "10.2.0.77", 5, 6, b"new");
    let short = [b"1", b"2", b"3"].map(|text| a_to_b(text));
    for packet in [&short[0], &long, &short[1], &other, &short[2]] {
        a.host_sends(LAN, packet);
    }
    a.poll();
    let opened: Vec<Packet> = a.to_peer().iter().map(|outer| tunnel.peer(Side::A).open(0, outer).1).collect();
    let of_flow: Vec<usize> = opened
        .iter()
        .filter(|packet| packet.dst == short[0].dst)
        .map(|packet| packet.payload.len())
        .collect();
    assert_eq!(of_flow.len(), 5, "{of_flow:?}");
    assert_eq!((of_flow[0], of_flow[3], of_flow[4]), (9, 9, 9));
    assert_eq!(of_flow[1] + of_flow[2], 1480);
}

/// A packet of one of a few flows, with something about it that a way may depend on.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let flow = (0_u16..3, 0_usize..4, prop::bool::weighted(0.3));
    let oddity = (0_u8..12, 0_usize..1600);
    (flow, oddity).prop_map(|((port, to, six), (oddity, octets))| {
        let to4 = ["10.2.0.9", "10.2.0.10", "10.9.0.9", "10.1.0.1"];
        let to6 = ["2001:db8:2::9", "2001:db8:2::a", "2001:db8:9::9", "2001:db8:1::1"];
        let (src, dst) = if six { ("2001:db8:1::9", to6[to]) } else { ("10.1.0.9", to4[to]) };
        let text = vec![7; if oddity == 0 { octets } else { octets % 64 }];
        let mut packet = Packet::udp(src, dst, 1000 + port, 2000, &text[..text.len().min(1400)]);
        match oddity {
            1 => packet.ttl = 1,
            2 => packet.ttl = 2,
            3 => packet.flags = MF,
            4 => packet.flags = 10,
            5 => packet.flags = DF,
            6 => packet.proto = 6,
            7 => packet.tos = 0xb9,
            8 => packet.proto = 47,
            _ => {}
        }
        let mut octets = packet.emit();
        match oddity {
            9 => octets.extend([0; 9]),
            10 => octets[10] ^= 1,
            11 => octets.truncate(octets.len() - 1),
            _ => {}
        }
        if packet.proto == UDP || octets.len() > 60 { octets } else { packet.emit() }
    })
}

/// What became of packets, all of them at once or each under a snapshot of its own: what was sealed between each pair of
/// ends, in order, and what was dropped.
fn fate(packets: &[Vec<u8>], at_once: bool) -> (Vec<Vec<Packet>>, Vec<(DropReason, u64)>, u64) {
    let tunnel = Tunnel::new(1, 1);
    let mut a = Plan::new(Side::A).start(&[&tunnel]);
    let frames = packets.iter().map(|packet| {
        let kind = if packet[0] >> 4 == 6 { 0x86dd } else { 0x0800 };
        crate::wire::frame(crate::plan::mac(Side::A, LAN), [2, 9, 9, 9, 9, 9], kind, packet)
    });
    for frame in frames {
        a.send(LAN, frame);
        if !at_once {
            a.commit(|changes| tunnel.install(Side::A, changes));
        }
    }
    a.poll();
    let mut sealed: Vec<Vec<Packet>> = Vec::new();
    for outer in a.to_peer() {
        let inner = tunnel.peer(Side::A).open(0, &outer).1;
        match sealed.iter_mut().find(|flow| (flow[0].src, flow[0].dst) == (inner.src, inner.dst)) {
            Some(flow) => flow.push(inner),
            None => sealed.push(vec![inner]),
        }
    }
    sealed.sort_by_key(|flow| (flow[0].src, flow[0].dst));
    (sealed, a.drops(), known(&a))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_remembered_way_ends_as_the_long_way_does(packets in prop::collection::vec(any_packet(), 1..100)) {
        let (sealed, drops, _) = fate(&packets, true);
        let (expected, expected_drops, known) = fate(&packets, false);
        prop_assert_eq!(known, 0);
        prop_assert_eq!(sealed, expected);
        prop_assert_eq!(drops, expected_drops);
    }
}
