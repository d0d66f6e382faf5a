//! The first look at a plain packet: UDP or TCP right behind an IP header without options, extensions or fragmentation.
//!
//! A few comparisons tell such a packet and name its flow in words that are compared at once. Whatever is not plain, and
//! whatever is odd in any way, is left to the whole parsers.

use core::net::IpAddr;
use core::num::NonZeroU16;

use super::flow::FlowKey;
use super::ip::{Family, Proto};
use super::{checksum, ipv4, ipv6};

/// A flow and where it enters, exactly: equal ids are the same flow by the same entry.
///
/// IPv4 addresses stand in the first word, IPv6 addresses in four; the last has protocol, ports and entry. Octets within
/// the words are in the order of the packet, so an id means nothing outside of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId([u64; 5]);

/// Bits of an entry.
pub const ENTRY_BITS: u32 = 23;
const ENTRY_AT: u32 = 40;
const PROTO_AT: u32 = 32;
const IPV6: u64 = 1 << 63;

impl FlowId {
    /// Returns the words.
    #[must_use]
    #[inline]
    pub const fn words(&self) -> &[u64; 5] {
        &self.0
    }

    /// Whether these are its words; without a branch for each, and without a call.
    #[must_use]
    #[inline]
    pub const fn is(&self, words: &[u64; 5]) -> bool {
        let ([a, b, c, d, e], [f, g, h, i, j]) = (self.0, *words);
        (a ^ f) | (b ^ g) | (c ^ h) | (d ^ i) | (e ^ j) == 0
    }

    #[inline]
    const fn new(words: [u64; 4], family: u64, proto: u8, ports: [u8; 4], entry: u32) -> Self {
        let [a, b, c, d] = words;
        let entry = (entry as u64 & ((1 << ENTRY_BITS) - 1)) << ENTRY_AT;
        Self([a, b, c, d, family | entry | (proto as u64) << PROTO_AT | u32::from_ne_bytes(ports) as u64])
    }

    /// Returns the id that a plain packet with this key has; `None` when no plain packet can have the key.
    /// `entry` has [`ENTRY_BITS`].
    #[must_use]
    pub fn of_key(key: &FlowKey, entry: u32) -> Option<Self> {
        if key.fragment || !matches!(key.proto, Proto::UDP | Proto::TCP) {
            return None;
        }
        let ([a, b], [c, d]) = (key.sport.to_be_bytes(), key.dport.to_be_bytes());
        let (words, family) = match (key.src, key.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let ([e, f, g, h], [i, j, k, l]) = (src.octets(), dst.octets());
                ([u64::from_ne_bytes([e, f, g, h, i, j, k, l]), 0, 0, 0], 0)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut octets = [0; 32];
                octets.get_mut(..16)?.copy_from_slice(&src.octets());
                octets.get_mut(16..)?.copy_from_slice(&dst.octets());
                (words6(&octets), IPV6)
            }
            _ => return None,
        };
        Some(Self::new(words, family, key.proto.get(), [a, b, c, d], entry))
    }

    /// Returns source and destination as numbers.
    #[must_use]
    #[inline]
    pub const fn address_bits(&self) -> (u128, u128) {
        let [a, b, c, d, rest] = self.0;
        // Octets are in the order of the packet, which is that of a number in network order.
        let (a, b, c, d) = (a.to_be(), b.to_be(), c.to_be(), d.to_be());
        if rest & IPV6 == 0 {
            return ((a >> 32) as u128, (a & 0xffff_ffff) as u128);
        }
        ((a as u128) << 64 | b as u128, (c as u128) << 64 | d as u128)
    }

    /// Mixes the id and a seed into a number whose low bits are as good as its high ones.
    #[must_use]
    #[inline]
    pub const fn hash(&self, seed: u64) -> u64 {
        let [a, b, c, d, rest] = self.0;
        let mixed = mix(a ^ seed, rest ^ ODD);
        if rest & IPV6 == 0 { mixed } else { mix(mixed ^ b, seed ^ c) ^ mix(mixed ^ d, ODD ^ seed) }
    }

    /// Returns what [`ends`] returns for the packets of this flow.
    #[must_use]
    #[inline]
    pub const fn ends(&self) -> u64 {
        let [a, b, c, d, _] = self.0;
        a ^ b ^ c ^ d
    }
}

/// Returns a number that all packets between the same two addresses share, whatever else they are; `None` without a
/// whole IP header.
#[must_use]
#[inline]
pub fn ends(packet: &[u8]) -> Option<u64> {
    match Family::of_packet(packet)? {
        Family::V4 => Some(u64::from_ne_bytes(*packet.get(12..ipv4::HEADER_OCTETS)?.first_chunk()?)),
        Family::V6 => {
            let [a, b, c, d] = words6(packet.get(8..ipv6::HEADER_OCTETS)?.first_chunk()?);
            Some(a ^ b ^ c ^ d)
        }
    }
}

