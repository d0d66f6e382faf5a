//! The kernel's side: what is punted, by which device and class, and what the host's own packets meet.

use dataplane::path::host::{HostDevice, PuntClass};
use dataplane::ports::{InterfaceId, PortId};
use esp::DropReason;
use shm_protocol::policy::{Action, PolicyDirection};

use crate::gateway::{Gateway, LAN, WAN};
use crate::plan::{Plan, mac};
use crate::records::{ANY4, ANY6, Side, Tunnel, plain_policy};
use crate::wire::{ESP, MF, Packet, esp_head, frame};

const WAN_TAP: HostDevice = HostDevice::Port(PortId(WAN));
const FIRST_TUN: HostDevice = HostDevice::Interface(InterfaceId(0));

/// A policy-based tunnel for everything, which nothing but IKE, ARP and ND may pass by.
fn all() -> Tunnel {
    Tunnel { nets: vec![ANY4, ANY6], ..Tunnel::new(1, 0) }
}

fn guarded() -> Gateway {
    Plan::new(Side::A).policy_based().start(&[&all()])
}

fn ike(sport: u16, dport: u16, text: &[u8]) -> Packet {
    Packet::udp("192.0.2.1", "192.0.2.2", sport, dport, text)
}

/// Nothing that left is in clear but what bypasses; returns the rest.
fn left(gateway: &mut Gateway) -> Vec<Packet> {
    gateway.poll();
    gateway.to_peer()
}

#[test]
fn ike_is_punted_on_both_ports_without_policy_and_goes_out_without_policy() {
    let mut gateway = guarded();
    let marked = [&[0; 4][..], b"an IKE message"].concat();
    for packet in [
        Packet::udp("192.0.2.2", "192.0.2.1", 500, 500, b"an IKE message"),
        Packet::udp("192.0.2.2", "192.0.2.1", 4500, 4500, &marked),
        Packet::udp("192.0.2.2", "192.0.2.1", 61_000, 4500, &marked),
        Packet::udp("2001:db8:f::2", "2001:db8:f::1", 500, 500, b"an IKE message"),
    ] {
        gateway.peer_sends(&packet);
        gateway.poll();
        let whole = packet.frame(mac(Side::A, WAN), mac(Side::B, WAN));
        assert_eq!(gateway.punted(), [(WAN_TAP, PuntClass::Ike, whole)]);
    }
    for packet in [ike(500, 500, b"an answer"), ike(4500, 4500, &marked), ike(4500, 61_000, &marked)] {
        gateway.kernel_sends_by_wan(&packet, mac(Side::B, WAN));
        assert_eq!(left(&mut gateway), [packet]);
    }
    gateway.no_drops();
}

#[test]
fn pieces_of_ike_are_punted_and_the_hosts_pieces_follow_their_first() {
    let mut gateway = guarded();
    let whole = ike(500, 500, &[7; 1600]);
    let (first, second) = whole.payload.split_at(1480);
    let first = Packet { flags: MF, payload: first.to_vec(), ..whole.clone() };
    let second = Packet { flags: 185, payload: second.to_vec(), ..whole.clone() };
    for piece in [&first, &second] {
        gateway.kernel_sends_by_wan(piece, mac(Side::B, WAN));
        assert_eq!(left(&mut gateway), std::slice::from_ref(piece));
        let inbound = Packet { src: piece.dst, dst: piece.src, ..piece.clone() };
        gateway.peer_sends(&inbound);
        gateway.poll();
        assert_eq!(gateway.punted()[0].1, PuntClass::Ike);
    }
    gateway.no_drops();
}

