//! From the segments to the workers: changes under traffic, slots used again, policies that go. Whatever happens, no number and
//! no packet is used twice.

use std::collections::HashSet;

use esp::DropReason;
use shm_protocol::ids::SaUid;
use shm_protocol::live::LiveReader;
use shm_protocol::policy::{Action, PolicyDirection};
use shm_protocol::sa::{Initial, Limit, Limits, Sa};

use crate::gateway::{Gateway, LAN, MS, WAN};
use crate::pair::Pair;
use crate::plan::Plan;
use crate::records::{ANY4, Side, Tunnel, plain_policy};
use crate::wire::{Packet, esp_head};

fn there(text: &[u8]) -> Packet {
    Packet::udp("10.1.0.9", "10.2.0.9", 1000, 2000, text)
}

fn back(text: &[u8]) -> Packet {
    Packet::udp("10.2.0.9", "10.1.0.9", 2000, 1000, text)
}

/// Sends `count` packets into the tunnel; returns the frames that left.
pub(crate) fn seal(gateway: &mut Gateway, count: usize) -> Vec<Vec<u8>> {
    (0..count).for_each(|_| gateway.host_sends(LAN, &there(b"x")));
    gateway.poll();
    gateway.sent(WAN)
}

/// Lets packets of the peer arrive; returns how many were delivered.
pub(crate) fn open(tunnel: &Tunnel, gateway: &mut Gateway, seqs: impl IntoIterator<Item = u64>) -> usize {
    for seq in seqs {
        gateway.peer_sends(&tunnel.peer(Side::B).seal(seq, &back(b"x")));
    }
    gateway.poll();
    gateway.to_hosts(LAN).len()
}

pub(crate) fn ivs(frames: &[Vec<u8>]) -> HashSet<(u32, [u8; 8])> {
    frames.iter().map(|frame| esp_head(frame)).map(|(spi, _, iv)| (spi, iv)).collect()
}

/// The same slot and key as before under another identity, as a bridge makes it that was told nothing of the first.
fn under(uid: u64, sa: Sa) -> Sa {
    Sa { uid: SaUid::new(uid).unwrap(), ..sa }
}

#[test]
fn a_rekey_make_before_break_loses_and_doubles_nothing_under_traffic() {
    let mut tunnels: Vec<_> = (1..6).map(|number| Tunnel { reqid: 1, ..Tunnel::new(number, 1) }).collect();
    for tunnel in &mut tunnels {
        tunnel.window = 1024;
    }
    let mut pair = Pair::new(&[&tunnels[0]]);
    let (mut sent, mut arrived, mut crossed) = (0_u32, Vec::new(), Vec::new());
    let mut traffic = |pair: &mut Pair| {
        for _ in 0..50 {
            pair.a.host_sends(LAN, &there(&sent.to_be_bytes()));
            sent += 1;
        }
        crossed.extend(pair.run());
        arrived.extend(pair.b.to_hosts(LAN).iter().map(|packet| packet.text().to_vec()));
    };
    for [old, new] in tunnels.array_windows() {
        traffic(&mut pair);
        // Inbound on the one side, then both on the other, then the first's outbound; then the old ones go.
        pair.b.commit(|changes| {
            changes.put_sa(&new.sa(Side::B, Side::A));
        });
        traffic(&mut pair);
        pair.a.commit(|changes| new.install_sas(Side::A, changes));
        traffic(&mut pair);
        pair.b.commit(|changes| {
            changes.put_sa(&new.sa(Side::B, Side::B));
        });
        traffic(&mut pair);
        pair.a.commit(|changes| old.remove_sas(changes));
        traffic(&mut pair);
        pair.b.commit(|changes| old.remove_sas(changes));
        traffic(&mut pair);
    }
    let expected: Vec<_> = (0..sent).map(|number| number.to_be_bytes().to_vec()).collect();
    assert_eq!(arrived, expected);
    assert_eq!(ivs(&crossed).len(), crossed.len());
    pair.a.no_drops();
    pair.b.no_drops();
}

