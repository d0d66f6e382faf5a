//! What is encapsulated and sealed opens and decapsulates to the same packet.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

mod common;

use common::{Toy, ends, inner, transport_sum_ok};
use esp::aead::{Aead, ICV_OCTETS, Job};
use esp::decap::{self, Arrived, Inner, Modes};
use esp::encap::{self, Df, Dscp, Outer, OuterConfig};
use esp::wire::ip::Ip;
use esp::wire::udp::UdpPorts;
use esp::wire::{Family, Proto, ipv4};
use esp::{DropReason, Spi, ecn};

const SPI: Spi = Spi(0xc001_d00d);
const SALT: [u8; 4] = [9, 8, 7, 6];
const KEY: u64 = 0x0123_4567_89ab_cdef;
const PORTS: UdpPorts = UdpPorts { src: 31337, dst: 4500 };

fn config(six: bool, udp: bool) -> OuterConfig {
    let (src, dst) = ends(six);
    let udp = udp.then_some(PORTS);
    OuterConfig { src, dst, udp, dscp: Dscp::Copy, ecn: ecn::Ingress::Copy, df: Df::Copy, ttl: 64 }
}

fn outer(six: bool, udp: bool) -> Outer {
    Outer::new(config(six, udp)).unwrap()
}

/// Builds a packet round `inner`, seals it, and lets `change` see the clear text before.
fn seal(
    outer: &Outer,
    inner: &[u8],
    seq: u64,
    esn: bool,
    pad_to: usize,
    change: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let layout = outer.layout(inner.len(), pad_to).unwrap();
    let mut packet = vec![0xee; layout.total_octets()];
    packet[layout.front_octets()..layout.front_octets() + inner.len()].copy_from_slice(inner);
    let (text, icv) = outer.encap(&mut packet, &layout, SPI, seq).unwrap();
    assert_eq!(text.len() % 4, 0);
    change(text);
    let nonce = encap::nonce(SALT, seq.to_be_bytes());
    Toy.seal(&mut [Job::new(&KEY, nonce, encap::aad(SPI, seq, esn), text, icv)]);
    outer.finish(&mut packet);
    packet
}

fn open(packet: &mut [u8], seq: u64, esn: bool, modes: Modes) -> Result<(Arrived, Inner), DropReason> {
    let arrived = decap::parse_outer(packet, 4500)?;
    assert_eq!((arrived.spi, u64::from(arrived.seq_lo)), (SPI, seq & 0xffff_ffff));
    assert_eq!(arrived.iv, seq.to_be_bytes());
    let (text, icv) = arrived.split(packet).unwrap();
    let nonce = encap::nonce(SALT, arrived.iv);
    let mut job = [Job::new(&KEY, nonce, encap::aad(SPI, seq, esn), text, icv)];
    Toy.open(&mut job);
    if !job[0].verified {
        return Err(DropReason::Integrity);
    }
    Ok((arrived, decap::finish(packet, &arrived, modes)?))
}

fn opened(packet: &mut [u8], seq: u64) -> Result<Inner, DropReason> {
    open(packet, seq, false, Modes::default()).map(|(_, inner)| inner)
}

#[test]
fn every_length_survives_every_kind_of_tunnel() {
    for (six_out, udp, six_in) in (0..8).map(|n| (n & 1 != 0, n & 2 != 0, n & 4 != 0)) {
        let outer = outer(six_out, udp);
        let shortest = if six_in { 40 } else { 20 };
        for octets in shortest..=1500 {
            let sent = inner(six_in, octets, 0xb8, false);
            let seq = 0x1_0000_0000 + octets as u64;
            let mut packet = seal(&outer, &sent, seq, true, 0, |_| {});
            let ip = Ip::parse(&packet).unwrap();
            assert_eq!(ip.total_octets(), packet.len());
            assert!(ip.checksum_ok());
            assert!(!(six_out && udp) || transport_sum_ok(&packet, Proto::UDP));
            let (arrived, got) = open(&mut packet, seq, true, Modes::default()).unwrap();
            assert_eq!((arrived.ends.src(), arrived.ends.dst()), ends(six_out));
            assert_eq!(arrived.udp, udp.then_some(PORTS));
            assert_eq!(got.family, if six_in { Family::V6 } else { Family::V4 });
            assert_eq!(packet[got.at..got.at + got.octets], sent);
        }
    }
}

#[test]
fn the_largest_inner_packet_fits_and_one_octet_more_does_not() {
    for (six, udp) in [(false, false), (false, true), (true, false), (true, true)] {
        let outer = outer(six, udp);
        for mtu in 576..=1600 {
            let largest = usize::from(outer.inner_mtu(mtu));
            let total = |octets| outer.layout(octets, 0).unwrap().total_octets();
            assert!(
                total(largest) <= usize::from(mtu) && total(largest + 1) > usize::from(mtu),
                "{six} {udp} {mtu}"
            );
        }
    }
}