#[test]
fn pieces_of_ike_over_ipv6_follow_their_first_too() {
    let mut gateway = guarded();
    let piece = |ident: u8, at: u8, rest: &[u8]| {
        let payload = [&[17, 0, at, u8::from(at == 0), 0, 0, 0, ident], rest].concat();
        Packet::new("2001:db8:f::1", "2001:db8:f::2", 44, payload)
    };
    let ike = [&[1, 244, 1, 244, 5, 0, 0, 0], &[1; 40][..]].concat();
    for piece in [piece(1, 0, &ike), piece(1, 48, &[2; 40])] {
        gateway.kernel_sends_by_wan(&piece, mac(Side::B, WAN));
        assert_eq!(left(&mut gateway), [piece]);
    }
    let other = piece(2, 48, &[2; 40]);
    gateway.kernel_sends_by_wan(&other, mac(Side::B, WAN));
    assert_eq!(all().peer(Side::A).open(0, &left(&mut gateway)[0]).1, other);
}

#[test]
fn a_later_piece_of_anything_else_does_not_leave_in_clear() {
    let mut gateway = guarded();
    let piece = Packet { flags: 185, ident: 77, ..ike(500, 500, b"no first piece came before") };
    for piece in [piece.clone(), Packet { proto: 6, ..piece }] {
        gateway.kernel_sends_by_wan(&piece, mac(Side::B, WAN));
        let sent = left(&mut gateway);
        assert_eq!(sent.len(), 1);
        assert_eq!(all().peer(Side::A).open(0, &sent[0]).1, piece);
    }
}

#[test]
fn a_nat_keepalive_ends_here() {
    let mut gateway = guarded();
    gateway.peer_sends(&Packet::udp("192.0.2.2", "192.0.2.1", 4500, 4500, &[0xff]));
    gateway.poll();
    assert_eq!(gateway.punted(), []);
    gateway.only_drops(DropReason::Keepalive, 1);
}

#[test]
fn what_the_host_sends_by_a_tun_is_sealed_and_what_comes_for_it_is_punted_there() {
    let tunnel = Tunnel { nets: vec![ANY4, ANY6], ..Tunnel::new(1, 1) };
    let mut gateway = Plan::new(Side::A)
        .with(|topology| topology.interfaces[0].addresses = vec![crate::plan::prefix("10.255.0.1/30")])
        .start(&[&tunnel]);
    for (number, packet) in [
        (1, Packet::udp("10.255.0.1", "10.255.0.2", 1, 2, b"from the kernel")),
        (2, Packet::udp("2001:db8:1::1", "2001:db8:2::2", 1, 2, b"by a route of its own")),
    ] {
        gateway.kernel_sends(FIRST_TUN, &packet.emit());
        gateway.poll();
        let sent = gateway.to_peer();
        // The kernel has counted its own hop.
        assert_eq!(tunnel.peer(Side::A).open(0, &sent[0]), (number, packet));
    }
    let answer = Packet::udp("10.255.0.2", "10.255.0.1", 2, 1, b"for the kernel");
    gateway.peer_sends(&tunnel.peer(Side::B).seal(1, &answer));
    gateway.poll();
    assert_eq!(gateway.punted(), [(FIRST_TUN, PuntClass::Local, answer.emit())]);
    gateway.no_drops();
}

#[test]
fn what_the_host_sends_by_a_tap_meets_the_policies_of_if_id_0() {
    let tunnel = Tunnel::new(1, 0);
    let mut gateway = Plan::new(Side::A).policy_based().start(&[&tunnel]);
    let protected = Packet::udp("10.1.0.1", "10.2.0.9", 1, 2, b"for the other side");
    gateway.kernel_sends_by_wan(&protected, mac(Side::B, WAN));
    let sent = left(&mut gateway);
    assert_eq!(tunnel.peer(Side::A).open(0, &sent[0]).1, protected);
    let clear = Packet::udp("192.0.2.1", "192.0.2.2", 1, 2, b"nothing is said about this");
    gateway.kernel_sends_by_wan(&clear, mac(Side::B, WAN));
    assert_eq!(left(&mut gateway), [clear]);
    gateway.no_drops();
    gateway.commit(|changes| {
        let policy =
            plain_policy(0, PolicyDirection::Out, 0, ("192.0.2.1/32", "192.0.2.2/32"), Action::Discard);
        changes.put_policy(&policy);
    });
    gateway.kernel_sends_by_wan(&Packet::udp("192.0.2.1", "192.0.2.2", 1, 2, b"no more"), mac(Side::B, WAN));
    assert_eq!(left(&mut gateway), []);
    gateway.only_drops(DropReason::OutboundBlocked, 1);
}

