//! ARP and neighbor discovery: the kernel's business with netdevs, the engine's own without.

use std::net::{IpAddr, Ipv4Addr};

use dataplane::path::host::{HostDevice, PuntClass};
use dataplane::path::shared::Notice;
use dataplane::ports::PortId;
use esp::DropReason;

use crate::gateway::{Gateway, LAN, MS, WAN};
use crate::plan::{HOST, Plan, mac};
use crate::records::{OUTER6, Side, Tunnel};
use crate::wire::{ARP, Mac, Packet, arp, frame, kind_of, nd};

const PEER: Mac = [2, 0, 0, 0, 0xee, 1];
const OTHER: Mac = [2, 0, 0, 0, 0xee, 2];
const OURS4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// A gateway that knows no neighbor on its WAN.
fn alone(netdevs: bool, tunnels: &[&Tunnel]) -> Gateway {
    Plan::new(Side::A)
        .with(|topology| {
            topology.netdevs = netdevs;
            topology.neighbors.retain(|neighbor| neighbor.port != PortId(WAN));
        })
        .start(tunnels)
}

fn ours() -> Mac {
    mac(Side::A, WAN)
}

fn request() -> Vec<u8> {
    frame([0xff; 6], PEER, ARP, &arp(1, (PEER, PEER4), ([0; 6], OURS4)))
}

fn reply(station: Mac) -> Vec<u8> {
    frame(ours(), station, ARP, &arp(2, (station, PEER4), (ours(), OURS4)))
}

fn into_the_tunnel(gateway: &Gateway, text: &[u8]) {
    gateway.host_sends(LAN, &Packet::udp("10.1.0.9", "10.2.0.9", 1, 2, text));
}

/// Packets that were sealed for the peer, and to which station.
fn sealed(tunnel: &Tunnel, gateway: &Gateway) -> Vec<(Mac, Packet)> {
    let frames = gateway.sent(WAN);
    let ip = frames.iter().filter(|frame| kind_of(frame) != ARP && frame[20] != 58);
    ip.map(|frame| {
        let opened = tunnel.peer(Side::A).open(0, &Packet::of_frame(frame)).1;
        (frame[..6].try_into().unwrap(), opened)
    })
    .collect()
}

#[test]
fn with_netdevs_arp_and_nd_are_punted_and_nobody_else_answers() {
    let mut gateway = alone(true, &[]);
    let solicitation = nd(135, "2001:db8:f::2", "2001:db8:f::1", "2001:db8:f::1", PEER).frame(ours(), PEER);
    for question in [request(), solicitation] {
        gateway.send(WAN, question.clone());
        gateway.poll();
        let tap = HostDevice::Port(PortId(WAN));
        assert_eq!(gateway.punted(), [(tap, PuntClass::Neighbor, question)]);
        assert_eq!(gateway.sent(WAN).len(), 0);
    }
    gateway.no_drops();
}

#[test]
fn with_netdevs_the_engine_learns_from_what_it_passes_on() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = alone(true, &[&tunnel]);
    into_the_tunnel(&gateway, b"held");
    gateway.poll();
    assert_eq!(gateway.sent(WAN).len(), 0);
    let notices: Vec<_> = std::iter::from_fn(|| gateway.workers[0].shared.notices.pop()).collect();
    let missing = Notice::Missing { destination: IpAddr::V4(PEER4), port: PortId(WAN) };
    assert_eq!(notices, std::slice::from_ref(&missing));
    let ask = gateway.adopter.notice(missing, gateway.now_ns).unwrap();
    assert_eq!((ask.port, ask.ip), (PortId(WAN), IpAddr::V4(PEER4)));
    gateway.send(WAN, reply(PEER));
    gateway.pass(2 * MS);
    gateway.pass(2 * MS);
    let [(to, packet)] = &sealed(&tunnel, &gateway)[..] else { panic!("{:?}", gateway.drops()) };
    assert_eq!((*to, packet.text()), (PEER, &b"held"[..]));
    assert_eq!(gateway.punted().len(), 1);
    gateway.no_drops();
}