#[test]
fn the_sixteen_combinations_of_congestion_marks_end_as_rfc_6040_says() {
    // Inner Not-ECT, ECT(1), ECT(0), CE by outer Not-ECT, ECT(1), ECT(0), CE.
    let figure: [[Option<u8>; 4]; 4] = [
        [Some(0), Some(0), Some(0), None],
        [Some(1), Some(1), Some(1), Some(3)],
        [Some(2), Some(1), Some(2), Some(3)],
        [Some(3), Some(3), Some(3), Some(3)],
    ];
    for (six_out, six_in) in [(false, false), (false, true), (true, false), (true, true)] {
        for (inner_ecn, row) in (0u8..).zip(figure) {
            for (outer_ecn, want) in (0u8..).zip(row) {
                let mut packet = seal(
                    &outer(six_out, false),
                    &inner(six_in, 60, 0xb8 | inner_ecn, false),
                    5,
                    false,
                    0,
                    |_| {},
                );
                esp::wire::ip::set_tos(&mut packet, 0xb8 | outer_ecn);
                let got = opened(&mut packet, 5);
                let tos = got.map(|got| {
                    let ip = Ip::parse(&packet[got.at..]).unwrap();
                    assert!(ip.checksum_ok());
                    ip.tos()
                });
                assert_eq!(tos, want.map(|ecn| 0xb8 | ecn).ok_or(DropReason::Ecn), "{inner_ecn} {outer_ecn}");
            }
        }
    }
}

#[test]
fn without_ecn_mode_the_inner_field_stays() {
    let mut packet = seal(&outer(false, false), &inner(false, 60, 0, false), 5, false, 0, |_| {});
    esp::wire::ip::set_tos(&mut packet, 3);
    let (_, got) = open(&mut packet, 5, false, Modes { ecn: false, dscp: false }).unwrap();
    assert_eq!(Ip::parse(&packet[got.at..]).unwrap().tos(), 0);
}

#[test]
fn dscp_goes_outward_by_default_and_inward_only_when_asked() {
    for six in [false, true] {
        let packet = seal(&outer(six, false), &inner(six, 60, 0xb8, false), 5, false, 0, |_| {});
        assert_eq!(Ip::parse(&packet).unwrap().tos(), 0xb8);
        for (dscp, want) in [(false, 0xb8), (true, 0x28)] {
            let mut packet = packet.clone();
            esp::wire::ip::set_tos(&mut packet, 0x28);
            let (_, got) = open(&mut packet, 5, false, Modes { ecn: true, dscp }).unwrap();
            assert_eq!(Ip::parse(&packet[got.at..]).unwrap().tos(), want);
        }
    }
}

#[test]
fn fixed_dscp_and_compatibility_mode_hide_the_inner_octet() {
    let outer =
        Outer::new(OuterConfig { dscp: Dscp::Fixed(10), ecn: ecn::Ingress::NotEct, ..config(false, false) });
    let packet = seal(&outer.unwrap(), &inner(false, 60, 0xbb, false), 5, false, 0, |_| {});
    assert_eq!(Ip::parse(&packet).unwrap().tos(), 40);
}

#[test]
fn the_three_modes_of_dont_fragment_do_what_they_say() {
    for (df, six_in, inner_df, want) in [
        (Df::Copy, false, true, true),
        (Df::Copy, false, false, false),
        (Df::Copy, true, false, true),
        (Df::Set, false, false, true),
        (Df::Clear, false, true, false),
        (Df::Clear, true, true, false),
    ] {
        let outer = Outer::new(OuterConfig { df, ..config(false, true) }).unwrap();
        let packet = seal(&outer, &inner(six_in, 60, 0, inner_df), 5, false, 0, |_| {});
        let ip = ipv4::Ipv4::parse(&packet).unwrap();
        assert_eq!(ip.dont_fragment(), want);
        assert!(ip.checksum_ok() && !ip.is_fragment());
    }
}

#[test]
fn a_flow_label_and_options_stay_inside() {
    let packet = seal(&outer(true, false), &inner(true, 60, 0, false), 5, false, 0, |_| {});
    assert_eq!(packet[..4], [0x60, 0, 0, 0]);
}

#[test]
fn udp_over_ipv4_has_no_checksum() {
    let packet = seal(&outer(false, true), &inner(false, 60, 0, false), 5, false, 0, |_| {});
    assert_eq!(packet[26..28], [0, 0]);
    assert_eq!(packet[20..24], [0x7a, 0x69, 0x11, 0x94]);
}

#[test]
fn traffic_flow_padding_is_sent_and_stripped() {
    let sent = inner(false, 61, 0, false);
    let mut packet = seal(&outer(false, false), &sent, 5, false, 500, |_| {});
    assert!(packet.len() > 500);
    let got = opened(&mut packet, 5).unwrap();
    assert_eq!(packet[got.at..got.at + got.octets], sent);
}

#[test]
fn padding_that_does_not_count_up_is_dropped() {
    for octets in [60, 61, 63] {
        let sent = inner(false, octets, 0, false);
        let spoil = |text: &mut [u8]| text[octets] ^= 0x10;
        let mut packet = seal(&outer(false, false), &sent, 5, false, 0, spoil);
        assert_eq!(opened(&mut packet, 5), Err(DropReason::BadPadding), "{octets}");
    }
}