/// A plain packet that may be forwarded: its header is right and its TTL is more than 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// Its flow, with the entry it was looked at for.
    pub id: FlowId,
    /// Its length by its header. Units: octets, IP header included.
    pub octets: NonZeroU16,
}

impl Plain {
    /// Looks at a packet from its IP header on; octets behind its length are not part of it. A TCP packet that opens a
    /// connection is not plain: its options may have to change.
    #[must_use]
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "returned by copy it stalls a core")]
    pub fn of(packet: &[u8], entry: u32) -> Option<Self> {
        let head = packet.first_chunk::<HEAD_OCTETS>()?;
        let [first, ..] = *head;
        match first {
            0x45 => Self::of_v4(packet, head, entry),
            0x60..=0x6f => Self::of_v6(packet, entry),
            _ => None,
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as above")]
    fn of_v4(packet: &[u8], head: &[u8; HEAD_OCTETS], entry: u32) -> Option<Self> {
        let ([version, fragment, ttl, src, dst, ports, _], _) = head.as_chunks::<4>() else { return None };
        let (version, fragment) = (u32::from_be_bytes(*version), u32::from_be_bytes(*fragment));
        let [ttl, proto, _, _] = *ttl;
        let ([s0, s1, s2, s3], [d0, d1, d2, d3]) = (*src, *dst);
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the total length is the low half of the first word"
        )]
        let octets = version as u16;
        let whole = fragment & u32::from(!ipv4::DONT_FRAGMENT) == 0;
        let upper = packet.get(ipv4::HEADER_OCTETS..usize::from(octets))?;
        let header = head.first_chunk()?;
        if !has_plain_ports(proto, upper) || !whole || ttl <= 1 || !checksum::is_right(header) {
            return None;
        }
        let addresses = u64::from_ne_bytes([s0, s1, s2, s3, d0, d1, d2, d3]);
        let octets = NonZeroU16::new(octets)?;
        Some(Self { id: FlowId::new([addresses, 0, 0, 0], 0, proto, *ports, entry), octets })
    }

    /// Returns the family of its addresses.
    #[must_use]
    #[inline]
    pub const fn family(&self) -> Family {
        let [.., rest] = self.id.0;
        if rest & IPV6 == 0 { Family::V4 } else { Family::V6 }
    }

    /// Takes one from the TTL or hop limit of the packet that this was found of.
    #[inline]
    pub fn pass(&self, packet: &mut [u8]) {
        // That one is left was seen at the first look.
        let _ = match self.family() {
            Family::V4 => ipv4::decrement_ttl(packet),
            Family::V6 => ipv6::decrement_hop_limit(packet),
        };
    }

    #[inline]
    fn of_v6(packet: &[u8], entry: u32) -> Option<Self> {
        let (header, _) = packet.split_first_chunk::<{ ipv6::HEADER_OCTETS }>()?;
        let [_, _, _, _, l0, l1, proto, hop_limit, addresses @ ..] = header;
        let octets = NonZeroU16::new(u16::from_be_bytes([*l0, *l1]).checked_add(HEADER6_OCTETS)?)?;
        let upper = packet.get(ipv6::HEADER_OCTETS..usize::from(octets.get()))?;
        let ports = *upper.first_chunk()?;
        if *hop_limit <= 1 || !has_plain_ports(*proto, upper) {
            return None;
        }
        Some(Self { id: FlowId::new(words6(addresses), IPV6, *proto, ports, entry), octets })
    }
}

const HEADER6_OCTETS: u16 = 40;
const _: () = assert!(HEADER6_OCTETS as usize == ipv6::HEADER_OCTETS);

/// Shortest plain packet: IPv4 and UDP. Units: octets.
const HEAD_OCTETS: usize = ipv4::HEADER_OCTETS + super::udp::HEADER_OCTETS;

#[inline]
fn has_plain_ports(proto: u8, upper: &[u8]) -> bool {
    match Proto(proto) {
        Proto::UDP => upper.len() >= super::udp::HEADER_OCTETS,
        Proto::TCP => {
            matches!(upper, [_, _, _, _, _, _, _, _, _, _, _, _, _, flags, _, _, _, _, _, _, ..] if flags & SYN == 0)
        }
        _ => false,
    }
}

const SYN: u8 = 2;

#[inline]
fn words6(octets: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    let (chunks, _) = octets.as_chunks::<8>();
    for (word, chunk) in words.iter_mut().zip(chunks) {
        *word = u64::from_ne_bytes(*chunk);
    }
    words
}

