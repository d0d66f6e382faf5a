//! Which packet goes by which tunnel: families, keys, encapsulation, if_ids, policies, several SAs.

use shm_protocol::policy::{Action, PolicyDirection};
use shm_protocol::sa::KeyOctets;

use dataplane::ports::{InterfaceId, PortId};
use dataplane::tables::topology::{Device, Unprotected};
use esp::DropReason;

use crate::gateway::{LAN, WAN};
use crate::pair::Pair;
use crate::plan::{Plan, mac, neighbor, route};
use crate::records::{ANY4, NETS4, OUTER4, OUTER6, Side, Tunnel, plain_policy};
use crate::wire::{Packet, esp_head};

fn a_to_b4(text: &[u8]) -> Packet {
    Packet::udp("10.1.0.9", "10.2.0.9", 1000, 2000, text)
}

fn a_to_b6(text: &[u8]) -> Packet {
    Packet::udp("2001:db8:1::9", "2001:db8:2::9", 1000, 2000, text)
}

fn b_to_a4(text: &[u8]) -> Packet {
    Packet::udp("10.2.0.9", "10.1.0.9", 2000, 1000, text)
}

#[test]
fn both_families_cross_in_both_with_every_key_with_and_without_esn() {
    for outer in [OUTER4, OUTER6] {
        for key in [KeyOctets::K16, KeyOctets::K24, KeyOctets::K32] {
            for esn in [false, true] {
                let tunnel = Tunnel { outer, key, esn, ..Tunnel::new(1, 1) };
                let mut pair = Pair::new(&[&tunnel]);
                for text in [&b""[..], b"1", b"12", b"123", b"1234"] {
                    pair.crosses(Side::A, &a_to_b4(text));
                    pair.crosses(Side::A, &a_to_b6(text));
                    pair.crosses(Side::B, &b_to_a4(text));
                }
                pair.a.no_drops();
                pair.b.no_drops();
            }
        }
    }
}

#[test]
fn a_foreign_peer_opens_what_the_gateway_seals() {
    for (outer, encap) in
        [OUTER4, OUTER6].into_iter().flat_map(|o| [None, Some((4500, 30000))].map(|e| (o, e)))
    {
        for (key, esn) in [(KeyOctets::K16, false), (KeyOctets::K24, true), (KeyOctets::K32, false)] {
            let tunnel = Tunnel { outer, key, esn, encap, ..Tunnel::new(1, 1) };
            let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
            for (number, inner) in (1..).zip([a_to_b4(b"one"), a_to_b6(b"two"), a_to_b4(b"")]) {
                gateway.host_sends(LAN, &inner);
                gateway.poll();
                let outer = gateway.to_peer();
                assert_eq!(outer.len(), 1);
                assert_eq!(tunnel.peer(Side::A).open(0, &outer[0]), (number, inner.after_hops(1)));
            }
        }
    }
}

#[test]
fn the_gateway_opens_what_a_foreign_peer_seals() {
    for (outer, encap) in
        [OUTER4, OUTER6].into_iter().flat_map(|o| [None, Some((4500, 30000))].map(|e| (o, e)))
    {
        for (key, esn) in [(KeyOctets::K16, true), (KeyOctets::K24, false), (KeyOctets::K32, true)] {
            let tunnel = Tunnel { outer, key, esn, encap, ..Tunnel::new(1, 1) };
            let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
            for (number, inner) in (1..).zip([b_to_a4(b"one"), b_to_a4(b"four"), b_to_a4(b"")]) {
                // Port 4500 is where the gateway listens; its peer sends from wherever the NAT put it.
                gateway.peer_sends(&tunnel.peer(Side::B).seal(number, &inner));
                gateway.poll();
                assert_eq!(gateway.to_hosts(LAN), [inner.after_hops(1)], "{:?}", gateway.drops());
            }
            gateway.no_drops();
        }
    }
}