#[test]
fn esp_the_host_made_is_dropped_whichever_way() {
    let mut gateway = guarded();
    gateway.kernel_sends_by_wan(&Packet::new("192.0.2.1", "192.0.2.2", ESP, vec![9; 64]), mac(Side::B, WAN));
    gateway.kernel_sends_by_wan(&ike(4500, 4500, &[9; 64]), mac(Side::B, WAN));
    gateway.kernel_sends_by_wan(&ike(4500, 40_000, &[9; 64]), mac(Side::B, WAN));
    assert_eq!(left(&mut gateway), []);
    gateway.only_drops(DropReason::HostEsp, 3);
}

#[test]
fn arp_and_neighbor_discovery_of_the_host_go_out_as_they_are() {
    let mut gateway = guarded();
    let ours = mac(Side::A, WAN);
    let solicitation = crate::wire::nd(135, "2001:db8:f::1", "ff02::1:ff00:2", "2001:db8:f::2", ours);
    let request = crate::wire::arp(1, (ours, [192, 0, 2, 1].into()), ([0; 6], [192, 0, 2, 2].into()));
    let frames =
        [solicitation.frame([0x33, 0x33, 0xff, 0, 0, 2], ours), frame([0xff; 6], ours, 0x0806, &request)];
    for octets in &frames {
        gateway.kernel_sends(WAN_TAP, octets);
    }
    gateway.poll();
    assert_eq!(gateway.sent(WAN), frames);
    gateway.no_drops();
}

#[test]
fn multicast_of_the_host_does_not_leave_in_clear_where_a_policy_asks_for_protection() {
    let mut gateway = guarded();
    for packet in [
        Packet::udp("192.0.2.1", "239.1.2.3", 1, 2, b"a film"),
        Packet::udp("192.0.2.1", "224.0.0.251", 5353, 5353, b"names"),
        Packet::udp("2001:db8:f::1", "ff0e::1234", 1, 2, b"another film"),
    ] {
        gateway.kernel_sends_by_wan(&packet, [1, 0, 0x5e, 1, 2, 3]);
        let sent = left(&mut gateway);
        assert_eq!(sent.len(), 1, "sealed, to the peer's station: {:?}", gateway.drops());
        assert_eq!(all().peer(Side::A).open(0, &sent[0]).1, packet);
    }
    let mut unguarded = Plan::new(Side::A).start(&[&Tunnel::new(1, 1)]);
    let hello = Packet::new("192.0.2.1", "224.0.0.5", 89, vec![2; 44]);
    unguarded.kernel_sends_by_wan(&hello, [1, 0, 0x5e, 0, 0, 5]);
    unguarded.poll();
    assert_eq!(unguarded.sent(WAN), [hello.frame([1, 0, 0x5e, 0, 0, 5], mac(Side::A, WAN))]);
}

#[test]
fn control_multicast_is_punted_unless_a_policy_asks_for_its_protection() {
    let hello = Packet::new("192.0.2.2", "224.0.0.5", 89, vec![2; 44]);
    let arriving = hello.frame([1, 0, 0x5e, 0, 0, 5], mac(Side::B, WAN));
    let mut open = Plan::new(Side::A).start(&[&Tunnel::new(1, 1)]);
    open.send(WAN, arriving.clone());
    open.poll();
    assert_eq!(open.punted(), [(WAN_TAP, PuntClass::Control, arriving.clone())]);
    let mut guarded = guarded();
    guarded.send(WAN, arriving);
    guarded.poll();
    assert_eq!(guarded.punted(), []);
    guarded.only_drops(DropReason::Unprotected, 1);
}