#[test]
fn without_netdevs_the_engine_answers_for_its_own_addresses_alone() {
    let mut gateway = alone(false, &[]);
    gateway.send(WAN, request());
    gateway.poll();
    let answer = frame(PEER, ours(), ARP, &arp(2, (ours(), OURS4), (PEER, PEER4)));
    assert_eq!(gateway.sent(WAN), [answer]);
    let elsewhere = Ipv4Addr::new(10, 1, 0, 1);
    for target in [elsewhere, Ipv4Addr::new(192, 0, 2, 3)] {
        gateway.send(WAN, frame([0xff; 6], PEER, ARP, &arp(1, (PEER, PEER4), ([0; 6], target))));
    }
    gateway.poll();
    assert_eq!(gateway.sent(WAN).len(), 0);
    let solicitation = nd(135, "2001:db8:f::2", "ff02::1:ff00:1", "2001:db8:f::1", PEER);
    gateway.send(WAN, solicitation.frame([0x33, 0x33, 0xff, 0, 0, 1], PEER));
    gateway.poll();
    let answer = nd(136, "2001:db8:f::1", "2001:db8:f::2", "2001:db8:f::1", ours());
    assert_eq!(gateway.sent(WAN), [answer.frame(PEER, ours())]);
    gateway.only_drops(DropReason::NeighborMessage, 4);
}

#[test]
fn without_netdevs_the_engine_asks_for_ipv4_and_sends_what_it_held() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = alone(false, &[&tunnel]);
    into_the_tunnel(&gateway, b"held");
    gateway.poll();
    let question = frame([0xff; 6], ours(), ARP, &arp(1, (ours(), OURS4), ([0; 6], PEER4)));
    assert_eq!(gateway.sent(WAN), [question]);
    gateway.send(WAN, reply(PEER));
    gateway.pass(2 * MS);
    gateway.pass(2 * MS);
    assert_eq!(sealed(&tunnel, &gateway).len(), 1);
}

#[test]
fn without_netdevs_the_engine_asks_for_ipv6_and_sends_what_it_held() {
    let tunnel = Tunnel { outer: OUTER6, ..Tunnel::new(1, 1) };
    let mut gateway = alone(false, &[&tunnel]);
    into_the_tunnel(&gateway, b"held");
    gateway.poll();
    let question = nd(135, "2001:db8:f::1", "ff02::1:ff00:2", "2001:db8:f::2", ours());
    assert_eq!(gateway.sent(WAN), [question.frame([0x33, 0x33, 0xff, 0, 0, 2], ours())]);
    let answer = nd(136, "2001:db8:f::2", "2001:db8:f::1", "2001:db8:f::2", PEER);
    gateway.send(WAN, answer.frame(ours(), PEER));
    gateway.pass(2 * MS);
    gateway.pass(2 * MS);
    assert_eq!(sealed(&tunnel, &gateway).len(), 1);
}

#[test]
fn the_newest_packet_is_held_and_given_up_after_a_second() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = alone(false, &[&tunnel]);
    into_the_tunnel(&gateway, b"older");
    into_the_tunnel(&gateway, b"newer");
    gateway.poll();
    gateway.pass(900 * MS);
    assert_eq!(gateway.dropped(DropReason::NeighborQueueFull), 1);
    assert_eq!(gateway.dropped(DropReason::NeighborUnresolved), 0);
    gateway.pass(200 * MS);
    assert_eq!(gateway.dropped(DropReason::NeighborUnresolved), 1);
    gateway.sent(WAN);
    into_the_tunnel(&gateway, b"asks again");
    gateway.poll();
    assert_eq!(kind_of(&gateway.sent(WAN)[0]), ARP);
}

#[test]
fn a_neighbor_that_moved_is_followed_and_a_forgotten_one_is_asked_for() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = alone(false, &[&tunnel]);
    for station in [PEER, OTHER] {
        gateway.send(WAN, reply(station));
        gateway.poll();
        gateway.settle();
        gateway.settle();
        into_the_tunnel(&gateway, b"x");
        gateway.poll();
        assert_eq!(sealed(&tunnel, &gateway)[0].0, station);
    }
    gateway.adopter.forget(PortId(WAN), IpAddr::V4(PEER4));
    gateway.settle();
    into_the_tunnel(&gateway, b"x");
    gateway.poll();
    assert_eq!(kind_of(&gateway.sent(WAN)[0]), ARP);
}