#[test]
fn encapsulated_packets_carry_the_ports_of_their_sa() {
    let tunnel = Tunnel { encap: Some((4500, 4500)), ..Tunnel::new(1, 1) };
    let crossed = Pair::new(&[&tunnel]).crosses(Side::A, &a_to_b4(b"x"));
    assert_eq!(Packet::of_frame(&crossed[0]).payload[..4], [0x11, 0x94, 0x11, 0x94]);
}

#[test]
fn the_iv_is_the_sequence_number_in_64_bits() {
    let initial = shm_protocol::sa::Initial { oseq: 0x1_2345_6789, iseq_top: 0x1_2345_6789 };
    let tunnel = Tunnel { initial, ..Tunnel::new(1, 1) };
    let crossed = Pair::new(&[&tunnel]).crosses(Side::A, &a_to_b4(b"x"));
    assert_eq!(esp_head(&crossed[0]), (tunnel.spi(Side::A).0, 0x2345_678a, 0x1_2345_678a_u64.to_be_bytes()));
}

#[test]
fn policy_based_and_route_based_tunnels_work_side_by_side() {
    // 10.1/16 to 10.2/16 by policy on the WAN, 10.1/16 to 10.3/16 by the route into ipsec2.
    let by_policy = Tunnel { nets: vec![NETS4], ..Tunnel::new(1, 0) };
    let by_route = Tunnel { nets: vec![("10.1.0.0/16", "10.3.0.0/16")], ..Tunnel::new(2, 2) };
    let tunnels = [&by_policy, &by_route];
    let second = Device::Interface(InterfaceId(1));
    let a = Plan::new(Side::A)
        .policy_based()
        .with(|topology| topology.routes.push(route("10.3.0.0/16", second, None)))
        .start(&tunnels);
    let b = Plan::new(Side::B)
        .policy_based()
        .with(|topology| {
            let lan = Device::Port(PortId(LAN));
            topology.routes.push(route("10.3.0.0/16", lan, Some("10.2.0.9")));
        })
        .start(&tunnels);
    let mut pair = Pair::of(a, b);
    let crossed = pair.crosses(Side::A, &a_to_b4(b"policy"));
    assert_eq!(esp_head(&crossed[0]).0, by_policy.spi(Side::A).0);
    let crossed = pair.crosses(Side::A, &Packet::udp("10.1.0.9", "10.3.0.9", 1, 2, b"route"));
    assert_eq!(esp_head(&crossed[0]).0, by_route.spi(Side::A).0);
    pair.crosses(Side::B, &b_to_a4(b"back by policy"));
    pair.a.no_drops();
    pair.b.no_drops();
}

#[test]
fn the_newest_sa_is_sent_by_and_all_are_accepted() {
    let old = Tunnel::new(1, 1);
    let new = Tunnel { reqid: 1, ..Tunnel::new(2, 1) };
    let mut pair = Pair::new(&[&old]);
    let early = pair.crosses(Side::A, &a_to_b4(b"old"));
    pair.at(Side::B).commit(|changes| new.install_sas(Side::B, changes));
    pair.crosses(Side::A, &a_to_b4(b"still old"));
    pair.at(Side::A).commit(|changes| new.install_sas(Side::A, changes));
    let late = pair.crosses(Side::A, &a_to_b4(b"new"));
    assert_eq!(esp_head(&early[0]).0, old.spi(Side::A).0);
    assert_eq!(esp_head(&late[0]).0, new.spi(Side::A).0);
    for number in 10..13 {
        pair.b.peer_sends(&old.peer(Side::A).seal(number, &a_to_b4(b"late on the old")));
        pair.b.peer_sends(&new.peer(Side::A).seal(number, &a_to_b4(b"on the new")));
    }
    pair.b.poll();
    assert_eq!(pair.b.to_hosts(LAN).len(), 6);
    pair.b.no_drops();
}

