//! Each guard of the packet path, provoked by one packet: two gateways in memory, one sealing, one opening.
//! `tests/mutants.toml` takes the guards away one by one; each test here then fails.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;

use esp::DropReason;
use gateway::{Gateway, LAN, MAC, Peer, WAN, clear, policy, sa};
use shm_protocol::policy::PolicyDirection::{Fwd, Out};
use shm_protocol::sa::Direction;

mod gateway;

/// A gateway that seals what goes to 10.2.0.0/24.
fn sender() -> Gateway {
    Gateway::new(Peer::A, |records| {
        records.put_sa(&sa(Direction::Out, 1)).put_policy(&policy(0, Out, 1));
    })
}

/// A gateway that opens what `sender` seals and sends it out of its LAN.
fn receiver() -> Gateway {
    Gateway::new(Peer::B, |records| {
        records.put_sa(&sa(Direction::In, 1)).put_policy(&policy(0, Fwd, 1));
    })
}

/// ESP frames of `count` packets, each sealed in a burst of its own.
fn sealed(sender: &mut Gateway, count: u8) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for _ in 0..count {
        sender.offer(LAN, &[clear([10, 1, 0, 9], [10, 2, 0, 9])]);
        frames.extend(sender.sent(WAN));
    }
    assert_eq!(frames.len(), usize::from(count));
    frames
}

#[test]
fn a_forged_packet_is_not_delivered_and_leaves_its_number_to_the_genuine_one() {
    let (mut sender, mut receiver) = (sender(), receiver());
    let genuine = sealed(&mut sender, 1).remove(0);
    let mut forged = genuine.clone();
    *forged.last_mut().unwrap() ^= 1;
    receiver.offer(WAN, &[forged]);
    assert_eq!((receiver.sent(LAN).len(), receiver.dropped(DropReason::Integrity)), (0, 1));
    receiver.offer(WAN, &[genuine]);
    assert_eq!(receiver.sent(LAN).len(), 1);
    receiver.adds_up();
}

#[test]
fn two_copies_in_one_burst_are_delivered_once() {
    let (mut sender, mut receiver) = (sender(), receiver());
    let genuine = sealed(&mut sender, 1).remove(0);
    receiver.offer(WAN, &[genuine.clone(), genuine]);
    assert_eq!((receiver.sent(LAN).len(), receiver.dropped(DropReason::Replay)), (1, 1));
    receiver.adds_up();
}

#[test]
fn what_another_if_id_expects_is_not_delivered() {
    let mut sender = sender();
    let mut receiver = Gateway::new(Peer::B, |records| {
        records.put_sa(&sa(Direction::In, 2)).put_policy(&policy(0, Fwd, 1));
    });
    receiver.offer(WAN, &sealed(&mut sender, 1));
    assert_eq!((receiver.sent(LAN).len(), receiver.dropped(DropReason::IfIdMismatch)), (0, 1));
    receiver.adds_up();
}

#[test]
fn what_no_policy_expects_by_the_tunnel_is_not_delivered() {
    let mut sender = sender();
    let mut receiver = Gateway::new(Peer::B, |records| {
        records.put_sa(&sa(Direction::In, 1));
    });
    receiver.offer(WAN, &sealed(&mut sender, 1));
    assert_eq!((receiver.sent(LAN).len(), receiver.dropped(DropReason::InboundNoPolicy)), (0, 1));
    receiver.adds_up();
}

#[test]
fn an_inner_address_outside_the_selectors_of_its_sa_is_not_delivered() {
    let mut sender = sender();
    let mut receiver = Gateway::new(Peer::B, |records| {
        let mut narrow = sa(Direction::In, 1);
        let inner = gateway::selector("10.1.0.128", "10.1.0.255", "10.2.0.0", "10.2.0.255");
        narrow.selectors = [inner].into_iter().collect();
        records.put_sa(&narrow).put_policy(&policy(0, Fwd, 1));
    });
    receiver.offer(WAN, &sealed(&mut sender, 1));
    assert_eq!((receiver.sent(LAN).len(), receiver.dropped(DropReason::InboundSelector)), (0, 1));
    receiver.adds_up();
}

#[test]
fn a_clear_packet_that_a_policy_wants_protected_is_not_forwarded() {
    let mut receiver = Gateway::new(Peer::B, |records| {
        records.put_policy(&policy(0, Fwd, 0));
    });
    receiver.offer(WAN, &[clear([10, 1, 0, 9], [10, 2, 0, 9])]);
    assert_eq!((receiver.sent(LAN).len(), receiver.dropped(DropReason::Unprotected)), (0, 1));
    receiver.adds_up();
}

#[test]
fn what_is_routed_into_a_tunnel_without_a_policy_leaves_by_no_port() {
    let mut sender = Gateway::new(Peer::A, |records| {
        records.put_sa(&sa(Direction::Out, 1));
    });
    sender.offer(LAN, &[clear([10, 1, 0, 9], [10, 2, 0, 9])]);
    assert_eq!((sender.sent(WAN).len(), sender.sent(LAN).len()), (0, 0));
    assert_eq!(sender.dropped(DropReason::OutboundNoPolicy), 1);
    sender.adds_up();
}

#[test]
fn no_iv_is_used_twice_in_one_burst_or_in_the_next_or_by_the_next_engine() {
    let mut first = sender();
    let mut frames = sealed(&mut first, 2);
    first.offer(LAN, &vec![clear([10, 1, 0, 9], [10, 2, 0, 9]); 5]);
    frames.extend(first.sent(WAN));
    let mut second = first.restarted();
    frames.extend(sealed(&mut second, 2));
    let ivs: HashSet<_> = frames.iter().map(|frame| frame[14 + 20 + 8..14 + 20 + 16].to_vec()).collect();
    assert_eq!((frames.len(), ivs.len()), (9, 9));
    assert_eq!(frames[0][..6], MAC);
}

#[test]
fn nothing_is_sealed_when_the_counters_are_not_those_the_sas_run_on() {
    let mut sender = sender();
    assert_eq!(sealed(&mut sender, 1).len(), 1);
    let mut sender = sender.without_its_counters();
    sender.offer(LAN, &[clear([10, 1, 0, 9], [10, 2, 0, 9])]);
    assert_eq!((sender.sent(WAN).len(), sender.dropped(DropReason::OutboundNoPolicy)), (0, 1));
}
