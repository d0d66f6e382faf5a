//! Oversized packets: the largest that fits passes, one octet more is told, or goes in pieces.

use dataplane::path::host::HostDevice;
use dataplane::ports::PortId;
use dataplane::tables::topology::Unprotected;
use esp::DropReason;
use shm_protocol::sa::{KeyOctets, TfcPad};

use crate::gateway::{Gateway, LAN, WAN};
use crate::plan::{HOST, Plan, mac, neighbor};
use crate::records::{OUTER4, OUTER6, Side, Tunnel};
use crate::wire::{DF, ICMP, ICMPV6, MF, Packet};

/// Octets around an inner packet, computed straight after the RFCs: outer headers, SPI and number, IV, padding to 4
/// behind the two octets of the trailer, ICV.
fn fits(tunnel: &Tunnel, inner: usize) -> bool {
    let header = if tunnel.outer == OUTER4 { 20 } else { 40 } + if tunnel.encap.is_some() { 8 } else { 0 };
    header + 8 + 8 + (inner + 2).div_ceil(4) * 4 + 16 <= 1500
}

fn largest(tunnel: &Tunnel) -> usize {
    (1..1500).rev().find(|inner| fits(tunnel, *inner)).unwrap()
}

fn kinds() -> impl Iterator<Item = Tunnel> {
    let keys = [KeyOctets::K16, KeyOctets::K32];
    let encaps = [None, Some((4500, 4500))];
    let outers = [OUTER4, OUTER6];
    outers.into_iter().flat_map(move |outer| {
        encaps.into_iter().flat_map(move |encap| {
            keys.into_iter().map(move |key| Tunnel { outer, encap, key, ..Tunnel::new(1, 1) })
        })
    })
}

fn v4(octets: usize, flags: u16) -> Packet {
    Packet { flags, ..Packet::udp_of("10.1.0.9", "10.2.0.9", octets) }
}

fn v6(octets: usize) -> Packet {
    Packet::udp_of("2001:db8:1::9", "2001:db8:2::9", octets)
}

/// Sends `packet` from a host on the LAN; returns what was sent to the peer, opened, and what the host is told.
fn through(tunnel: &Tunnel, gateway: &mut Gateway, packet: &Packet) -> (Vec<Packet>, Vec<Packet>) {
    gateway.host_sends(LAN, packet);
    gateway.poll();
    let sent = gateway.to_peer();
    assert!(sent.iter().all(|outer| outer.emit().len() <= 1500));
    let opened = sent.iter().map(|outer| tunnel.peer(Side::A).open(0, outer).1).collect();
    (opened, gateway.to_hosts(LAN))
}

#[test]
fn the_largest_packet_passes_and_one_octet_more_is_told_the_mtu_that_fits() {
    for tunnel in kinds() {
        let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
        let most = largest(&tunnel);
        for packet in [v4(most, DF), v6(most)] {
            let (opened, told) = through(&tunnel, &mut gateway, &packet);
            assert_eq!((opened, told), (vec![packet.after_hops(1)], vec![]));
        }
        gateway.no_drops();
        let (opened, told) = through(&tunnel, &mut gateway, &v4(most + 1, DF));
        assert_eq!(opened, []);
        let [icmp] = &told[..] else { panic!("{told:?}") };
        assert_eq!(
            (icmp.proto, icmp.src.to_string(), icmp.dst.to_string()),
            (ICMP, "10.1.0.1".into(), "10.1.0.9".into())
        );
        assert_eq!(icmp.payload[..2], [3, 4]);
        assert_eq!(icmp.payload[4..8], u32::try_from(most).unwrap().to_be_bytes());
        let (opened, told) = through(&tunnel, &mut gateway, &v6(most + 1));
        assert_eq!(opened, []);
        let [icmp] = &told[..] else { panic!("{told:?}") };
        assert_eq!((icmp.proto, icmp.src.to_string()), (ICMPV6, "2001:db8:1::1".into()));
        assert_eq!(icmp.payload[..2], [2, 0]);
        assert_eq!(icmp.payload[4..8], u32::try_from(most).unwrap().to_be_bytes());
        assert!(icmp.emit().len() <= 1280, "RFC 4443 section 2.4 (c)");
        gateway.only_drops(DropReason::MtuExceeded, 2);
    }
}