#[test]
fn inbound_and_outbound_may_have_different_if_ids() {
    let tunnel = Tunnel { if_in: 2, if_out: 1, ..Tunnel::new(1, 1) };
    let mut pair = Pair::new(&[&tunnel]);
    pair.crosses(Side::A, &a_to_b4(b"there"));
    pair.crosses(Side::B, &b_to_a4(b"back"));
    pair.a.no_drops();
    pair.b.no_drops();
}

#[test]
fn tunnels_between_the_same_endpoints_are_told_apart_by_their_if_id() {
    // The same policies, the same reqid; only the interface differs, and the route to it.
    let one = Tunnel { nets: vec![ANY4], reqid: 7, ..Tunnel::new(1, 1) };
    let two = Tunnel { nets: vec![ANY4], reqid: 7, ..Tunnel::new(2, 2) };
    let second = Device::Interface(InterfaceId(1));
    let a = Plan::new(Side::A)
        .with(|topology| topology.routes.push(route("10.2.128.0/17", second, None)))
        .start(&[&one, &two]);
    let b = Plan::new(Side::B)
        .with(|topology| topology.neighbors.push(neighbor(LAN, "10.2.0.9", crate::plan::HOST)))
        .with(|topology| {
            let lan = Device::Port(PortId(LAN));
            topology.routes.push(route("10.2.128.0/17", lan, Some("10.2.0.9")));
        })
        .start(&[&one, &two]);
    let mut pair = Pair::of(a, b);
    let first = pair.crosses(Side::A, &a_to_b4(b"by the first"));
    let other = pair.crosses(Side::A, &Packet::udp("10.1.0.9", "10.2.200.9", 1, 2, b"by the second"));
    assert_eq!(esp_head(&first[0]).0, one.spi(Side::A).0);
    assert_eq!(esp_head(&other[0]).0, two.spi(Side::A).0);
    pair.b.no_drops();
}

#[test]
fn selectors_of_any_address_on_two_if_ids_do_not_meet() {
    let one = Tunnel { nets: vec![ANY4], selectors: vec![ANY4], ..Tunnel::new(1, 1) };
    let two = Tunnel { nets: vec![ANY4], selectors: vec![ANY4], ..Tunnel::new(2, 2) };
    let mut pair = Pair::new(&[&one, &two]);
    let crossed = pair.crosses(Side::A, &a_to_b4(b"routed into the first"));
    assert_eq!(esp_head(&crossed[0]).0, one.spi(Side::A).0);
    // The same packet by the other tunnel is admitted for that tunnel's own policy.
    pair.b.peer_sends(&two.peer(Side::A).seal(1, &a_to_b4(b"by the second")));
    pair.b.poll();
    assert_eq!(pair.b.to_hosts(LAN).len(), 1);
    // Clear packets of a host are no business of either.
    pair.a.no_drops();
    pair.b.no_drops();
}

#[test]
fn one_interface_serves_peers_with_disjoint_selectors_through_interleaved_rekeys() {
    // Two road warriors behind one if_id and even one reqid; only the selectors of SAs and policies differ.
    const FIRST: (&str, &str) = ("10.1.0.0/16", "10.2.1.0/24");
    const SECOND: (&str, &str) = ("10.1.0.0/16", "10.2.2.0/24");
    let warrior =
        |number, nets| Tunnel { nets: vec![nets], selectors: vec![nets], reqid: 5, ..Tunnel::new(number, 1) };
    let tunnels: Vec<_> = [(1, FIRST), (2, SECOND), (3, FIRST), (4, SECOND), (5, SECOND), (6, FIRST)]
        .map(|(n, nets)| warrior(n, nets))
        .into();
    let mut gateway = Plan::new(Side::A).start(&[&tunnels[0], &tunnels[1]]);
    let mut newest = [&tunnels[0], &tunnels[1]];
    for next in [None, Some(2), Some(3), Some(4), Some(5)] {
        if let Some(next) = next {
            let tunnel: &Tunnel = &tunnels[next];
            gateway.commit(|changes| tunnel.install_sas(Side::A, changes));
            newest[usize::from(tunnel.nets[0] == SECOND)] = tunnel;
        }
        for (at, dst) in ["10.2.1.9", "10.2.2.9"].into_iter().enumerate() {
            gateway.host_sends(LAN, &Packet::udp("10.1.0.9", dst, 1, 2, b"x"));
            gateway.poll();
            let sent = gateway.to_peer();
            assert_eq!(sent.len(), 1);
            newest[at].peer(Side::A).open(0, &sent[0]);
        }
    }
    gateway.no_drops();
}

