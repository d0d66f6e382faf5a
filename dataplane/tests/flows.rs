//! What gateways in memory do with traffic: tunnels of every kind, rekeying, hubs, the host, sizes, limits, workers.
//! The accounts add up at the end of each test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use dataplane::path::host::{HostDevice, PuntClass};
use dataplane::path::shared::{Limit, Notice};
use dataplane::ports::{InterfaceId, PortId};
use dataplane::tables::topology::Topology;
use esp::DropReason;
use node::octets::{MAC, OWN_MAC, Udp, frame, iv, seq, spi, tags, udp_ports};
use node::records::{THERE, Way, keying, selector};
use node::site::site;
use node::{LAN, Node, WAN};
use shm_protocol::ids::{IfId, SaUid, Spi};
use shm_protocol::policy::PolicyDirection::{Fwd, Out};
use shm_protocol::sa::{Direction, EncapPorts, KeyOctets, Limits, Sa};

mod node;

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

/// A gateway whose kernel has a device for each port and interface.
fn with_netdevs(own: u8) -> Node {
    Node::new(Topology { netdevs: true, ..site(own) })
}

#[test]
fn the_host_sends_by_its_tun_and_gets_by_its_tun_what_the_tunnel_brings_for_it() {
    let (mut sender, mut receiver) = joined(with_netdevs(1), with_netdevs(2), THERE, |_| {});
    let tun = HostDevice::Interface(InterfaceId(0));
    let to_host = Udp::new("10.91.0.1", HOST_2).tag(1).packet();
    let to_gateway = Udp::new("10.91.0.1", "10.91.0.2").tag(2).packet();
    sender.host_sends(tun, &to_host);
    sender.host_sends(tun, &to_gateway);
    let frames = sender.sent(WAN);
    assert_eq!(tags(&receiver.opens(&frames)), [1]);
    assert_eq!(receiver.punted(), [(tun, PuntClass::Local, to_gateway)]);
    assert_eq!(sender.drops() + receiver.drops(), 0);
    add_up(&[&sender, &receiver]);
}

#[test]
fn ike_goes_to_the_host_whatever_the_policies() {
    let (_, mut gateway) = joined(Node::new(site(1)), with_netdevs(2), THERE.in_tunnel(0), |_| {});
    // The four zero octets at the start of the payload tell IKE on port 4500.
    let frames = [(500, 500), (4500, 4500), (61234, 4500)]
        .map(|ports| Udp { ports, ..Udp::new("192.0.2.1", "192.0.2.2") }.frame());
    gateway.offer(WAN, &frames);
    let tap = HostDevice::Port(PortId(1));
    let expected: Vec<_> =
        frames.iter().map(|frame| (tap, PuntClass::Ike, [&OWN_MAC[..], &frame[6..]].concat())).collect();
    assert_eq!(gateway.punted(), expected);
    assert_eq!(gateway.drops(), 0);
    gateway.adds_up();
}

/// An ARP frame; `op` 1 asks, 2 answers.
fn arp(op: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let fixed = [8, 6, 0, 1, 8, 0, 6, 4, 0, op];
    [&OWN_MAC[..], &MAC, &fixed, &MAC, &sender, &[0; 6], &target].concat()
}

#[test]
fn without_netdevs_the_gateway_answers_arp() {
    let mut gateway = Node::new(site(2));
    gateway.offer(WAN, &[arp(1, [192, 0, 2, 77], [192, 0, 2, 2]), arp(1, [192, 0, 2, 77], [192, 0, 2, 5])]);
    let sent = gateway.sent(WAN);
    assert_eq!(sent.len(), 1, "only for its own address");
    let reply = [&MAC[..], &OWN_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2], &OWN_MAC, &[192, 0, 2, 2], &MAC];
    assert_eq!(sent[0], [reply.concat(), vec![192, 0, 2, 77]].concat());
    let learnt = Notice::Learnt { port: PortId(1), ip: node::ip("192.0.2.77"), mac: MAC };
    assert_eq!(gateway.notices(), [learnt]);
    gateway.adds_up();
}

#[test]
fn without_netdevs_the_gateway_asks_and_sends_what_waited() {
    let unknown = Topology { neighbors: Vec::new(), ..site(1) };
    let (mut sender, mut receiver) = joined(Node::new(unknown), Node::new(site(2)), THERE, |_| {});
    let asked = sender.seals(&numbered(5, 1));
    let question = [&[0xff; 6][..], &OWN_MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &OWN_MAC, &[192, 0, 2, 1]];
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0][..32], question.concat());
    assert_eq!(asked[0][38..], [192, 0, 2, 2]);
    sender.offer(WAN, &[arp(2, [192, 0, 2, 2], [192, 0, 2, 1])]);
    sender.take_notices();
    assert_eq!(tags(&receiver.opens(&sender.sent(WAN))), [5]);
    assert_eq!(sender.drops(), sender.dropped(DropReason::NeighborMessage));
    add_up(&[&sender, &receiver]);
}

