//! What one worker receives and several open: the same packets in the same order as of one worker alone, each once,
//! whoever opened them and however long that took.

use std::collections::VecDeque;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};

use dataplane::path::counters::Stage;
use esp::DropReason;

use crate::gateway::{Gateway, LAN, MS, WAN};
use crate::plan::Plan;
use crate::records::{Side, Tunnel};
use crate::wire::Packet;

/// Packets of a full burst, and of a chunk.
const BURST: u64 = 64;
const CHUNK: u64 = 16;
/// Packets that a worker may have under way.
const UNDER_WAY: u64 = 4096;

fn tunnel(number: u32) -> Tunnel {
    Tunnel { reqid: 1, ..Tunnel::new(number, 1) }
}

fn plan(workers: usize) -> Plan {
    Plan { spray: true, ..Plan::new(Side::A).workers(workers) }
}

/// A packet of the peer whose text is `tag`.
fn sealed(tunnel: &Tunnel, seq: u64, tag: u64) -> Packet {
    let inner = Packet::udp("10.2.0.9", "10.1.0.9", 2000, 1000, &tag.to_be_bytes());
    tunnel.peer(Side::B).seal(seq, &inner)
}

fn send(gateway: &Gateway, tunnel: &Tunnel, seqs: impl IntoIterator<Item = u64>) {
    seqs.into_iter().for_each(|seq| gateway.peer_sends(&sealed(tunnel, seq, seq)));
}

/// The texts of what was delivered, in its order.
fn delivered(gateway: &Gateway) -> Vec<u64> {
    let packets = gateway.to_hosts(LAN);
    packets.iter().map(|packet| u64::from_be_bytes(packet.text().try_into().unwrap())).collect()
}

fn poll(gateway: &mut Gateway, worker: usize) {
    gateway.workers[worker].path.poll(gateway.now_ns);
}

