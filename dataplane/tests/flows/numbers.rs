//! Limits, numbers and windows: where they end, shared by workers, kept over replacements and starts.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;

use dataplane::path::shared::{Limit, Notice};
use esp::DropReason;
use shm_protocol::ids::{IfId, SaUid, Spi};
use shm_protocol::sa::{Direction, KeyOctets, Limits, Sa};

use crate::node::octets::{frame, iv, seq, tags};
use crate::node::records::{THERE, keying};
use crate::node::site::site;
use crate::node::{LAN, Node, WAN};
use crate::{add_up, joined, numbered, pair};
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