#[test]
fn with_netdevs_arp_is_the_hosts_and_the_engine_has_it_ask() {
    let topology = Topology { netdevs: true, neighbors: Vec::new(), ..site(1) };
    let (mut gateway, _) = joined(Node::new(topology), Node::new(site(2)), THERE, |_| {});
    let question = arp(1, [192, 0, 2, 2], [192, 0, 2, 1]);
    assert_eq!(gateway.seals(&numbered(5, 1)), [[0_u8; 0]; 0]);
    let missing = Notice::Missing { destination: node::ip("192.0.2.2"), port: PortId(1) };
    assert_eq!(gateway.notices(), [missing]);
    gateway.offer(WAN, std::slice::from_ref(&question));
    assert_eq!(gateway.sent(WAN), [[0_u8; 0]; 0]);
    assert_eq!(gateway.punted(), [(HostDevice::Port(PortId(1)), PuntClass::Neighbor, question)]);
    gateway.take_notices();
    assert_eq!(
        (gateway.sent(WAN).len(), gateway.drops()),
        (1, 0),
        "what waited leaves by what was overheard"
    );
    gateway.adds_up();
}

/// The tunnels whose overheads differ, with the largest inner packet on a path of 1500 octets. RFC: 4303 section 2.4.
fn tunnels() -> [(Way, Option<EncapPorts>, u16); 4] {
    let udp = Some(EncapPorts { sport: 4500, dport: 4500 });
    let v6 = Way { v6: true, ..THERE };
    // 1500 less the outer header, UDP, 32 octets of ESP and ICV, rounded down to 4, less the trailer.
    [(THERE, None, 1446), (THERE, udp, 1438), (v6, None, 1426), (v6, udp, 1418)]
}

#[test]
fn the_largest_packet_passes_and_one_octet_more_is_answered_with_the_size_that_fits() {
    for (way, encap, mtu) in tunnels() {
        let (mut sender, mut receiver) = pair(way, |sa| sa.encap = encap);
        let largest = usize::from(mtu);
        let v4 = Udp { dont_fragment: true, ..Udp::new(HOST_1, HOST_2) };
        let v6 = Udp::new(HOST_1_V6, HOST_2_V6);
        let frames = sender.seals(&[v4.octets(largest).packet(), v6.octets(largest).packet()]);
        assert!(frames.iter().all(|frame| (1511..=1514).contains(&frame.len())), "{way:?} {encap:?}");
        assert_eq!(receiver.opens(&frames).len(), 2);
        let refused = sender.seals(&[v4.octets(largest + 1).packet(), v6.octets(largest + 1).packet()]);
        assert_eq!(refused.len(), 0);
        let told = sender.sent_ip(LAN);
        assert_eq!(told[0][12..20], [10, 1, 0, 1, 10, 1, 0, 9]);
        assert_eq!(
            (told[0][9], &told[0][20..22], &told[0][26..28]),
            (1, &[3, 4][..], &mtu.to_be_bytes()[..])
        );
        let for_v6 = (told[1][6], &told[1][40..42], &told[1][44..48]);
        assert_eq!(for_v6, (58, &[2, 0][..], &u32::from(mtu).to_be_bytes()[..]));
        assert_eq!((told.len(), sender.dropped(DropReason::MtuExceeded)), (2, 2));
        assert_eq!((sender.drops(), receiver.drops()), (2, 0));
        add_up(&[&sender, &receiver]);
    }
}

#[test]
fn what_may_be_fragmented_goes_in_pieces_that_together_carry_every_octet() {
    for (way, encap, mtu) in tunnels() {
        let (mut sender, mut receiver) = pair(way, |sa| sa.encap = encap);
        let packet = Udp::new(HOST_1, HOST_2).octets(1500).packet();
        let mut pieces = receiver.opens(&sender.seals(std::slice::from_ref(&packet)));
        let at = |piece: &Vec<u8>| usize::from(u16::from_be_bytes([piece[6], piece[7]]) & 0x1fff) * 8;
        pieces.sort_by_key(at);
        let mut payload = Vec::new();
        for piece in &pieces {
            assert_eq!(at(piece), payload.len());
            assert!(piece.len() <= usize::from(mtu));
            payload.extend(&piece[20..]);
        }
        assert_eq!((pieces.len(), payload), (2, packet[20..].to_vec()));
        assert_eq!(
            pieces.iter().map(|piece| piece[6] >> 5).collect::<Vec<_>>(),
            [1, 0],
            "more to come, then not"
        );
        assert_eq!(sender.drops() + receiver.drops(), 0);
        add_up(&[&sender, &receiver]);
    }
}