/// Runs every worker in a thread of its own until the first, which receives everything, finds nothing more.
fn in_threads(gateway: &mut Gateway) {
    let (now_ns, done) = (gateway.now_ns, AtomicBool::new(false));
    let start = Barrier::new(gateway.workers.len());
    let (first, others) = gateway.workers.split_first_mut().unwrap();
    std::thread::scope(|scope| {
        for other in others {
            scope.spawn(|| {
                start.wait();
                while !done.load(Ordering::Relaxed) {
                    other.path.poll(now_ns);
                    std::thread::yield_now();
                }
            });
        }
        start.wait();
        while first.path.poll(now_ns) > 0 {
            std::thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
    gateway.poll();
}

fn packets(gateway: &Gateway, worker: usize, stage: Stage) -> u64 {
    gateway.workers[worker].shared.counters.stage(stage).packets.get()
}

/// How many packets others opened than the worker that received them.
fn opened_elsewhere(gateway: &Gateway) -> u64 {
    (1..gateway.workers.len()).map(|worker| packets(gateway, worker, Stage::Open)).sum()
}

#[test]
fn packets_of_one_sa_come_out_in_order_and_once_whoever_opened_them() {
    const PACKETS: u64 = 6_000;
    for workers in [2, 4] {
        let tunnel = tunnel(1);
        let mut gateway = plan(workers).start(&[&tunnel]);
        let mut arrived = Vec::new();
        for first in (1..=PACKETS).step_by(500) {
            send(&gateway, &tunnel, first..first + 500);
            in_threads(&mut gateway);
            arrived.extend(delivered(&gateway));
        }
        assert_eq!(arrived, (1..=PACKETS).collect::<Vec<_>>());
        gateway.no_drops();
        let elsewhere = opened_elsewhere(&gateway);
        assert!(elsewhere > 0, "{workers} workers: nobody helped");
        assert_eq!(elsewhere + packets(&gateway, 0, Stage::Open), PACKETS);
        let delivered_by = |worker| packets(&gateway, worker, Stage::Decap);
        assert_eq!((0..workers).map(delivered_by).collect::<Vec<_>>()[..2], [PACKETS, 0]);
    }
}

/// Packets of a peer and of somebody who copies, alters and delays them, without extended numbers.
fn mixed(tunnel: &Tunnel, count: u64) -> Vec<Packet> {
    let mut seq = 0;
    let mut next = |tag| {
        seq += 1;
        sealed(tunnel, seq, tag)
    };
    let mut all: Vec<Packet> = Vec::new();
    // Which of two faults a packet is dropped for depends on what is under way, so none has two.
    let mut genuine: Vec<Packet> = Vec::new();
    let mut withheld = VecDeque::new();
    for tag in 0..count {
        let packet = match tag {
            _ if tag % 17 == 5 => {
                let mut forged = next(tag);
                forged.payload[20] ^= 1;
                all.push(forged);
                continue;
            }
            _ if tag % 13 == 7 && tag > 20 => genuine[genuine.len() - 7].clone(),
            _ if tag % 29 == 11 => {
                withheld.push_back(next(tag));
                // Later than the words of the window last, so too late also for a window that lags behind.
                if withheld.len() > 45 {
                    all.extend(withheld.pop_front());
                }
                continue;
            }
            _ if tag % 31 == 3 => {
                let (later, first) = (next(tag + count), next(tag));
                all.push(first);
                later
            }
            _ => next(tag),
        };
        all.push(packet.clone());
        genuine.push(packet);
    }
    all
}

/// What became of packets: those delivered in their order, the drops, and what the SA's record counts.
type Outcome = (Vec<u64>, Vec<(DropReason, u64)>, [u64; 5]);

fn outcome(plan: Plan, tunnel: &Tunnel, packets: &[Packet], run: impl Fn(&mut Gateway)) -> (Outcome, u64) {
    let mut gateway = plan.start(&[tunnel]);
    let mut arrived = Vec::new();
    for some in packets.chunks(700) {
        some.iter().for_each(|packet| gateway.peer_sends(packet));
        run(&mut gateway);
        arrived.extend(delivered(&gateway));
    }
    let usage = gateway.usage(&tunnel.sa(Side::A, Side::B));
    let record = [usage.packets, usage.octets, usage.err_integrity, usage.err_replay, usage.err_too_old];
    ((arrived, gateway.drops(), record), opened_elsewhere(&gateway))
}

#[test]
fn forged_copied_and_late_packets_end_as_they_do_with_one_worker() {
    let tunnel = Tunnel { esn: false, ..tunnel(1) };
    let packets = mixed(&tunnel, 4_000);
    let (expected, _) = outcome(Plan::new(Side::A), &tunnel, &packets, Gateway::poll);
    let reasons: Vec<_> = expected.1.iter().map(|(reason, _)| *reason).collect();
    assert_eq!(reasons, [DropReason::Replay, DropReason::TooOld, DropReason::Integrity]);
    assert!(expected.1.iter().all(|(_, count)| *count > 50), "{:?}", expected.1);
    assert!(!expected.0.is_sorted(), "some packets arrive in another order than their numbers");
    for workers in [2, 4] {
        for run in [Gateway::poll, in_threads] {
            let (sprayed, elsewhere) = outcome(plan(workers), &tunnel, &packets, run);
            assert_eq!((&sprayed.1, sprayed.2), (&expected.1, expected.2), "{workers} workers");
            assert!(sprayed.0 == expected.0, "{workers} workers");
            assert!(elsewhere > 0, "{workers} workers: nobody helped");
        }
    }
}

#[test]
fn without_the_switch_or_without_another_worker_nobody_opens_what_another_received() {
    let tunnel = tunnel(1);
    let packets: Vec<_> = (1..1_000).map(|seq| sealed(&tunnel, seq, seq)).collect();
    let (expected, _) = outcome(Plan::new(Side::A), &tunnel, &packets, Gateway::poll);
    for plan in [Plan::new(Side::A).workers(4), plan(1)] {
        let workers = plan.workers;
        let mut gateway = plan.start(&[&tunnel]);
        packets.iter().for_each(|packet| gateway.peer_sends(packet));
        poll(&mut gateway, 0);
        assert_eq!(delivered(&gateway), (1..=BURST).collect::<Vec<_>>(), "in the pass they came in");
        gateway.poll();
        assert_eq!(delivered(&gateway), expected.0[BURST as usize..]);
        assert_eq!((gateway.drops(), opened_elsewhere(&gateway)), (expected.1.clone(), 0));
        assert!((0..workers).all(|worker| packets_of_spray(&gateway, worker) == 0));
    }
}

fn packets_of_spray(gateway: &Gateway, worker: usize) -> u64 {
    packets(gateway, worker, Stage::Spray)
}

#[test]
fn a_small_burst_is_opened_where_it_is_and_waits_for_nobody() {
    let tunnel = tunnel(1);
    let mut gateway = plan(2).start(&[&tunnel]);
    send(&gateway, &tunnel, 1..=31);
    poll(&mut gateway, 0);
    assert_eq!(delivered(&gateway), (1..=31).collect::<Vec<_>>());
    assert_eq!(packets_of_spray(&gateway, 0), 0);
}

#[test]
fn nothing_passes_a_chunk_that_is_late() {
    let tunnel = tunnel(1);
    let mut gateway = plan(2).start(&[&tunnel]);
    send(&gateway, &tunnel, 1..=BURST);
    poll(&mut gateway, 0);
    let rings = |gateway: &Gateway| std::sync::Arc::clone(&gateway.workers[0].shared);
    let late = rings(&gateway).spray.offered.pop().unwrap();
    // The second chunk goes to the other worker, the others and a small burst are opened where they are.
    poll(&mut gateway, 1);
    send(&gateway, &tunnel, BURST + 1..=BURST + 20);
    poll(&mut gateway, 0);
    poll(&mut gateway, 0);
    assert_eq!(opened_elsewhere(&gateway), CHUNK);
    assert_eq!(delivered(&gateway), [0; 0]);
    // Whoever had it does not know the SA: it comes back as it was.
    rings(&gateway).spray.opened.push(late).unwrap();
    poll(&mut gateway, 0);
    assert_eq!(delivered(&gateway), (1..=BURST + 20).collect::<Vec<_>>());
    gateway.no_drops();
}

#[test]
fn a_worker_without_help_opens_everything_itself() {
    let tunnel = tunnel(1);
    let mut gateway = plan(4).start(&[&tunnel]);
    send(&gateway, &tunnel, 1..=2 * UNDER_WAY);
    let now_ns = gateway.now_ns;
    while gateway.workers[0].path.poll(now_ns) > 0 {}
    assert_eq!(delivered(&gateway), (1..=2 * UNDER_WAY).collect::<Vec<_>>());
    assert_eq!(opened_elsewhere(&gateway), 0);
    gateway.no_drops();
}

#[test]
fn what_finds_no_place_behind_a_late_chunk_is_counted_and_the_rest_comes_in_order() {
    let tunnel = tunnel(1);
    let mut gateway = plan(2).start(&[&tunnel]);
    send(&gateway, &tunnel, 1..=BURST);
    poll(&mut gateway, 0);
    let late = gateway.workers[0].shared.spray.offered.pop().unwrap();
    send(&gateway, &tunnel, BURST + 1..=UNDER_WAY + BURST);
    // A small burst finds none either.
    send(&gateway, &tunnel, UNDER_WAY + BURST + 1..=UNDER_WAY + BURST + 5);
    gateway.poll();
    assert_eq!(delivered(&gateway), [0; 0]);
    gateway.only_drops(DropReason::HandoffFull, BURST + 5);
    gateway.workers[0].shared.spray.opened.push(late).unwrap();
    send(&gateway, &tunnel, 9_000..9_100);
    gateway.poll();
    assert_eq!(delivered(&gateway), (1..=UNDER_WAY).chain(9_000..9_100).collect::<Vec<_>>());
    gateway.only_drops(DropReason::HandoffFull, BURST + 5);
}

#[test]
fn a_worker_that_dies_with_a_chunk_costs_that_chunk_alone() {
    let tunnel = tunnel(1);
    let mut gateway = plan(2).start(&[&tunnel]);
    send(&gateway, &tunnel, 1..=BURST);
    poll(&mut gateway, 0);
    let lost = gateway.workers[0].shared.spray.offered.pop().unwrap();
    gateway.poll();
    gateway.now_ns += 99 * MS;
    gateway.poll();
    assert_eq!((delivered(&gateway), gateway.drops()), (vec![], vec![]), "it may come back yet");
    gateway.now_ns += 2 * MS;
    poll(&mut gateway, 0);
    poll(&mut gateway, 0);
    assert_eq!(delivered(&gateway), (CHUNK + 1..=BURST).collect::<Vec<_>>());
    // It comes back after all when its place is another's: it was counted, so nobody gets it.
    send(&gateway, &tunnel, BURST + 1..=UNDER_WAY);
    gateway.poll();
    assert_eq!(delivered(&gateway), (BURST + 1..=UNDER_WAY).collect::<Vec<_>>());
    send(&gateway, &tunnel, UNDER_WAY + 1..=UNDER_WAY + BURST);
    poll(&mut gateway, 0);
    let late = gateway.workers[0].shared.spray.offered.pop().unwrap();
    gateway.workers[0].shared.spray.opened.push(lost).unwrap();
    gateway.poll();
    assert_eq!(delivered(&gateway), [0; 0]);
    gateway.workers[0].shared.spray.opened.push(late).unwrap();
    gateway.poll();
    assert_eq!(delivered(&gateway), (UNDER_WAY + 1..=UNDER_WAY + BURST).collect::<Vec<_>>());
    gateway.only_drops(DropReason::HandoffLost, CHUNK);
    assert_eq!(gateway.usage(&tunnel.sa(Side::A, Side::B)).packets, UNDER_WAY + BURST - CHUNK);
}

#[test]
fn a_worker_that_ends_counts_what_is_under_way() {
    let tunnel = tunnel(1);
    let mut gateway = plan(2).start(&[&tunnel]);
    send(&gateway, &tunnel, 1..=BURST + 9);
    poll(&mut gateway, 0);
    let held = gateway.workers[0].shared.spray.offered.pop().unwrap();
    poll(&mut gateway, 0);
    poll(&mut gateway, 1);
    let ended = gateway.workers.remove(0);
    drop(ended.path);
    ended.shared.spray.opened.push(held).unwrap();
    let account = |at: usize| {
        let origin = dataplane::path::counters::Origin::Port(dataplane::ports::PortId(WAN));
        let account = ended.shared.counters.account(origin);
        [account.entered.get(), account.drops_of(DropReason::HandoffLost).get()][at]
    };
    assert_eq!((account(0), account(1)), (BURST + 9, BURST + 9));
    assert!(ended.wires[usize::from(LAN)].take().is_none());
}

#[test]
fn a_new_sa_takes_over_in_the_middle_and_nothing_is_lost_or_passes() {
    for workers in [2, 4] {
        let tunnels: Vec<_> = (1..8).map(tunnel).collect();
        let mut gateway = plan(workers).start(&[&tunnels[0]]);
        let (mut tag, mut arrived) = (0, Vec::new());
        for (old, new) in tunnels.iter().zip(&tunnels[1..]) {
            gateway.commit(|changes| new.install_sas(Side::A, changes));
            for seq in 1..=200 {
                // The last of the old SA and the first of the new one come by turns.
                for (tunnel, seq) in [(old, 300 + seq), (new, seq)] {
                    gateway.peer_sends(&sealed(tunnel, seq, tag));
                    tag += 1;
                }
            }
            in_threads(&mut gateway);
            arrived.extend(delivered(&gateway));
            gateway.commit(|changes| old.remove_sas(changes));
        }
        assert_eq!(arrived, (0..tag).collect::<Vec<_>>());
        gateway.no_drops();
        assert!(opened_elsewhere(&gateway) > 0);
    }
}

#[test]
fn an_sa_that_goes_while_its_packets_are_under_way_takes_them_with_it() {
    let (old, new) = (tunnel(1), tunnel(2));
    let mut gateway = plan(3).start(&[&old, &new]);
    send(&gateway, &old, 1..=40);
    send(&gateway, &new, 41..=BURST);
    poll(&mut gateway, 0);
    poll(&mut gateway, 1);
    gateway.write(|changes| old.remove_sas(changes));
    gateway.adopter.step(gateway.now_ns);
    // Opened with it, or found without it: neither is delivered.
    poll(&mut gateway, 2);
    gateway.settle();
    assert_eq!(delivered(&gateway), (41..=BURST).collect::<Vec<_>>());
    gateway.only_drops(DropReason::UnknownSpi, 40);
    assert_eq!(opened_elsewhere(&gateway), 2 * CHUNK);
}

#[test]
fn a_slot_that_another_sa_has_now_opens_nothing_of_the_old_one() {
    let old = tunnel(1);
    let mut gateway = plan(2).start(&[&old]);
    send(&gateway, &old, 1..=BURST);
    poll(&mut gateway, 0);
    let shared = std::sync::Arc::clone(&gateway.workers[0].shared);
    let late: Vec<_> = std::iter::from_fn(|| shared.spray.offered.pop()).collect();
    gateway.commit(|changes| old.remove_sas(changes));
    // Slot, SPI and key are the same: it is its identity alone that tells.
    let mut renewed = old.sa(Side::A, Side::B);
    renewed.uid = shm_protocol::ids::SaUid::new(0xabcd).unwrap();
    gateway.commit(|changes| {
        changes.put_sa(&renewed);
    });
    late.into_iter().for_each(|chunk| shared.spray.opened.push(chunk).unwrap());
    gateway.poll();
    assert_eq!(delivered(&gateway), [0; 0]);
    gateway.only_drops(DropReason::UnknownSpi, BURST);
    let usage = gateway.usage(&renewed);
    assert_eq!((usage.packets, usage.err_integrity), (0, 0));
}