/// Puts fragments together as a host does.
fn reassembled(pieces: &[Packet]) -> Packet {
    let whole = Packet { flags: 0, payload: Vec::new(), ..pieces[0].clone() };
    let mut payload = vec![None; 65_536];
    let mut end = 0;
    for piece in pieces {
        assert_eq!(
            (piece.src, piece.dst, piece.proto, piece.ident),
            (whole.src, whole.dst, whole.proto, whole.ident)
        );
        let at = usize::from(piece.flags & 0x1fff) * 8;
        for (place, octet) in payload[at..].iter_mut().zip(&piece.payload) {
            assert_eq!(place.replace(*octet), None, "pieces overlap");
        }
        if piece.flags & MF == 0 {
            end = at + piece.payload.len();
        } else {
            assert_eq!(piece.payload.len() % 8, 0);
        }
    }
    Packet { payload: payload[..end].iter().map(|octet| octet.unwrap()).collect(), ..whole }
}

#[test]
fn ipv4_that_may_be_fragmented_goes_in_pieces_that_a_host_puts_together() {
    for tunnel in kinds() {
        let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
        for octets in [largest(&tunnel) + 1, 1500] {
            let packet = v4(octets, 0);
            let (opened, told) = through(&tunnel, &mut gateway, &packet);
            assert_eq!((opened.len(), told.len()), (2, 0));
            assert!(opened.iter().all(|piece| piece.emit().len() <= largest(&tunnel)));
            assert_eq!(reassembled(&opened), packet.after_hops(1));
        }
        gateway.no_drops();
    }
}

#[test]
fn an_interface_with_an_mtu_of_its_own_is_kept_to_it() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway =
        Plan::new(Side::A).with(|topology| topology.interfaces[0].mtu = Some(1280)).start(&[&tunnel]);
    let (opened, _) = through(&tunnel, &mut gateway, &v4(1280, DF));
    assert_eq!(opened.len(), 1);
    let (opened, told) = through(&tunnel, &mut gateway, &v4(1281, DF));
    assert_eq!((opened.len(), told[0].payload[4..8].to_vec()), (0, 1280_u32.to_be_bytes().to_vec()));
}

#[test]
fn what_comes_out_of_a_tunnel_and_is_too_long_for_the_port_is_told_through_the_tunnel() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).with(|topology| topology.ports[0].mtu = 1000).start(&[&tunnel]);
    let long = Packet { flags: DF, ..Packet::udp_of("10.2.0.9", "10.1.0.9", 1001) };
    gateway.peer_sends(&tunnel.peer(Side::B).seal(1, &long));
    gateway.poll();
    assert_eq!(gateway.to_hosts(LAN), []);
    let sent = gateway.to_peer();
    let (_, icmp) = tunnel.peer(Side::A).open(0, &sent[0]);
    assert_eq!((icmp.dst.to_string(), &icmp.payload[..2]), ("10.2.0.9".into(), &[3, 4][..]));
    assert_eq!(icmp.payload[4..8], 1000_u32.to_be_bytes());
    gateway.only_drops(DropReason::MtuExceeded, 1);
    let pieces = Packet { flags: 0, ..long };
    gateway.peer_sends(&tunnel.peer(Side::B).seal(2, &pieces));
    gateway.poll();
    assert_eq!(reassembled(&gateway.to_hosts(LAN)), pieces.after_hops(1));
}