#[test]
fn packets_in_flight_meet_a_deleted_sa_by_name() {
    let tunnel = Tunnel::new(1, 1);
    let mut pair = Pair::new(&[&tunnel]);
    pair.a.host_sends(LAN, &there(b"late"));
    pair.a.poll();
    let late = pair.a.to_peer();
    pair.b.commit(|changes| tunnel.remove_sas(changes));
    pair.b.peer_sends(&late[0]);
    pair.b.poll();
    pair.b.only_drops(DropReason::UnknownSpi, 1);
    pair.a.commit(|changes| tunnel.remove_sas(changes));
    assert_eq!(seal(&mut pair.a, 1).len(), 0);
    pair.a.only_drops(DropReason::NoSa, 1);
}

#[test]
fn a_slot_used_again_waits_for_workers_that_hold_the_old_sa_and_starts_clean() {
    let tunnel = Tunnel::new(1, 1);
    let (old_out, old_in) = (tunnel.sa(Side::A, Side::A), tunnel.sa(Side::A, Side::B));
    let (new_out, new_in) = (under(0x9001, old_out.clone()), under(0x9002, old_in.clone()));
    let mut gateway = Plan::new(Side::A).workers(2).start(&[&tunnel]);
    assert_eq!(seal(&mut gateway, 7).len(), 7);
    assert_eq!(open(&tunnel, &mut gateway, 1..5), 4);
    gateway.write(|changes| {
        changes.put_sa(&new_out).put_sa(&new_in);
    });
    // The control thread works, no worker does: the old records are theirs still.
    for _ in 0..10 {
        gateway.now_ns += MS;
        gateway.adopter.step(gateway.now_ns);
    }
    assert!(gateway.has_record(&old_out) && gateway.has_record(&old_in));
    // One of them moves on, the other still may count on the old record.
    let now_ns = gateway.now_ns;
    gateway.workers[0].path.poll(now_ns);
    gateway.adopter.step(now_ns + MS);
    assert!(gateway.has_record(&old_out));
    gateway.settle();
    gateway.settle();
    assert!(!gateway.has_record(&old_out) && !gateway.has_record(&old_in));
    let clean = [gateway.usage(&new_out), gateway.usage(&new_in)];
    assert!(clean.iter().all(|usage| (usage.packets, usage.octets, usage.oseq) == (0, 0, 0)));
    let reader = LiveReader::attach(&gateway.runtime()).unwrap();
    let totals = reader.all_retired_totals().unwrap();
    let [counted] = &totals[..] else { panic!("{totals:?}") };
    assert_eq!((counted.totals.out_packets, counted.totals.in_packets), (7, 4), "counters never fall");
    assert_eq!(open(&tunnel, &mut gateway, 1..3), 2, "another SA, another window");
}

#[test]
fn an_update_keeps_numbers_and_window_and_changes_the_rest() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    let mut frames = seal(&mut gateway, 5);
    assert_eq!(open(&tunnel, &mut gateway, 1..6), 5);
    // What update_sa after a NAT rebinding does: other ports, the same SA.
    let moved = Tunnel { encap: Some((4500, 41_000)), ..tunnel.clone() };
    gateway.commit(|changes| moved.install_sas(Side::A, changes));
    let after = seal(&mut gateway, 5);
    assert_eq!(Packet::of_frame(&after[0]).payload[..4], [0x11, 0x94, 0xa0, 0x28]);
    frames.extend(after);
    assert_eq!(ivs(&frames).len(), 10);
    assert_eq!(open(&moved, &mut gateway, 1..6), 0);
    assert_eq!(gateway.dropped(DropReason::Replay), 5);
    assert_eq!(open(&moved, &mut gateway, 6..8), 2);
    assert_eq!(gateway.usage(&tunnel.sa(Side::A, Side::A)).oseq, 10);
}

#[test]
fn more_changes_than_the_ring_remembers_are_found_by_a_full_scan() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    let last = Tunnel { encap: Some((4500, 41_000)), ..tunnel.clone() };
    for _ in 0..70_000 / 250 {
        gateway.write(|changes| {
            for slot in 0..250 {
                changes.put_policy(&plain_policy(slot, PolicyDirection::Out, 7, ANY4, Action::Pass));
            }
        });
    }
    gateway.write(|changes| last.install_sas(Side::A, changes));
    gateway.settle();
    let frames = seal(&mut gateway, 1);
    assert_eq!(Packet::of_frame(&frames[0]).payload[..4], [0x11, 0x94, 0xa0, 0x28]);
}