#[test]
fn padding_longer_than_the_packet_is_dropped() {
    let spoil = |text: &mut [u8]| text[text.len() - 2] = 250;
    let mut packet = seal(&outer(false, false), &inner(false, 60, 0, false), 5, false, 0, spoil);
    assert_eq!(opened(&mut packet, 5), Err(DropReason::BadPadding));
}

#[test]
fn next_header_59_is_a_dummy_and_another_no_tunnel() {
    for (next, want) in [(59, DropReason::Dummy), (17, DropReason::NotTunnel), (41, DropReason::BadInner)] {
        let spoil = |text: &mut [u8]| text[text.len() - 1] = next;
        let mut packet = seal(&outer(false, false), &inner(false, 60, 0, false), 5, false, 0, spoil);
        assert_eq!(opened(&mut packet, 5), Err(want));
    }
}

#[test]
fn an_inner_header_longer_than_what_came_or_wrongly_summed_is_bad() {
    for (at, value) in [(3, 200), (0, 0x43), (8, 1)] {
        let spoil = |text: &mut [u8]| text[at] = value;
        let mut packet = seal(&outer(false, false), &inner(false, 60, 0, false), 5, false, 0, spoil);
        assert_eq!(opened(&mut packet, 5), Err(DropReason::BadInner));
    }
}

#[test]
fn a_changed_octet_anywhere_in_esp_fails_the_icv() {
    let whole = seal(&outer(false, false), &inner(false, 60, 0, false), 5, false, 0, |_| {});
    for at in 36..whole.len() {
        let mut packet = whole.clone();
        packet[at] ^= 1;
        assert_eq!(opened(&mut packet, 5), Err(DropReason::Integrity), "{at}");
    }
}

#[test]
fn the_high_half_is_authenticated_with_esn_only() {
    let seq = (7 << 32) + 5;
    let whole = seal(&outer(false, false), &inner(false, 60, 0, false), seq, true, 0, |_| {});
    let arrived = decap::parse_outer(&whole, 4500).unwrap();
    for (hi, esn, good) in [(7u64, true, true), (8, true, false), (7, false, false)] {
        let mut packet = whole.clone();
        let (text, icv) = arrived.split(&mut packet).unwrap();
        let aad = encap::aad(SPI, hi << 32 | 5, esn);
        let mut job = [Job::new(&KEY, encap::nonce(SALT, arrived.iv), aad, text, icv)];
        Toy.open(&mut job);
        assert_eq!(job[0].verified, good);
    }
}

#[test]
fn esp_that_is_still_a_fragment_is_dropped() {
    let whole = seal(&outer(false, false), &inner(false, 60, 0, false), 5, false, 0, |_| {});
    for word in [[0x20, 0], [0, 3]] {
        let mut packet = whole.clone();
        packet[6..8].copy_from_slice(&word);
        assert_eq!(decap::parse_outer(&packet, 4500), Err(DropReason::EspFragment));
    }
}

#[test]
fn ike_keepalives_and_other_traffic_are_told_from_esp() {
    let outer = outer(false, true);
    let packet = seal(&outer, &inner(false, 60, 0, false), 5, false, 0, |_| {});
    let classify = |packet: &[u8], port| decap::classify(&Ip::parse(packet).unwrap(), port);
    assert!(matches!(classify(&packet, 4500), Ok(decap::Arrival::Esp(_))));
    assert_eq!(classify(&packet, 4501), Ok(decap::Arrival::Other));
    let mut ike = packet.clone();
    ike[28..32].fill(0);
    assert_eq!(classify(&ike, 4500), Ok(decap::Arrival::Ike));
    let mut keepalive = packet[..29].to_vec();
    keepalive[2..4].copy_from_slice(&[0, 29]);
    keepalive[24..26].copy_from_slice(&[0, 9]);
    keepalive[28] = 0xff;
    assert_eq!(classify(&keepalive, 4500), Err(DropReason::Keepalive));
}

#[test]
fn a_cut_esp_packet_is_malformed() {
    let mut packet = seal(&outer(false, false), &inner(false, 20, 0, false), 5, false, 0, |_| {});
    packet.truncate(20 + 8 + 8 + 3 + ICV_OCTETS);
    packet[2..4].copy_from_slice(&55u16.to_be_bytes());
    assert_eq!(decap::parse_outer(&packet, 4500), Err(DropReason::MalformedEsp));
}

#[test]
fn what_ip_cannot_carry_is_too_long() {
    assert_eq!(outer(false, false).layout(65_479, 0), Err(DropReason::TooLong));
    assert_eq!(outer(false, false).layout(100, 70_000), Err(DropReason::TooLong));
    let layout = outer(false, false).layout(65_478, 0).unwrap();
    assert!(layout.total_octets() <= 65_535);
    assert_eq!(outer(false, false).encap(&mut [0x45; 100], &layout, SPI, 1), Err(DropReason::NoHeadroom));
}

#[test]
fn an_outer_header_of_two_families_is_refused() {
    let (src, dst) = (ends(false).0, ends(true).1);
    assert!(Outer::new(OuterConfig { src, dst, ..config(false, false) }).is_none());
}
