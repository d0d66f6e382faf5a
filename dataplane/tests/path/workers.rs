//! Several workers on one SA, both ways, in threads and in turns: no number twice, no packet twice, and together the
//! same packets as one worker alone.

use std::collections::HashSet;
use std::sync::Barrier;

use esp::DropReason;

use crate::gateway::{Gateway, LAN, WAN};
use crate::pair::Pair;
use crate::plan::{Plan, mac};
use crate::records::{Side, Tunnel};
use crate::wire::{Packet, esp_head};

/// A tunnel whose window holds what two workers mix up.
fn tunnel() -> Tunnel {
    Tunnel { window: 1024, ..Tunnel::new(1, 1) }
}

fn plan(side: Side, workers: usize, spread: bool) -> Plan {
    Plan::new(side).workers(workers).with(|topology| topology.interfaces[0].spread = spread)
}

fn there(number: u32) -> Packet {
    Packet::udp("10.1.0.9", "10.2.0.9", 1000, 2000, &number.to_be_bytes())
}

fn numbers(packets: &[Packet]) -> Vec<u32> {
    packets.iter().map(|packet| u32::from_be_bytes(packet.text().try_into().unwrap())).collect()
}

/// Runs every worker in a thread of its own until `rounds` polls are done.
fn in_threads(gateway: &mut Gateway, rounds: usize) {
    let now_ns = gateway.now_ns;
    let barrier = Barrier::new(gateway.workers.len());
    std::thread::scope(|scope| {
        for worker in &mut gateway.workers {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                for _ in 0..rounds {
                    worker.path.poll(now_ns);
                }
            });
        }
    });
    gateway.poll();
}

#[test]
fn two_workers_in_threads_share_an_sa_both_ways_and_repeat_and_double_nothing() {
    const PACKETS: u32 = 4_000;
    for spread in [true, false] {
        let tunnel = tunnel();
        let mut a = plan(Side::A, 2, spread).start(&[&tunnel]);
        let mut b = plan(Side::B, 2, spread).start(&[&tunnel]);
        let (mut crossed, mut arrived) = (Vec::new(), Vec::new());
        for chunk in (0..PACKETS).collect::<Vec<_>>().chunks(200) {
            for number in chunk {
                let frame = there(*number).frame(mac(Side::A, LAN), crate::plan::HOST);
                a.send_to((number % 2) as usize, LAN, frame);
            }
            in_threads(&mut a, 8);
            let frames = a.sent(WAN);
            for (at, frame) in frames.iter().enumerate() {
                // Every packet twice, to both workers of the receiver, in either order.
                b.send_to(at % 2, WAN, frame.clone());
                b.send_to((at + 1) % 2, WAN, frame.clone());
            }
            in_threads(&mut b, 16);
            arrived.extend(numbers(&b.to_hosts(LAN)));
            crossed.extend(frames);
        }
        let ivs: HashSet<_> = crossed.iter().map(|frame| esp_head(frame)).collect();
        assert_eq!((crossed.len(), ivs.len()), (PACKETS as usize, PACKETS as usize), "spread {spread}");
        arrived.sort_unstable();
        assert_eq!(arrived, (0..PACKETS).collect::<Vec<_>>(), "spread {spread}");
        a.no_drops();
        b.only_drops(DropReason::Replay, u64::from(PACKETS));
        let sealed = |worker: usize| {
            a.workers[worker].shared.counters.stage(dataplane::path::counters::Stage::Seal).packets.get()
        };
        let by_worker = [sealed(0), sealed(1)];
        if spread {
            assert!(by_worker.iter().all(|packets| *packets > 0), "{by_worker:?}");
        } else {
            // The slot of the SA names its one worker.
            assert_eq!(by_worker, [u64::from(PACKETS), 0]);
        }
    }
}

