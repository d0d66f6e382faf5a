//! What several test files need: packets of both families, and an AEAD that is easy to see through.
#![allow(clippy::unwrap_used, reason = "a test panics where it fails")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::IpAddr;

use esp::aead::{Aead, Job};
use esp::wire::{Proto, checksum, ipv4, ipv6};

/// Exclusive-or with a stream of key, nonce and place; the ICV is a sum over all that is authenticated.
pub(crate) struct Toy;

fn mix(state: u64, octet: u8) -> u64 {
    (state ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
}

fn stream(job: &Job<'_, u64>, at: usize) -> u8 {
    let state = job.nonce.iter().fold(*job.key, |state, octet| mix(state, *octet));
    mix(state, at.to_le_bytes()[0]).wrapping_add(at as u64).to_le_bytes()[3]
}

fn icv(job: &Job<'_, u64>) -> [u8; 16] {
    let all = job.nonce.iter().chain(job.aad.as_slice()).chain(job.text.iter());
    let sum = all.fold(!*job.key, |state, octet| mix(state, *octet));
    let mut icv = [0; 16];
    icv[..8].copy_from_slice(&sum.to_be_bytes());
    icv[8..].copy_from_slice(&sum.wrapping_mul(3).to_be_bytes());
    icv
}

impl Aead for Toy {
    type Key = u64;

    fn seal(&mut self, jobs: &mut [Job<'_, u64>]) {
        for job in jobs {
            for at in 0..job.text.len() {
                job.text[at] ^= stream(job, at);
            }
            *job.icv = icv(job);
        }
    }

    fn open(&mut self, jobs: &mut [Job<'_, u64>]) {
        for job in jobs {
            job.verified = *job.icv == icv(job);
            for at in 0..job.text.len() {
                job.text[at] ^= stream(job, at);
            }
        }
    }
}

/// A UDP packet of this length with DSCP and ECN `tos`.
pub(crate) fn inner(six: bool, octets: usize, tos: u8, dont_fragment: bool) -> Vec<u8> {
    let mut packet = if six {
        let repr = ipv6::Repr {
            src: "2001:db8:1::1".parse().unwrap(),
            dst: "2001:db8:2::1".parse().unwrap(),
            next: Proto::UDP,
            traffic_class: tos,
            flow_label: 0x54321,
            hop_limit: 64,
            payload_octets: u16::try_from(octets - 40).unwrap(),
        };
        repr.emit().to_vec()
    } else {
        let repr = ipv4::Repr {
            src: [10, 1, 0, 1].into(),
            dst: [10, 2, 0, 1].into(),
            proto: Proto::UDP,
            tos,
            ttl: 64,
            ident: 7,
            dont_fragment,
            total_octets: u16::try_from(octets).unwrap(),
        };
        repr.emit().to_vec()
    };
    packet.extend((packet.len()..octets).map(|at| at.to_le_bytes()[0].wrapping_mul(31)));
    packet
}

/// Outer addresses of a family, this gateway's first.
pub(crate) fn ends(six: bool) -> (IpAddr, IpAddr) {
    let [a, b] = if six { ["2001:db8::1", "2001:db8::2"] } else { ["192.0.2.1", "192.0.2.2"] };
    (a.parse().unwrap(), b.parse().unwrap())
}

/// Whether the sum over a UDP datagram or ICMPv6 message and its pseudo header is right.
pub(crate) fn transport_sum_ok(packet: &[u8], proto: Proto) -> bool {
    let ip = ipv6::Ipv6::parse(packet).unwrap();
    let octets = u32::try_from(ip.payload().len()).unwrap();
    let pseudo = checksum::pseudo_header(&ip.src().into(), &ip.dst().into(), proto, octets);
    checksum::fold(checksum::sum(ip.payload(), pseudo)) == 0xffff
}