#[test]
fn clear_packets_for_the_gateway_are_punted_after_policy() {
    let ping = Packet::icmp("192.0.2.2", "192.0.2.1", 8, 0, &[1; 40]);
    let mut open = Plan::new(Side::A).start(&[&Tunnel::new(1, 1)]);
    open.peer_sends(&ping);
    open.poll();
    let punted = open.punted();
    assert_eq!((punted[0].0, punted[0].1), (WAN_TAP, PuntClass::Local));
    assert_eq!(Packet::of_frame(&punted[0].2), ping, "its TTL is the sender's");
    assert_eq!(punted[0].2[..6], mac(Side::A, WAN));
    let mut guarded = guarded();
    guarded.peer_sends(&ping);
    guarded.poll();
    assert_eq!(guarded.punted(), []);
    guarded.only_drops(DropReason::Unprotected, 1);
}

#[test]
fn what_comes_by_a_policy_based_tunnel_for_the_gateway_appears_on_the_port_of_the_address() {
    let tunnel = Tunnel::new(1, 0);
    let mut gateway = Plan::new(Side::A).policy_based().start(&[&tunnel]);
    let inner = Packet::udp("10.2.0.9", "10.1.0.1", 1, 2, b"for the LAN address");
    gateway.peer_sends(&tunnel.peer(Side::B).seal(1, &inner));
    gateway.poll();
    let punted = gateway.punted();
    assert_eq!((punted[0].0, punted[0].1), (HostDevice::Port(PortId(LAN)), PuntClass::Local));
    assert_eq!(Packet::of_frame(&punted[0].2), inner);
}

#[test]
fn classes_of_punted_packets_are_limited_apart() {
    let mut gateway = Plan::new(Side::A).start(&[]);
    let pest = Packet::udp("192.0.2.2", "192.0.2.1", 500, 500, b"nothing good");
    for _ in 0..6_000 {
        gateway.peer_sends(&pest);
        gateway.poll();
        gateway.punted();
    }
    assert!(gateway.dropped(DropReason::PuntRateLimit) > 0);
    gateway.peer_sends(&Packet::icmp("192.0.2.2", "192.0.2.1", 8, 0, &[1; 40]));
    gateway.poll();
    assert_eq!(gateway.punted()[0].1, PuntClass::Local);
}

#[test]
fn trailing_octets_of_a_tun_packet_are_not_sealed() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    let packet = Packet::udp("10.1.0.1", "10.2.0.9", 1, 2, b"whole");
    gateway.kernel_sends(FIRST_TUN, &[packet.emit(), vec![0; 20]].concat());
    gateway.poll();
    let sent = gateway.to_peer();
    assert_eq!(tunnel.peer(Side::A).open(0, &sent[0]).1, packet);
    let short = Tunnel::new(1, 1).peer(Side::A).seal(1, &packet).emit().len();
    assert_eq!(sent[0].emit().len(), short);
    assert_eq!(esp_head(&sent[0].frame([0; 6], [0; 6])).1, 1);
}

#[test]
fn routing_protocols_speak_to_each_other_through_an_interface() {
    let tunnel = Tunnel { nets: vec![ANY4, ANY6], ..Tunnel::new(1, 1) };
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    for (number, hello) in [
        (1, Packet { ttl: 1, ..Packet::new("10.255.0.2", "224.0.0.5", 89, vec![2; 44]) }),
        (2, Packet { ttl: 1, ..Packet::new("fe80::2", "ff02::5", 89, vec![3; 36]) }),
    ] {
        gateway.peer_sends(&tunnel.peer(Side::B).seal(number, &hello));
        gateway.poll();
        assert_eq!(gateway.punted(), [(FIRST_TUN, PuntClass::Control, hello.emit())]);
        gateway.kernel_sends(FIRST_TUN, &hello.emit());
        gateway.poll();
        assert_eq!(tunnel.peer(Side::A).open(0, &gateway.to_peer()[0]), (number, hello));
    }
    gateway.no_drops();
    // Any other group would have to be routed, which is not done.
    let film = Packet::udp("10.2.0.9", "239.1.2.3", 1, 2, b"a film");
    gateway.peer_sends(&tunnel.peer(Side::B).seal(3, &film));
    gateway.poll();
    gateway.only_drops(DropReason::Multicast, 1);
}