#[test]
fn clear_packets_between_ports_meet_the_mtu_of_the_port() {
    let mut gateway = Plan::new(Side::A)
        .with(|topology| {
            topology.unprotected = Unprotected::Forward;
            topology.ports[usize::from(WAN)].mtu = 1000;
            topology.neighbors.push(neighbor(WAN, "192.0.2.77", HOST));
        })
        .start(&[]);
    let whole = Packet::udp_of("10.1.0.9", "192.0.2.77", 1400);
    gateway.host_sends(LAN, &whole);
    gateway.poll();
    assert_eq!(reassembled(&gateway.to_hosts(WAN)), whole.clone().after_hops(1));
    gateway.host_sends(LAN, &Packet { flags: DF, ..whole });
    gateway.poll();
    assert_eq!(gateway.to_hosts(LAN)[0].payload[4..8], 1000_u32.to_be_bytes());
}

#[test]
fn what_the_kernel_sends_into_a_tunnel_too_long_is_told_by_its_device() {
    let tunnel = Tunnel::new(1, 0);
    let mut gateway = Plan::new(Side::A).policy_based().start(&[&tunnel]);
    let long = Packet { flags: DF, ..Packet::udp_of("10.1.0.1", "10.2.0.9", 1500) };
    gateway.kernel_sends_by_wan(&long, mac(Side::B, WAN));
    gateway.poll();
    let punted = gateway.punted();
    assert_eq!(punted.len(), 1, "{:?}", gateway.drops());
    // The error is for an address of the LAN port, where the kernel has it.
    assert_eq!(punted[0].0, HostDevice::Port(PortId(LAN)));
    let icmp = Packet::of_frame(&punted[0].2);
    assert_eq!(icmp.payload[..2], [3, 4]);
    gateway.only_drops(DropReason::MtuExceeded, 1);
}

#[test]
fn a_packet_whose_ttl_runs_out_is_answered_by_time_exceeded() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    for ttl in [0, 1] {
        let (opened, told) = through(&tunnel, &mut gateway, &Packet { ttl, ..v4(100, 0) });
        assert_eq!((opened.len(), &told[0].payload[..2]), (0, &[11, 0][..]));
        let (opened, told) = through(&tunnel, &mut gateway, &Packet { ttl, ..v6(100) });
        assert_eq!((opened.len(), &told[0].payload[..2]), (0, &[3, 0][..]));
    }
    gateway.only_drops(DropReason::TtlExpired, 4);
}

#[test]
fn no_error_is_about_an_error_a_later_fragment_or_a_group() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    let unreachable = Packet::icmp("10.1.0.9", "10.2.0.9", 3, 1, &[0; 40]);
    let unreachable6 = Packet::icmp("2001:db8:1::9", "2001:db8:2::9", 1, 0, &[0; 60]);
    for packet in [unreachable, unreachable6, v4(100, 100)] {
        let (opened, told) = through(&tunnel, &mut gateway, &Packet { ttl: 1, ..packet });
        assert_eq!((opened.len(), told.len()), (0, 0));
    }
    // Questions of ICMP are no errors.
    let echo = Packet::icmp("10.1.0.9", "10.2.0.9", 8, 0, &[0; 40]);
    assert_eq!(through(&tunnel, &mut gateway, &Packet { ttl: 1, ..echo }).1.len(), 1);
    gateway.only_drops(DropReason::TtlExpired, 4);
}

#[test]
fn errors_are_made_at_a_limited_rate() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    for _ in 0..1000 {
        gateway.host_sends(LAN, &Packet { ttl: 1, ..v4(100, 0) });
    }
    gateway.poll();
    let told = gateway.to_hosts(LAN).len();
    assert!((1..=200).contains(&told), "{told}");
}

/// A SYN that announces segments of `mss` octets.
fn syn(src: &str, dst: &str, mss: u16) -> Packet {
    let mut segment = vec![0, 80, 0, 81, 0, 0, 0, 1, 0, 0, 0, 0, 0x60, 2, 0xff, 0xff, 0, 0, 0, 0, 2, 4];
    segment.extend(mss.to_be_bytes());
    Packet::new(src, dst, 6, segment)
}

fn announced(packet: &Packet) -> u16 {
    u16::from_be_bytes([packet.payload[22], packet.payload[23]])
}

