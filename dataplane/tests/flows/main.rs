//! What gateways in memory do with traffic: tunnels of every kind, rekeying, hubs, the host, sizes, limits, workers.
//! The accounts add up at the end of each test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use esp::DropReason;
use node::octets::{Udp, seq, spi, tags, udp_ports};
use node::records::{THERE, Way, keying, selector};
use node::site::site;
use node::{LAN, Node, WAN};
use shm_protocol::policy::PolicyDirection::{Fwd, Out};
use shm_protocol::sa::{EncapPorts, KeyOctets, Sa};

#[path = "../node/mod.rs"]
mod node;

mod host;
mod numbers;
mod size;

const HOST_1: &str = "10.1.0.9";
const HOST_2: &str = "10.2.0.9";
const HOST_1_V6: &str = "2001:db8:1::9";
const HOST_2_V6: &str = "2001:db8:2::9";

/// Gateways 1 and 2 with an SA from 1 to 2 in slot 3 of either, changed alike.
fn pair(way: Way, change: impl Fn(&mut Sa)) -> (Node, Node) {
    joined(Node::new(site(1)), Node::new(site(2)), way, change)
}

/// As [`pair`], of these gateways.
fn joined(mut sender: Node, mut receiver: Node, way: Way, change: impl Fn(&mut Sa)) -> (Node, Node) {
    let changed = |mut sa: Sa| {
        change(&mut sa);
        sa
    };
    sender.commit(|records| {
        records.put_sa(&changed(way.sends(3)));
        way.policies_out(0, records);
    });
    receiver.commit(|records| {
        records.put_sa(&changed(way.receives(3)));
        way.policies_in(0, records);
    });
    (sender, receiver)
}

/// `count` packets from host 1 to host 2 with the numbers from `first`.
fn numbered(first: u32, count: u32) -> Vec<Vec<u8>> {
    (first..first + count).map(|tag| Udp::new(HOST_1, HOST_2).tag(tag).packet()).collect()
}

fn add_up(nodes: &[&Node]) {
    nodes.iter().for_each(|node| node.adds_up());
}

#[test]
fn every_key_size_carries_both_families_in_both_families_with_and_without_esn() {
    for key in [KeyOctets::K16, KeyOctets::K24, KeyOctets::K32] {
        for (v6, esn) in [(false, false), (false, true), (true, false), (true, true)] {
            let (mut sender, mut receiver) = pair(Way { v6, ..THERE }, |sa| {
                sa.keying = keying(key, 9);
                sa.esn = esn;
            });
            let packets = [(HOST_1, HOST_2), (HOST_1_V6, HOST_2_V6)]
                .map(|(src, dst)| Udp::new(src, dst).tag(src.len().try_into().unwrap()).packet());
            let frames = sender.seals(&packets);
            assert_eq!(frames.iter().map(|frame| seq(frame)).collect::<Vec<_>>(), [1, 2]);
            let delivered = receiver.opens(&frames);
            assert_eq!(tags(&delivered), tags(&packets), "{key:?} {v6} {esn}");
            let lens = |packets: &[Vec<u8>]| packets.iter().map(Vec::len).collect::<Vec<_>>();
            assert_eq!(lens(&delivered), lens(&packets));
            assert_eq!(sender.drops() + receiver.drops(), 0);
            add_up(&[&sender, &receiver]);
        }
    }
}

#[test]
fn encapsulation_in_udp_carries_what_port_a_nat_has_left() {
    for sport in [4500, 61234] {
        let (mut sender, mut receiver) = pair(THERE, |sa| sa.encap = Some(EncapPorts { sport, dport: 4500 }));
        let packets = numbered(0, 3);
        let frames = sender.seals(&packets);
        assert!(frames.iter().all(|frame| udp_ports(frame) == (sport, 4500)));
        assert_eq!(tags(&receiver.opens(&frames)), [0, 1, 2]);
        assert_eq!((sender.drops() + receiver.drops(), receiver.notices()), (0, vec![]));
        add_up(&[&sender, &receiver]);
    }
}

#[test]
fn the_newest_sa_sends_and_every_sa_is_accepted() {
    let (mut sender, mut receiver) = pair(THERE, |_| {});
    let old = sender.seals(&numbered(0, 2));
    receiver.commit(|records| _ = records.put_sa(&THERE.receives(4)));
    sender.commit(|records| _ = records.put_sa(&THERE.sends(4)));
    let new = sender.seals(&numbered(2, 2));
    let spis: Vec<_> = [&old, &new].map(|frames| spi(&frames[0])).into();
    assert_eq!(spis, [THERE.sends(3).spi.0, THERE.sends(4).spi.0]);
    assert_eq!(tags(&receiver.opens(&new)), [2, 3]);
    assert_eq!(tags(&receiver.opens(&old)), [0, 1]);
    add_up(&[&sender, &receiver]);
}

