//! What was accepted once is never accepted again, and nothing forged moves the window. The packets are a foreign
//! peer's.

use shm_protocol::sa::Initial;

use esp::DropReason;

use crate::gateway::{Gateway, LAN};
use crate::plan::Plan;
use crate::records::{Side, Tunnel};
use crate::wire::Packet;

/// Window that every test here has. Units: packets.
const WINDOW: u64 = 64;

fn inner(text: &[u8]) -> Packet {
    Packet::udp("10.2.0.9", "10.1.0.9", 2000, 1000, text)
}

struct Receiver {
    tunnel: Tunnel,
    gateway: Gateway,
}

impl Receiver {
    fn new(tunnel: Tunnel) -> Self {
        let gateway = Plan::new(Side::A).start(&[&tunnel]);
        Self { tunnel, gateway }
    }

    fn sealed(&self, seq: u64) -> Packet {
        self.tunnel.peer(Side::B).seal(seq, &inner(&seq.to_be_bytes()))
    }

    /// Offers packets with these numbers in one burst; returns those that were delivered.
    fn offer(&mut self, seqs: &[u64]) -> Vec<u64> {
        seqs.iter().for_each(|seq| self.gateway.peer_sends(&self.sealed(*seq)));
        self.delivered()
    }

    fn delivered(&mut self) -> Vec<u64> {
        self.gateway.poll();
        let packets = self.gateway.to_hosts(LAN);
        packets.iter().map(|packet| u64::from_be_bytes(packet.text().try_into().unwrap())).collect()
    }

    /// Offers a packet with this number whose ICV is wrong.
    fn forge(&mut self, seq: u64) {
        let mut forged = self.sealed(seq);
        *forged.payload.last_mut().unwrap() ^= 0x80;
        self.gateway.peer_sends(&forged);
        assert_eq!(self.delivered(), [0; 0]);
    }

    fn dropped(&self) -> [u64; 3] {
        [DropReason::Replay, DropReason::TooOld, DropReason::Integrity]
            .map(|reason| self.gateway.dropped(reason))
    }
}

fn both() -> [Receiver; 2] {
    [false, true].map(|esn| Receiver::new(Tunnel { esn, ..Tunnel::new(1, 1) }))
}

#[test]
fn a_copy_is_dropped_in_the_same_burst_in_the_next_and_at_the_edge_of_the_window() {
    for mut receiver in both() {
        assert_eq!(receiver.offer(&[1, 2, 2, 3, 1]), [1, 2, 3]);
        assert_eq!(receiver.offer(&[3, 2, 1]), [0; 0]);
        assert_eq!(receiver.offer(&[WINDOW + 1]), [WINDOW + 1]);
        assert_eq!(receiver.offer(&[2, 4]), [4], "the lowest two of the window");
        assert_eq!(receiver.dropped(), [6, 0, 0]);
    }
}

#[test]
fn what_lies_before_the_window_is_too_old_although_nobody_saw_it() {
    for mut receiver in both() {
        assert_eq!(receiver.offer(&[1000]), [1000]);
        assert_eq!(receiver.offer(&[1000 - WINDOW + 1]), [1000 - WINDOW + 1]);
        let before = receiver.dropped();
        assert_eq!(before, [0; 3]);
        if receiver.tunnel.esn {
            // With extended numbers it is taken for one of the next 2^32, and its ICV does not match.
            assert_eq!(receiver.offer(&[1000 - WINDOW]), [0; 0]);
            assert_eq!(receiver.dropped(), [0, 0, 1]);
        } else {
            assert_eq!(receiver.offer(&[1000 - WINDOW, 1]), [0; 0]);
            assert_eq!(receiver.dropped(), [0, 2, 0]);
        }
    }
}

#[test]
fn packets_out_of_order_within_the_window_are_delivered_each_once() {
    for mut receiver in both() {
        let shuffled: Vec<_> = (0..60).map(|at| 1 + at * 37 % 60).collect();
        assert_eq!(receiver.offer(&shuffled), shuffled);
        assert_eq!(receiver.offer(&shuffled), [0; 0]);
        assert_eq!(receiver.dropped(), [60, 0, 0]);
    }
}