#[test]
fn at_the_last_hop_of_its_life_a_packet_is_answered() {
    let (mut sender, _) = pair(THERE, |_| {});
    let last = [(HOST_1, HOST_2), (HOST_1_V6, HOST_2_V6)]
        .map(|(src, dst)| Udp { ttl: 1, ..Udp::new(src, dst) }.packet());
    assert_eq!(sender.seals(&last), [[0_u8; 0]; 0]);
    let told = sender.sent_ip(LAN);
    assert_eq!((told[0][9], &told[0][20..22]), (1, &[11, 0][..]));
    assert_eq!((told[1][6], &told[1][40..42]), (58, &[3, 0][..]));
    assert_eq!((told.len(), sender.dropped(DropReason::TtlExpired), sender.drops()), (2, 2, 2));
    sender.adds_up();
}

/// The limits of the SA in slot 3 that were told, and nothing else was.
fn limits(node: &Node) -> Vec<Limit> {
    let limit = |notice| {
        let Notice::Limit { slot: 3, uid: 1003, limit } = notice else { panic!("{notice:?}") };
        limit
    };
    node.notices().into_iter().map(limit).collect()
}

#[test]
fn a_soft_limit_is_told_once_and_at_a_hard_limit_use_ends_at_either_end() {
    let packets = Limits { packets: shm_protocol::sa::Limit::new(3, 5), ..Limits::default() };
    // A packet of 100 octets is 104 octets of cipher text.
    let octets = Limits { octets: shm_protocol::sa::Limit::new(300, 600), ..Limits::default() };
    let cases =
        [(packets, Limit::SoftPackets, Limit::HardPackets), (octets, Limit::SoftOctets, Limit::HardOctets)];
    for (of, soft, hard) in cases {
        let (mut limited, mut receiver) = pair(THERE, |sa| {
            sa.limits = if sa.direction == Direction::Out { of } else { Limits::default() };
        });
        assert_eq!(tags(&receiver.opens(&limited.seals(&numbered(0, 8)))), [0, 1, 2, 3, 4]);
        assert_eq!(limits(&limited), [soft, hard], "each once");
        assert_eq!((limited.dropped(DropReason::OutboundExpired), limited.drops()), (3, 3));
        add_up(&[&limited, &receiver]);
        let (mut sender, mut limited) = pair(THERE, |sa| {
            sa.limits = if sa.direction == Direction::In { of } else { Limits::default() };
        });
        assert_eq!(tags(&limited.opens(&sender.seals(&numbered(0, 8)))), [0, 1, 2, 3, 4]);
        assert_eq!(limits(&limited), [soft, hard], "each once");
        assert_eq!((limited.dropped(DropReason::InboundExpired), limited.drops()), (3, 3));
        add_up(&[&sender, &limited]);
    }
}

#[test]
fn without_esn_numbers_end_with_the_last_of_32_bits() {
    let (mut sender, mut receiver) = pair(THERE, |sa| {
        sa.esn = false;
        if sa.direction == Direction::Out {
            sa.initial.oseq = u64::from(u32::MAX) - 3;
        }
    });
    let mut frames = sender.seals(&numbered(0, 2));
    frames.extend(sender.seals(&numbered(2, 4)));
    frames.extend(sender.seals(&numbered(6, 1)));
    let numbers: Vec<_> = frames.iter().map(|frame| seq(frame)).collect();
    assert_eq!(numbers, [u32::MAX - 2, u32::MAX - 1, u32::MAX]);
    assert_eq!(tags(&receiver.opens(&frames)), [0, 1, 2]);
    assert_eq!(limits(&sender), [Limit::SoftSequence, Limit::HardSequence], "each once");
    assert_eq!((sender.dropped(DropReason::SequenceExhausted), sender.drops()), (4, 4));
    add_up(&[&sender, &receiver]);
}

/// Gateway 1 with two workers, its first tunnel used by both of them or by one.
fn two_workers(spread: bool) -> Node {
    let mut topology = site(1);
    topology.interfaces[0].spread = spread;
    Node::with_workers(topology, 2)
}