/// Multiplies and folds the halves, so that each bit of the result depends on every bit of both.
#[must_use]
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the halves of a product are what is wanted")]
pub const fn mix(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ip::{Ip, decrement_ttl};
    use proptest::prelude::*;

    fn udp4() -> Vec<u8> {
        let repr = ipv4::Repr {
            src: [10, 1, 0, 1].into(),
            dst: [10, 2, 0, 1].into(),
            proto: Proto::UDP,
            tos: 0,
            ttl: 64,
            ident: 1,
            dont_fragment: true,
            total_octets: 32,
        };
        [&repr.emit()[..], &[0x10, 0, 0x20, 0, 0, 12, 0, 0, 1, 2, 3, 4]].concat()
    }

    fn tcp6(flags: u8) -> Vec<u8> {
        let repr = ipv6::Repr {
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8::2".parse().unwrap(),
            next: Proto::TCP,
            traffic_class: 0,
            flow_label: 7,
            hop_limit: 64,
            payload_octets: 20,
        };
        let mut segment = [0; 20];
        (segment[0], segment[2], segment[12], segment[13]) = (1, 2, 0x50, flags);
        [&repr.emit()[..], &segment].concat()
    }

    /// What a plain packet is by the whole parsers.
    fn by_the_parsers(packet: &[u8], plain: &Plain, entry: u32) {
        let ip = Ip::parse(packet).unwrap();
        let key = FlowKey::of(&ip).unwrap();
        assert!(ip.checksum_ok());
        assert_eq!(usize::from(plain.octets.get()), ip.total_octets());
        assert_eq!(FlowId::of_key(&key, entry), Some(plain.id));
        assert_eq!(ends(packet), Some(plain.id.ends()));
        let bits = |address| match address {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits(),
        };
        assert_eq!(plain.id.address_bits(), (bits(key.src), bits(key.dst)));
        let (mut passed, mut expected) = (packet.to_vec(), packet.to_vec());
        assert_eq!(decrement_ttl(&mut expected), Ok(()));
        plain.pass(&mut passed);
        assert_eq!(passed, expected);
    }

    #[test]
    fn udp_and_tcp_are_plain_in_both_families() {
        for packet in [udp4(), tcp6(0x10)] {
            by_the_parsers(&packet, &Plain::of(&packet, 3).unwrap(), 3);
        }
    }

    #[test]
    fn what_opens_a_connection_is_cut_up_spent_wrong_or_has_options_is_not_plain() {
        assert_eq!(Plain::of(&tcp6(SYN), 0), None);
        for (at, value) in
            [(0, 0x46), (0, 0x44), (6, 0x20), (7, 1), (8, 1), (8, 0), (9, 1), (3, 27), (3, 33), (10, 0)]
        {
            let mut packet = udp4();
            packet[at] = value;
            if at != 10 {
                // Only one thing is wrong with each.
                packet[10..12].fill(0);
                let sum = checksum::of(&packet[..20]);
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            assert_eq!(Plain::of(&packet, 0), None, "{at} {value}");
        }
        for (at, value) in [(6, 0), (6, 44), (7, 1), (5, 19), (5, 21), (0, 0x50)] {
            let mut packet = tcp6(0);
            packet[at] = value;
            assert_eq!(Plain::of(&packet, 0), None, "{at} {value}");
        }
    }

    #[test]
    fn each_part_of_a_flow_makes_another_id() {
        let id = |packet: &[u8], entry| Plain::of(packet, entry).unwrap().id;
        let mut ids = vec![id(&udp4(), 0), id(&udp4(), 1), id(&tcp6(0), 0), id(&tcp6(0), 1)];
        for at in [15, 19, 20, 22] {
            let mut packet = udp4();
            packet[at] ^= 1;
            packet[10..12].fill(0);
            let sum = checksum::of(&packet[..20]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            ids.push(id(&packet, 0));
        }
        for at in [8, 16, 24, 32, 39, 41, 43] {
            let mut packet = tcp6(0);
            packet[at] ^= 1;
            ids.push(id(&packet, 0));
        }
        for (at, one) in ids.iter().enumerate() {
            for other in &ids[..at] {
                assert_ne!(one, other);
                assert_ne!(one.hash(5), other.hash(5));
            }
        }
    }

    proptest! {
        #[test]
        fn the_first_look_says_what_the_parsers_say(
            six in any::<bool>(),
            changes in prop::collection::vec((0_usize..60, any::<u8>()), 0..4),
            entry in 0_u32..1 << ENTRY_BITS,
        ) {
            let mut packet = if six { tcp6(0x10) } else { udp4() };
            for (at, value) in changes {
                let octets = packet.len();
                packet[at % octets] = value;
            }
            if packet[0] == 0x45 {
                packet[10..12].fill(0);
                let sum = checksum::of(&packet[..20]);
                packet[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            if let Some(plain) = Plain::of(&packet, entry) {
                by_the_parsers(&packet, &plain, entry);
            }
        }
    }
}