#[test]
fn a_forged_packet_leaves_its_number_to_the_genuine_one() {
    for mut receiver in both() {
        receiver.forge(1);
        assert_eq!(receiver.offer(&[1]), [1]);
        assert_eq!(receiver.dropped(), [0, 0, 1]);
        let usage = receiver.gateway.usage(&receiver.tunnel.sa(Side::A, Side::B));
        assert_eq!((usage.packets, usage.err_integrity), (1, 1));
    }
}

#[test]
fn a_forged_high_number_does_not_move_the_window() {
    for mut receiver in both() {
        assert_eq!(receiver.offer(&[1, 2]), [1, 2]);
        receiver.forge(1_000_000);
        receiver.forge(0xffff_fff0);
        assert_eq!(receiver.gateway.usage(&receiver.tunnel.sa(Side::A, Side::B)).iseq_top, 2);
        assert_eq!(receiver.offer(&[3]), [3]);
    }
}

#[test]
fn a_forged_copy_before_the_genuine_packet_in_one_burst_does_not_take_its_place() {
    for mut receiver in both() {
        let mut forged = receiver.sealed(5);
        forged.payload[20] ^= 1;
        receiver.gateway.peer_sends(&forged);
        assert_eq!(receiver.offer(&[5, 5]), [5]);
        assert_eq!(receiver.dropped(), [1, 0, 1]);
    }
}

#[test]
fn nothing_is_delivered_before_it_is_verified() {
    for mut receiver in both() {
        for flipped in 0..receiver.sealed(1).payload.len() * 8 {
            let mut forged = receiver.sealed(1);
            forged.payload[flipped / 8] ^= 1 << (flipped % 8);
            receiver.gateway.peer_sends(&forged);
        }
        assert_eq!(receiver.delivered(), [0; 0]);
        // Neither by the port nor by the host's devices, and no error tells anybody.
        assert_eq!(receiver.gateway.punted().len(), 0);
        assert_eq!(receiver.gateway.to_peer(), []);
        assert_eq!(receiver.offer(&[1]), [1]);
    }
}

#[test]
fn a_packet_sealed_with_the_other_kind_of_numbers_is_not_genuine() {
    let mut receiver = Receiver::new(Tunnel { esn: true, ..Tunnel::new(1, 1) });
    let short = crate::peer::PeerSa { esn: false, ..receiver.tunnel.peer(Side::B) };
    receiver.gateway.peer_sends(&short.seal(1, &inner(&[0; 8])));
    assert_eq!(receiver.delivered(), [0; 0]);
    assert_eq!(receiver.dropped(), [0, 0, 1]);
}

#[test]
fn extended_numbers_go_on_past_2_to_32_both_ways() {
    let last = u64::from(u32::MAX);
    let initial = Initial { oseq: last - 2, iseq_top: last - 2 };
    let mut receiver = Receiver::new(Tunnel { initial, ..Tunnel::new(1, 1) });
    let seqs: Vec<_> = (last - 1..last + 4).collect();
    assert_eq!(receiver.offer(&seqs), seqs);
    assert_eq!(receiver.offer(&seqs), [0; 0]);
    assert_eq!(receiver.dropped(), [5, 0, 0]);
    for seq in seqs {
        receiver.gateway.host_sends(LAN, &Packet::udp("10.1.0.9", "10.2.0.9", 1, 2, b"x"));
        receiver.gateway.poll();
        let high = u32::try_from(seq >> 32).unwrap();
        let sent = receiver.gateway.to_peer();
        assert_eq!(receiver.tunnel.peer(Side::A).open(high, &sent[0]).0, seq);
    }
}

#[test]
fn a_window_larger_than_a_record_holds_works_the_same() {
    for window in [1025, 4096] {
        let mut receiver = Receiver::new(Tunnel { window, ..Tunnel::new(1, 1) });
        let top = 100_000;
        assert_eq!(receiver.offer(&[top]), [top]);
        let lowest = top + 1 - u64::from(window);
        assert_eq!(receiver.offer(&[lowest, lowest, top]), [lowest]);
        assert_eq!(receiver.dropped(), [2, 0, 0]);
    }
}