#[test]
fn two_workers_seal_with_one_sa_and_repeat_nothing() {
    for spread in [true, false] {
        let (mut sender, mut receiver) =
            joined(two_workers(spread), Node::new(site(2)), THERE, |sa| sa.replay_window_pkts = 1024);
        let mut frames = Vec::new();
        for round in 0..10 {
            for (worker, first) in [(0, 80 * round), (1, 80 * round + 40)] {
                let arriving: Vec<_> = numbered(first, 40).iter().map(|packet| frame(packet)).collect();
                sender.offer_to(worker, LAN, &arriving);
            }
            sender.run_in_threads();
            let by_worker: Vec<_> = (0..2).map(|worker| sender.sent_by(worker, WAN)).collect();
            let counts: Vec<_> = by_worker.iter().map(Vec::len).collect();
            assert_eq!(counts, if spread { [40, 40] } else { [0, 80] });
            frames.extend(by_worker.concat());
        }
        let ivs: HashSet<_> = frames.iter().map(|frame| iv(frame)).collect();
        assert_eq!((frames.len(), ivs.len()), (800, 800));
        assert_eq!(tags(&receiver.opens(&frames)), (0..800).collect::<Vec<_>>());
        assert_eq!(sender.drops() + receiver.drops(), 0);
        add_up(&[&sender, &receiver]);
    }
}

#[test]
fn two_workers_that_get_the_same_packets_deliver_each_once() {
    let (mut sender, mut receiver) =
        joined(Node::new(site(1)), Node::with_workers(site(2), 2), THERE, |_| {});
    let mut delivered = Vec::new();
    for round in 0..20 {
        let frames = sender.seals(&numbered(32 * round, 32));
        receiver.offer_to(0, WAN, &frames);
        receiver.offer_to(1, WAN, &frames);
        receiver.run_in_threads();
        delivered.extend(receiver.sent_ip(LAN));
    }
    assert_eq!(tags(&delivered), (0..640).collect::<Vec<_>>());
    assert_eq!((receiver.dropped(DropReason::Replay), receiver.drops(), sender.drops()), (640, 640, 0));
    add_up(&[&sender, &receiver]);
}

#[test]
fn an_sa_that_replaces_another_in_its_slot_starts_anew_and_the_olds_totals_are_kept() {
    let (mut sender, mut receiver) = pair(THERE, |_| {});
    assert_eq!(receiver.opens(&sender.seals(&numbered(0, 4))).len(), 4);
    let anew = |mut sa: Sa| {
        sa.uid = SaUid::new(9).unwrap();
        sa.spi = Spi::allocated(sa.slot, 0x777).unwrap();
        sa.keying = keying(KeyOctets::K32, 0x99);
        sa
    };
    sender.commit(|records| _ = records.put_sa(&anew(THERE.sends(3))));
    receiver.commit(|records| _ = records.put_sa(&anew(THERE.receives(3))));
    let counts = |node: &Node| {
        let record = node.record(3);
        [&record.next_seq, &record.out_packets, &record.in_packets, &record.window_top]
            .map(|word| word.load(Relaxed))
    };
    assert_eq!((counts(&sender), counts(&receiver)), ([0; 4], [0; 4]));
    let (sealed, opened) = (sender.live.retired_totals(IfId(1)), receiver.live.retired_totals(IfId(1)));
    assert_eq!((sealed.out_packets, sealed.out_octets), (4, 4 * 104));
    assert_eq!((opened.in_packets, opened.in_octets), (4, 4 * 104));
    let frames = sender.seals(&numbered(4, 2));
    assert_eq!(seq(&frames[0]), 1);
    assert_eq!(tags(&receiver.opens(&frames)), [4, 5]);
    assert_eq!((sender.drops() + receiver.drops(), counts(&sender)[0]), (0, 2));
    add_up(&[&sender, &receiver]);
}

#[test]
fn nothing_is_sealed_once_the_counters_are_gone() {
    let (mut sender, _) = pair(THERE, |_| {});
    assert_eq!(sender.seals(&numbered(0, 1)).len(), 1);
    sender.remove_live();
    assert_eq!(sender.seals(&numbered(1, 3)).len(), 0);
    assert_eq!((sender.dropped(DropReason::OutboundNoPolicy), sender.drops()), (3, 3));
    sender.adds_up();
}

#[test]
fn an_engine_that_starts_again_goes_on_with_the_next_number_and_refuses_old_packets() {
    let (mut sender, mut receiver) = pair(THERE, |_| {});
    let old = sender.seals(&numbered(0, 5));
    assert_eq!(receiver.opens(&old[..4]).len(), 4);
    add_up(&[&sender, &receiver]);
    let (mut sender, mut receiver) = (sender.restarted(), receiver.restarted());
    assert_eq!(tags(&receiver.opens(&old)), [4], "what was not seen before is not lost");
    assert_eq!((receiver.dropped(DropReason::Replay), receiver.drops()), (4, 4));
    let new = sender.seals(&numbered(5, 1));
    assert_eq!((seq(&new[0]), iv(&new[0])), (6, 6));
    assert_eq!(tags(&receiver.opens(&new)), [5]);
    add_up(&[&sender, &receiver]);
}