#[test]
fn connections_through_an_interface_announce_what_it_is_clamped_to_both_ways() {
    let tunnel = Tunnel::new(1, 1);
    let clamped = |clamp| {
        Plan::new(Side::A).with(|topology| topology.interfaces[0].mss_clamp = clamp).start(&[&tunnel])
    };
    for (clamp, announces, expected) in
        [(Some(1300), 1460, 1300), (Some(1300), 1200, 1200), (None, 1460, 1460)]
    {
        let mut gateway = clamped(clamp);
        for (src, dst) in [("10.1.0.9", "10.2.0.9"), ("2001:db8:1::9", "2001:db8:2::9")] {
            let (opened, _) = through(&tunnel, &mut gateway, &syn(src, dst, announces));
            assert_eq!(announced(&opened[0]), expected);
        }
        let back = syn("10.2.0.9", "10.1.0.9", announces);
        gateway.peer_sends(&tunnel.peer(Side::B).seal(1, &back));
        gateway.poll();
        assert_eq!(announced(&gateway.to_hosts(LAN)[0]), expected);
    }
}

#[test]
fn padding_against_traffic_analysis_fills_every_packet_up_and_is_taken_off_again() {
    for (tfc_pad, expected) in [(TfcPad::Off, 102), (TfcPad::Octets(600), 602), (TfcPad::Mtu, 1446)] {
        let tunnel = Tunnel { tfc_pad, ..Tunnel::new(1, 1) };
        let mut a = Plan::new(Side::A).start(&[&tunnel]);
        let mut b = Plan::new(Side::B).start(&[&tunnel]);
        let packet = v4(100, 0);
        a.host_sends(LAN, &packet);
        a.poll();
        let sent = a.to_peer();
        // Text is inner packet, padding and two octets of trailer, to a multiple of 4.
        let text = sent[0].emit().len() - 20 - 16 - 16;
        assert_eq!(text, usize::next_multiple_of(expected, 4).clamp(104, 1448), "{tfc_pad:?}");
        b.peer_sends(&sent[0]);
        b.poll();
        assert_eq!(b.to_hosts(LAN), [packet.after_hops(2)]);
    }
}

#[test]
fn ipv6_that_every_link_must_carry_crosses_a_shorter_one_in_pieces_outside() {
    for (outer, encap) in [(OUTER4, None), (OUTER6, None), (OUTER6, Some((4500, 4500)))] {
        let tunnel = Tunnel { outer, encap, ..Tunnel::new(1, 1) };
        let mut gateway = Plan::new(Side::A).with(|topology| topology.ports[1].mtu = 1280).start(&[&tunnel]);
        for (number, octets) in [(1, 1280), (2, 1279)] {
            gateway.host_sends(LAN, &v6(octets));
            gateway.poll();
            let pieces = gateway.to_peer();
            assert_eq!(pieces.len(), 2, "{:?}", gateway.drops());
            assert!(pieces.iter().all(|piece| piece.emit().len() <= 1280));
            let whole = if outer == OUTER4 { reassembled(&pieces) } else { reassembled6(&pieces) };
            assert_eq!(tunnel.peer(Side::A).open(0, &whole), (number, v6(octets).after_hops(1)));
        }
        gateway.no_drops();
        // What is longer is told what every link must carry.
        let (_, told) = through(&tunnel, &mut gateway, &v6(1281));
        assert_eq!(told[0].payload[4..8], 1280_u32.to_be_bytes());
    }
}

/// Puts the pieces of an IPv6 packet together, which come in order here.
fn reassembled6(pieces: &[Packet]) -> Packet {
    let mut whole = Packet { proto: pieces[0].payload[0], payload: Vec::new(), ..pieces[0].clone() };
    for (at, piece) in pieces.iter().enumerate() {
        assert_eq!((piece.proto, &piece.payload[4..8]), (44, &pieces[0].payload[4..8]));
        let word = u16::from_be_bytes([piece.payload[2], piece.payload[3]]);
        assert_eq!(usize::from(word & 0xfff8), whole.payload.len());
        assert_eq!(word & 1 == 0, at + 1 == pieces.len());
        whole.payload.extend(&piece.payload[8..]);
    }
    whole
}