#[test]
fn a_change_of_one_sa_visits_one_record() {
    let tunnels: Vec<_> = (1..80).map(|number| Tunnel { reqid: 1, ..Tunnel::new(number, 1) }).collect();
    let mut gateway = Plan::new(Side::A).start(&[]);
    for tunnel in &tunnels {
        gateway.commit(|changes| tunnel.install_sas(Side::A, changes));
    }
    gateway.settle();
    gateway.write(|changes| {
        changes.put_sa(&Tunnel { window: 128, ..tunnels[40].clone() }.sa(Side::A, Side::B));
    });
    let adopted = gateway.adopter.step(gateway.now_ns);
    assert_eq!((adopted.records, adopted.published, adopted.more), (1, true, false));
    let idle = gateway.adopter.step(gateway.now_ns);
    assert_eq!((idle.records, idle.published, idle.more), (0, false, false));
}

#[test]
fn initial_numbers_count_only_for_an_sa_that_is_new() {
    let tunnel = Tunnel { initial: Initial { oseq: 100, iseq_top: 50 }, ..Tunnel::new(1, 1) };
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    assert_eq!(esp_head(&seal(&mut gateway, 1)[0]).1, 101);
    assert_eq!(open(&tunnel, &mut gateway, [50, 51]), 1, "everything up to the top counts as seen");
    gateway.commit(|changes| tunnel.install_sas(Side::A, changes));
    assert_eq!(esp_head(&seal(&mut gateway, 1)[0]).1, 102);
    let mut gateway = gateway.restarted();
    assert_eq!(esp_head(&seal(&mut gateway, 1)[0]).1, 103);
}

#[test]
fn a_larger_window_is_laid_out_by_the_next_engine_and_admits_nothing_twice() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    assert_eq!(open(&tunnel, &mut gateway, [1, 2, 5, 60]), 4);
    let wide = Tunnel { window: 4096, ..tunnel.clone() };
    gateway.commit(|changes| wide.install_sas(Side::A, changes));
    assert_eq!(open(&tunnel, &mut gateway, [1, 2, 5, 60]), 0, "in use it stays as it is");
    let mut gateway = gateway.restarted();
    assert_eq!(open(&tunnel, &mut gateway, [1, 2, 5, 60]), 0);
    // What shared the newest block of the old window counts as seen.
    assert_eq!(open(&tunnel, &mut gateway, [64, 100]), 2);
}

#[test]
fn a_policy_taken_away_takes_its_traffic_with_it() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    let policies = tunnel.policies(Side::A);
    gateway.commit(|changes| {
        for policy in &policies {
            changes.remove_policy(policy.slot);
        }
    });
    assert_eq!(seal(&mut gateway, 2).len(), 0);
    assert_eq!(open(&tunnel, &mut gateway, 1..3), 0);
    assert_eq!(gateway.dropped(DropReason::OutboundNoPolicy), 2);
    assert_eq!(gateway.dropped(DropReason::InboundNoPolicy), 2);
}

#[test]
fn the_bridge_is_told_a_generation_only_when_every_worker_uses_it() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).workers(2).start(&[]);
    let reader = LiveReader::attach(&gateway.runtime()).unwrap();
    gateway.write(|changes| tunnel.install(Side::A, changes));
    let generation = gateway.bridge().reader().generation();
    let now_ns = gateway.now_ns + MS;
    gateway.adopter.step(now_ns);
    gateway.workers[1].path.poll(now_ns);
    gateway.adopter.step(now_ns + 1);
    assert!(reader.adopted_generation() < generation);
    gateway.workers[0].path.poll(now_ns);
    gateway.adopter.step(now_ns + 2);
    assert_eq!(reader.adopted_generation(), generation);
}

#[test]
fn limits_of_an_update_hold_for_what_was_counted_before() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    assert_eq!(seal(&mut gateway, 5).len(), 5);
    let limits = Limits { packets: Limit::new(0, 7), ..Limits::default() };
    gateway.commit(|changes| Tunnel { limits, ..tunnel.clone() }.install_sas(Side::A, changes));
    assert_eq!(seal(&mut gateway, 5).len(), 2);
}