#[test]
fn rekeying_make_before_break_loses_nothing() {
    let (mut sender, mut receiver) = pair(THERE, |_| {});
    let mut on_their_way = sender.seals(&numbered(0, 10));
    receiver.commit(|records| _ = records.put_sa(&THERE.receives(4)));
    on_their_way.extend(sender.seals(&numbered(10, 10)));
    sender.commit(|records| _ = records.put_sa(&THERE.sends(4)));
    on_their_way.extend(sender.seals(&numbered(20, 10)));
    sender.commit(|records| _ = records.remove_sa(THERE.sends(3).slot, 1));
    on_their_way.extend(sender.seals(&numbered(30, 10)));
    let mut delivered = receiver.opens(&on_their_way);
    receiver.commit(|records| _ = records.remove_sa(THERE.receives(3).slot, 1));
    delivered.extend(receiver.opens(&sender.seals(&numbered(40, 10))));
    assert_eq!(tags(&delivered), (0..50).collect::<Vec<_>>());
    assert_eq!(sender.drops() + receiver.drops(), 0);
    add_up(&[&sender, &receiver]);
}

#[test]
fn a_hub_takes_packets_out_of_one_tunnel_into_another() {
    let (mut sender, _) = pair(THERE, |_| {});
    // Seen from gateway 1 networks of gateway 3 are behind its second tunnel; here all go by the hub.
    let second = Way { from: 1, to: 2, if_id: 2, v6: false };
    sender.commit(|records| {
        records.put_sa(&second.sends(5));
        second.policies_out(10, records);
    });
    let onwards = Way { from: 2, to: 3, if_id: 2, v6: false };
    let mut hub = Node::new(site(2));
    hub.commit(|records| {
        records.put_sa(&THERE.receives(5)).put_sa(&onwards.sends(6));
        THERE.policies_in(0, records);
        onwards.policies_out(4, records);
    });
    let mut spoke = Node::new(site(3));
    spoke.commit(|records| {
        records.put_sa(&onwards.receives(6));
        onwards.policies_in(0, records);
    });
    let frames = sender.seals(&[Udp::new(HOST_1, "10.3.0.9").tag(8).packet()]);
    hub.offer(node::WAN, &frames);
    let relayed = hub.sent(WAN);
    assert_eq!((relayed.len(), hub.sent(LAN).len()), (1, 0));
    let delivered = spoke.opens(&relayed);
    assert_eq!((tags(&delivered), delivered[0][8]), (vec![8], 61), "three gateways, three hops");
    assert_eq!(sender.drops() + hub.drops() + spoke.drops(), 0);
    add_up(&[&sender, &hub, &spoke]);
}

#[test]
fn tunnels_by_policy_and_by_route_work_side_by_side() {
    let (mut sender, mut receiver) = pair(THERE, |_| {});
    let by_policy = THERE.in_tunnel(0);
    let selector = selector(("10.1.0.0", "10.1.0.255"), ("10.2.1.0", "10.2.1.255"));
    sender.commit(|records| {
        records.put_sa(&by_policy.sends(6)).put_policy(&by_policy.policy(10, Out, selector));
    });
    receiver.commit(|records| {
        records.put_sa(&by_policy.receives(6)).put_policy(&by_policy.policy(10, Fwd, selector));
    });
    let packets = [HOST_2, "10.2.1.9"].map(|dst| Udp::new(HOST_1, dst).packet());
    let frames = sender.seals(&packets);
    let mut spis: Vec<_> = frames.iter().map(|frame| spi(frame)).collect();
    spis.sort_unstable();
    assert_eq!(spis, [THERE.sends(3).spi.0, by_policy.sends(6).spi.0]);
    assert_eq!(receiver.opens(&frames).len(), 2);
    // In clear the one is not expected from outside.
    receiver.offer(WAN, &[Udp::new(HOST_1, "10.2.1.9").frame()]);
    assert_eq!((receiver.sent(LAN).len(), receiver.dropped(DropReason::Unprotected)), (0, 1));
    assert_eq!(sender.drops(), 0);
    add_up(&[&sender, &receiver]);
}
