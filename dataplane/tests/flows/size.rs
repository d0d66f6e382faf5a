//! Packets that are too long, and too old.

use esp::DropReason;
use shm_protocol::sa::EncapPorts;

use crate::node::LAN;
use crate::node::octets::Udp;
use crate::node::records::{THERE, Way};
use crate::{HOST_1, HOST_1_V6, HOST_2, HOST_2_V6, add_up, pair};
/// The tunnels whose overheads differ, with the largest inner packet on a path of 1500 octets. RFC: 4303 section 2.4.
fn tunnels() -> [(Way, Option<EncapPorts>, u16); 4] {
    let udp = Some(EncapPorts { sport: 4500, dport: 4500 });
    let v6 = Way { v6: true, ..THERE };
    // 1500 less the outer header, UDP, 32 octets of ESP and ICV, rounded down to 4, less the trailer.
    [(THERE, None, 1446), (THERE, udp, 1438), (v6, None, 1426), (v6, udp, 1418)]
}

#[test]
fn the_largest_packet_passes_and_one_octet_more_is_answered_with_the_size_that_fits() {
    for (way, encap, mtu) in tunnels() {
        let (mut sender, mut receiver) = pair(way, |sa| sa.encap = encap);
        let largest = usize::from(mtu);
        let v4 = Udp { dont_fragment: true, ..Udp::new(HOST_1, HOST_2) };
        let v6 = Udp::new(HOST_1_V6, HOST_2_V6);
        let frames = sender.seals(&[v4.octets(largest).packet(), v6.octets(largest).packet()]);
        assert!(frames.iter().all(|frame| (1511..=1514).contains(&frame.len())), "{way:?} {encap:?}");
        assert_eq!(receiver.opens(&frames).len(), 2);
        let refused = sender.seals(&[v4.octets(largest + 1).packet(), v6.octets(largest + 1).packet()]);
        assert_eq!(refused.len(), 0);
        let told = sender.sent_ip(LAN);
        assert_eq!(told[0][12..20], [10, 1, 0, 1, 10, 1, 0, 9]);
        assert_eq!(
            (told[0][9], &told[0][20..22], &told[0][26..28]),
            (1, &[3, 4][..], &mtu.to_be_bytes()[..])
        );
        let for_v6 = (told[1][6], &told[1][40..42], &told[1][44..48]);
        assert_eq!(for_v6, (58, &[2, 0][..], &u32::from(mtu).to_be_bytes()[..]));
        assert_eq!((told.len(), sender.dropped(DropReason::MtuExceeded)), (2, 2));
        assert_eq!((sender.drops(), receiver.drops()), (2, 0));
        add_up(&[&sender, &receiver]);
    }
}

#[test]
fn what_may_be_fragmented_goes_in_pieces_that_together_carry_every_octet() {
    for (way, encap, mtu) in tunnels() {
        let (mut sender, mut receiver) = pair(way, |sa| sa.encap = encap);
        let packet = Udp::new(HOST_1, HOST_2).octets(1500).packet();
        let mut pieces = receiver.opens(&sender.seals(std::slice::from_ref(&packet)));
        let at = |piece: &Vec<u8>| usize::from(u16::from_be_bytes([piece[6], piece[7]]) & 0x1fff) * 8;
        pieces.sort_by_key(at);
        let mut payload = Vec::new();
        for piece in &pieces {
            assert_eq!(at(piece), payload.len());
            assert!(piece.len() <= usize::from(mtu));
            payload.extend(&piece[20..]);
        }
        assert_eq!((pieces.len(), payload), (2, packet[20..].to_vec()));
        assert_eq!(
            pieces.iter().map(|piece| piece[6] >> 5).collect::<Vec<_>>(),
            [1, 0],
            "more to come, then not"
        );
        assert_eq!(sender.drops() + receiver.drops(), 0);
        add_up(&[&sender, &receiver]);
    }
}

#[test]
fn at_the_last_hop_of_its_life_a_packet_is_answered() {
    let (mut sender, _) = pair(THERE, |_| {});
    let last = [(HOST_1, HOST_2), (HOST_1_V6, HOST_2_V6)]
        .map(|(src, dst)| Udp { ttl: 1, ..Udp::new(src, dst) }.packet());
    assert_eq!(sender.seals(&last), [[0_u8; 0]; 0]);
    let told = sender.sent_ip(LAN);
    assert_eq!((told[0][9], &told[0][20..22]), (1, &[11, 0][..]));
    assert_eq!((told[1][6], &told[1][40..42]), (58, &[3, 0][..]));
    assert_eq!((told.len(), sender.dropped(DropReason::TtlExpired), sender.drops()), (2, 2, 2));
    sender.adds_up();
}