#[test]
fn two_workers_send_the_same_packets_as_one() {
    let tunnel = tunnel();
    let mut sent = Vec::new();
    for (workers, spread) in [(1, false), (2, false), (2, true), (3, true)] {
        let mut gateway = plan(Side::A, workers, spread).start(&[&tunnel]);
        for number in 0..300 {
            let frame = there(number).frame(mac(Side::A, LAN), crate::plan::HOST);
            gateway.send_to(number as usize % workers, LAN, frame);
            if number % 7 == 0 {
                gateway.poll();
            }
        }
        gateway.poll();
        let opened = gateway.to_peer();
        let mut opened: Vec<_> = opened.iter().map(|outer| tunnel.peer(Side::A).open(0, outer)).collect();
        opened.sort_by_key(|(seq, _)| *seq);
        assert_eq!(opened.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=300).collect::<Vec<_>>());
        let mut inner: Vec<_> = opened.into_iter().map(|(_, inner)| inner.emit()).collect();
        inner.sort();
        sent.push(inner);
    }
    assert!(sent.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn handed_over_packets_keep_their_order_and_go_by_one_worker() {
    let tunnel = tunnel();
    let mut gateway = plan(Side::A, 2, false).start(&[&tunnel]);
    for number in 0..40 {
        gateway.send_to(1, LAN, there(number).frame(mac(Side::A, LAN), crate::plan::HOST));
    }
    gateway.poll();
    let opened: Vec<_> =
        gateway.to_peer().iter().map(|outer| tunnel.peer(Side::A).open(0, outer).1).collect();
    assert_eq!(numbers(&opened), (0..40).collect::<Vec<_>>());
    gateway.no_drops();
}

#[test]
fn a_full_ring_to_the_other_worker_is_counted_and_nothing_else_is_lost() {
    let tunnel = tunnel();
    let mut gateway = plan(Side::A, 2, false).start(&[&tunnel]);
    // An entry of the ring carries up to 16 packets, and there are 1 024 entries.
    let sent = 17_000;
    for number in 0..sent {
        gateway.send_to(1, LAN, there(number).frame(mac(Side::A, LAN), crate::plan::HOST));
    }
    // The worker that owns the SA does not run meanwhile.
    let now_ns = gateway.now_ns;
    while gateway.workers[1].path.poll(now_ns) > 0 {}
    gateway.poll();
    let delivered = gateway.to_peer().len();
    assert!((1_024..=16 * 1_024).contains(&delivered), "{delivered}");
    gateway.only_drops(DropReason::HandoffFull, u64::from(sent) - delivered as u64);
}

#[test]
fn an_sa_that_goes_while_its_packets_are_handed_over_takes_them_with_it() {
    let tunnel = tunnel();
    let mut gateway = plan(Side::A, 2, false).start(&[&tunnel]);
    for number in 0..10 {
        gateway.send_to(1, LAN, there(number).frame(mac(Side::A, LAN), crate::plan::HOST));
    }
    let now_ns = gateway.now_ns;
    gateway.workers[1].path.poll(now_ns);
    gateway.commit(|changes| tunnel.remove_sas(changes));
    assert_eq!(gateway.to_peer(), []);
    gateway.only_drops(DropReason::NoSa, 10);
}

#[test]
fn a_worker_without_a_transmit_queue_sends_by_the_one_that_has_it() {
    let tunnel = tunnel();
    let mut gateway = plan(Side::A, 2, true).start(&[&tunnel]);
    gateway.workers[1].path.ports_mut().disown_tx(dataplane::ports::PortId(WAN));
    for number in 0..10 {
        gateway.send_to(1, LAN, there(number).frame(mac(Side::A, LAN), crate::plan::HOST));
    }
    gateway.poll();
    assert!(gateway.workers[1].wires[usize::from(WAN)].take().is_none());
    assert_eq!(gateway.to_peer().len(), 10);
    gateway.no_drops();
}

#[test]
fn rekeys_between_gateways_of_two_workers_lose_nothing() {
    let tunnels: Vec<_> =
        (1..8).map(|number| Tunnel { reqid: 1, window: 1024, ..Tunnel::new(number, 1) }).collect();
    let a = plan(Side::A, 2, true).start(&[&tunnels[0]]);
    let b = plan(Side::B, 2, true).start(&[&tunnels[0]]);
    let mut pair = Pair::of(a, b);
    let (mut next, mut arrived, mut crossed) = (0, Vec::new(), Vec::new());
    for new in &tunnels[1..] {
        pair.b.commit(|changes| new.install_sas(Side::B, changes));
        for round in 0..4 {
            for _ in 0..60 {
                let frame = there(next).frame(mac(Side::A, LAN), crate::plan::HOST);
                pair.a.send_to((next % 2) as usize, LAN, frame);
                next += 1;
            }
            if round == 2 {
                pair.a.commit(|changes| new.install_sas(Side::A, changes));
            }
            crossed.extend(pair.run());
            arrived.extend(numbers(&pair.b.to_hosts(LAN)));
        }
    }
    arrived.sort_unstable();
    assert_eq!(arrived, (0..next).collect::<Vec<_>>());
    let ivs: HashSet<_> = crossed.iter().map(|frame| esp_head(frame)).collect();
    assert_eq!(ivs.len(), crossed.len());
    pair.a.no_drops();
    pair.b.no_drops();
}
