//! No octets from outside make anything here panic, and what is written is never longer than its place.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]

mod common;

use std::net::IpAddr;

use common::{ends, inner};
use esp::decap::{self, Modes};
use esp::encap::{Df, Dscp, Outer, OuterConfig};
use esp::wire::ip::{self, Ip};
use esp::wire::{FlowKey, arp, eth, icmp, nd};
use esp::{Spi, ecn, fragment, mtu};
use proptest::prelude::*;

/// Everything that is done to a packet that came from anywhere.
fn walk(frame: &[u8]) {
    let _ = eth::Frame::parse(frame).map(|frame| arp::Arp::parse(frame.payload()));
    let _ = FlowKey::parse(frame);
    let _ = FlowKey::quoted(frame);
    let mut packet = frame.to_vec();
    let _ = ip::decrement_ttl(&mut packet);
    ip::set_tos(&mut packet, 0xff);
    let _ = icmp::echo_reply(&mut packet.clone(), 64);
    let first_look = decap::Arrived::at_first_look(frame, 4500);
    let Ok(ip) = Ip::parse(frame) else {
        assert_eq!(first_look, None);
        return;
    };
    if let Some((arrived, octets)) = first_look {
        assert!(ip.checksum_ok());
        assert_eq!(octets, ip.total_octets());
        assert_eq!(decap::classify(&ip, 4500), Ok(decap::Arrival::Esp(arrived)));
    }
    let _ = (icmp::Icmp::of(&ip), mtu::fit(&ip, 576), ip.checksum_ok());
    for src in [ends(false).0, ends(true).0] {
        let mut out = [0; esp::icmp::MAX_ERROR_OCTETS];
        let _ = esp::icmp::error(esp::icmp::Error::TimeExceeded, frame, src, 64, &mut out);
    }
    fragmented(&ip);
    if let Ok(decap::Arrival::Esp(arrived)) = decap::classify(&ip, 4500) {
        let (text, _) = arrived.split(&mut packet).unwrap();
        assert!(text.len() >= 4);
        if let Ok(got) = decap::finish(&mut packet, &arrived, Modes::default()) {
            assert!(got.at + got.octets + 18 <= packet.len());
        }
    }
}

fn fragmented(ip: &Ip<'_>) {
    let mut out = [0; 576];
    match ip {
        Ip::V4(ip) => {
            for piece in fragment::pieces(ip, 576).into_iter().flatten() {
                let _ = fragment::emit(ip, &piece, &mut out);
            }
        }
        Ip::V6(ip) => {
            let _ = nd::Nd::parse(ip);
            for piece in fragment::pieces6(ip, 576).into_iter().flatten() {
                fragment::emit6(ip, &piece, 1, &mut out).unwrap();
            }
        }
    }
}

/// Octets that look like a packet for a while: right version, right lengths, a protocol with a parser.
fn nearly_packets() -> impl Strategy<Value = Vec<u8>> {
    let protos = prop::sample::select(vec![0u8, 1, 4, 6, 17, 41, 43, 44, 50, 51, 58, 59, 60]);
    (
        prop::collection::vec(any::<u8>(), 40..700),
        any::<bool>(),
        protos,
        5u8..16,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(mut octets, six, proto, ihl, whole, nat_t)| {
            let total = u16::try_from(octets.len()).unwrap();
            if six {
                octets[0] = 0x60;
                octets[4..6].copy_from_slice(&(total - 40).to_be_bytes());
                octets[6] = proto;
            } else {
                octets[0] = 0x40 | if whole { 5 } else { ihl };
                octets[2..4].copy_from_slice(&total.to_be_bytes());
                octets[9] = proto;
                if whole {
                    octets[6..8].fill(0);
                }
            }
            let at = if six { 40 } else { 20 };
            if nat_t && octets.len() > at + 8 {
                octets[at + 2..at + 4].copy_from_slice(&4500u16.to_be_bytes());
                let length = total - u16::try_from(at).unwrap();
                octets[at + 4..at + 6].copy_from_slice(&length.to_be_bytes());
            }
            octets
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn arbitrary_octets_are_walked(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        walk(&octets);
    }

    #[test]
    fn nearly_right_packets_are_walked(octets in nearly_packets()) {
        walk(&octets);
    }

    #[test]
    fn a_changed_packet_is_walked(
        six: bool, octets in 60usize..600, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut packet = inner(six, octets, 1, false);
        for (at, value) in changes {
            let at = at.index(packet.len().min(80));
            packet[at] = value;
        }
        walk(&packet);
    }

    #[test]
    fn arbitrary_clear_text_is_stripped(clear in prop::collection::vec(any::<u8>(), 2..120), next in prop::sample::select(vec![4u8, 41, 59, 0]), pad in 0u8..12) {
        let (src, dst) = ends(false);
        let outer = Outer::new(config(src, dst)).unwrap();
        let sent = inner(false, clear.len().max(20), 0, false);
        let layout = outer.layout(sent.len(), 0).unwrap();
        let mut packet = vec![0; layout.total_octets()];
        packet[layout.front_octets()..layout.front_octets() + sent.len()].copy_from_slice(&sent);
        outer.encap(&mut packet, &layout, Spi(256), 1).unwrap();
        let arrived = decap::parse_outer(&packet, 4500).unwrap();
        let (text, _) = arrived.split(&mut packet).unwrap();
        let octets = clear.len().min(text.len() - 2);
        text[..octets].copy_from_slice(&clear[..octets]);
        text[0] = if next == 41 { 0x60 } else { 0x45 };
        let end = text.len();
        text[end - 2..].copy_from_slice(&[pad, next]);
        let _ = decap::finish(&mut packet, &arrived, Modes { ecn: true, dscp: true });
    }
}

fn config(src: IpAddr, dst: IpAddr) -> OuterConfig {
    OuterConfig { src, dst, udp: None, dscp: Dscp::Copy, ecn: ecn::Ingress::Copy, df: Df::Copy, ttl: 64 }
}