#[test]
fn a_neighbor_of_the_configuration_is_moved_by_nobody_on_the_link() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).with(|topology| topology.netdevs = false).start(&[&tunnel]);
    gateway.send(WAN, reply(OTHER));
    gateway.poll();
    gateway.settle();
    gateway.adopter.forget(PortId(WAN), IpAddr::V4(PEER4));
    gateway.settle();
    into_the_tunnel(&gateway, b"x");
    gateway.poll();
    assert_eq!(sealed(&tunnel, &gateway)[0].0, mac(Side::B, WAN));
}

#[test]
fn a_neighbor_that_the_configuration_drops_is_asked_for() {
    let tunnel = Tunnel::new(1, 1);
    let plan = Plan::new(Side::A).with(|topology| topology.netdevs = false);
    let mut changed = plan.topology.clone();
    changed.neighbors.retain(|neighbor| neighbor.port != PortId(WAN));
    let mut gateway = plan.start(&[&tunnel]);
    gateway.adopter.set_topology(changed);
    gateway.settle();
    into_the_tunnel(&gateway, b"x");
    gateway.poll();
    assert_eq!(kind_of(&gateway.sent(WAN)[0]), ARP);
}

#[test]
fn forged_messages_from_beyond_the_link_teach_nothing() {
    let tunnel = Tunnel { outer: OUTER6, ..Tunnel::new(1, 1) };
    let mut gateway = alone(false, &[&tunnel]);
    let mut advertisement = nd(136, "2001:db8:f::2", "2001:db8:f::1", "2001:db8:f::2", OTHER);
    advertisement.ttl = 254;
    gateway.send(WAN, advertisement.frame(ours(), HOST));
    gateway.poll();
    gateway.settle();
    into_the_tunnel(&gateway, b"x");
    gateway.poll();
    assert_eq!(sealed(&tunnel, &gateway), []);
}

#[test]
fn who_cannot_be_on_the_link_is_not_learnt() {
    let mut gateway = alone(false, &[]);
    for claimed in [[8, 8, 8, 8], [10, 1, 0, 77], [0, 0, 0, 0]] {
        gateway.send(WAN, frame([0xff; 6], OTHER, ARP, &arp(1, (OTHER, claimed.into()), ([0; 6], OURS4))));
    }
    gateway.poll();
    assert!(gateway.workers[0].shared.notices.is_empty());
    gateway.send(WAN, request());
    gateway.poll();
    let notice = gateway.workers[0].shared.notices.pop();
    assert_eq!(notice, Some(Notice::Learnt { port: PortId(WAN), ip: IpAddr::V4(PEER4), mac: PEER }));
}

#[test]
fn neighbors_are_bounded_and_those_known_are_still_followed() {
    let mut gateway = alone(false, &[]);
    let claimed = |at: u32| IpAddr::from(Ipv4Addr::from_bits(0x0a40_0000 + at));
    for at in 0..20_000 {
        gateway.adopter.learn(PortId(WAN), claimed(at), OTHER);
    }
    gateway.adopter.learn(PortId(WAN), claimed(0), PEER);
    gateway.settle();
    let tables = gateway.adopter.snapshot();
    assert_eq!(tables.neighbors.get(&(PortId(WAN), claimed(0))), Some(&PEER));
    assert!(tables.neighbors.len() < 20_000);
}

#[test]
fn a_gateway_beyond_the_prefix_of_the_link_is_learnt_where_a_route_names_it() {
    let mut gateway = Plan::new(Side::A)
        .with(|topology| {
            topology.netdevs = false;
            topology.neighbors.clear();
            let wan = dataplane::tables::topology::Device::Port(PortId(WAN));
            topology.routes.push(crate::plan::route("0.0.0.0/0", wan, Some("198.51.100.1")));
        })
        .start(&[]);
    let far: Ipv4Addr = [198, 51, 100, 1].into();
    gateway.send(WAN, frame(ours(), PEER, ARP, &arp(2, (PEER, far), (ours(), OURS4))));
    gateway.poll();
    gateway.settle();
    assert_eq!(gateway.adopter.snapshot().neighbors.get(&(PortId(WAN), far.into())), Some(&PEER));
}