#[test]
fn what_comes_out_of_one_tunnel_goes_into_another() {
    // A - B by if_id 1, B - C by if_id 2; C is played by a foreign peer.
    let spoke = Tunnel { nets: vec![("10.1.0.0/16", "10.3.0.0/16")], ..Tunnel::new(1, 1) };
    let far = Tunnel {
        nets: vec![("10.3.0.0/16", "10.1.0.0/16")],
        outer: ("192.0.2.3", "192.0.2.2"),
        ..Tunnel::new(2, 2)
    };
    let second = Device::Interface(InterfaceId(1));
    let mut hub = Plan::new(Side::B)
        .with(|topology| topology.routes.push(route("10.3.0.0/16", second, None)))
        .with(|topology| topology.neighbors.push(neighbor(WAN, "192.0.2.3", mac(Side::A, WAN))))
        .start(&[&spoke, &far]);
    let inner = Packet::udp("10.1.0.9", "10.3.0.9", 1, 2, b"through the hub");
    hub.peer_sends(&spoke.peer(Side::A).seal(1, &inner));
    hub.poll();
    let sent = hub.to_peer();
    assert_eq!(sent.len(), 1, "{:?}", hub.drops());
    assert_eq!(far.peer(Side::B).open(0, &sent[0]), (1, inner.after_hops(1)));
    let back = Packet::udp("10.3.0.9", "10.1.0.9", 2, 1, b"and back");
    hub.peer_sends(&far.peer(Side::A).seal(1, &back));
    hub.poll();
    assert_eq!(spoke.peer(Side::B).open(0, &hub.to_peer()[0]), (1, back.after_hops(1)));
    hub.no_drops();
}

#[test]
fn a_policy_that_lets_pass_comes_before_one_that_protects_by_its_priority() {
    let tunnel = Tunnel { nets: vec![ANY4], ..Tunnel::new(1, 0) };
    let mut gateway = Plan::new(Side::A).policy_based().start(&[&tunnel]);
    gateway.commit(|changes| {
        let nets = ("10.1.0.0/16", "192.0.2.0/24");
        changes.put_policy(&plain_policy(0, PolicyDirection::Out, 0, nets, Action::Pass));
    });
    gateway.host_sends(LAN, &Packet::udp("10.1.0.9", "10.2.0.9", 1, 2, b"protected"));
    gateway.poll();
    // Out of 10.1/16 anything matches the 0/0 policy for forwarded clear packets, too.
    gateway.only_drops(DropReason::Unprotected, 1);
}

#[test]
fn clear_packets_are_forwarded_where_the_configuration_says_so() {
    let plan = || {
        Plan::new(Side::A).with(|topology| {
            topology.neighbors.push(neighbor(WAN, "192.0.2.77", crate::plan::HOST));
        })
    };
    let packet = Packet::udp("10.1.0.9", "192.0.2.77", 1, 2, b"clear");
    let mut open = plan().with(|topology| topology.unprotected = Unprotected::Forward).start(&[]);
    open.host_sends(LAN, &packet);
    open.poll();
    assert_eq!(open.to_hosts(WAN), [packet.clone().after_hops(1)]);
    let mut closed = plan().start(&[]);
    closed.host_sends(LAN, &packet);
    closed.poll();
    closed.only_drops(DropReason::UnprotectedForwarding, 1);
}
