//! The host and its neighbors: TUNs, IKE, ARP.

use dataplane::path::host::{HostDevice, PuntClass};
use dataplane::path::shared::Notice;
use dataplane::ports::{InterfaceId, PortId};
use dataplane::tables::topology::Topology;
use esp::DropReason;

use crate::node::octets::{MAC, OWN_MAC, Udp, tags};
use crate::node::records::THERE;
use crate::node::site::site;
use crate::node::{Node, WAN, ip};
use crate::{HOST_2, add_up, joined, numbered};
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
    let learnt = Notice::Learnt { port: PortId(1), ip: ip("192.0.2.77"), mac: MAC };
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
    let missing = Notice::Missing { destination: ip("192.0.2.2"), port: PortId(1) };
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
