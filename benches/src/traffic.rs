//! The packets that are put in: UDP over IPv4, each a flow of its own, each with octets of its own.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, bail};

use crate::Result;
use crate::peers::Peers;

/// Fewest flows of a row, and so distinct packets.
pub const FLOWS: u32 = 4096;
/// Packets of a row whose order is random.
pub const RANDOM_PKTS: u32 = 131_072;
/// What `net_pcap` gives the first of its ports in a process.
pub const PORT_MAC: [u8; 6] = [0x02, b'p', b'c', b'a', b'p', 0x00];
/// Largest inner packet. Units: octets.
pub const MAX_OCTETS: u16 = 1500;

/// Returns the peer of each packet of a row: in turns, or in random order where there are very many. Every peer occurs.
#[must_use]
pub fn order(peers: Peers) -> Vec<u32> {
    let in_turns = |packets: u32| (0..packets).map(|packet| packet % peers.count).collect();
    if peers.count <= FLOWS {
        return in_turns(FLOWS.next_multiple_of(peers.count));
    }
    let mut order: Vec<u32> = in_turns(RANDOM_PKTS);
    shuffle(&mut order);
    order
}

/// Puts a list into an order that is random and the same in every run.
fn shuffle(list: &mut [u32]) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for last in (1..list.len()).rev() {
        list.swap(last, random.below(last + 1));
    }
}

/// Numbers that repeat from run to run.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// Returns the next number, by splitmix64.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next_u64() % bound as u64).unwrap_or(0)
    }
}

/// Writes a pcap file with a packet for each peer of `order`. Units of `ip_octets`: octets, IP header included.
///
/// # Errors
/// A length that UDP over IPv4 cannot have here; those of the file system.
pub fn write(path: &Path, ip_octets: u16, peers: Peers, order: &[u32]) -> Result<()> {
    check(ip_octets)?;
    let mut out = BufWriter::new(File::create(path).with_context(|| path.display().to_string())?);
    out.write_all(&pcap_header())?;
    for (number, peer) in (0..).zip(order) {
        let ip = outbound(number, *peer, peers, ip_octets);
        let octets = u32::try_from(ip.len() + ETHERNET_OCTETS)?;
        out.write_all(&[[0; 4], [0; 4], octets.to_le_bytes(), octets.to_le_bytes()].concat())?;
        out.write_all(&[&PORT_MAC[..], &[2, 0, 0, 0, 0, 1, 8, 0]].concat())?;
        out.write_all(&ip)?;
    }
    Ok(out.flush()?)
}

/// Refuses a length that a packet cannot have.
///
/// # Errors
/// The length, in a sentence.
pub fn check(ip_octets: u16) -> Result<()> {
    if !(HEADERS_OCTETS..=MAX_OCTETS).contains(&ip_octets) {
        bail!("{ip_octets} octets: an inner packet has {HEADERS_OCTETS} to {MAX_OCTETS}");
    }
    Ok(())
}

/// Little endian, microseconds, Ethernet.
fn pcap_header() -> [u8; 24] {
    let mut header = [0; 24];
    header[..4].copy_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
    header[4..6].copy_from_slice(&2_u16.to_le_bytes());
    header[6..8].copy_from_slice(&4_u16.to_le_bytes());
    header[16..20].copy_from_slice(&65_535_u32.to_le_bytes());
    header[20..].copy_from_slice(&1_u32.to_le_bytes());
    header
}

/// Returns an IP packet to a peer; `number` tells its flow.
#[must_use]
pub fn outbound(number: u32, peer: u32, peers: Peers, ip_octets: u16) -> Vec<u8> {
    let mut packet = udp(number, ends(number, peer, peers), ip_octets);
    let mut state = number | 1 << 20;
    packet.extend((HEADERS_OCTETS..ip_octets).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    }));
    packet
}

/// Returns the IP and UDP header of a packet from a peer.
#[must_use]
pub fn inbound_headers(number: u32, peer: u32, peers: Peers, ip_octets: u16) -> Vec<u8> {
    let (ours, theirs) = ends(number, peer, peers);
    udp(number, (theirs, ours), ip_octets)
}

/// Returns the host behind the gateway and the host behind the peer.
fn ends(number: u32, peer: u32, peers: Peers) -> (Ipv4Addr, Ipv4Addr) {
    let [.., high, low] = (number % FLOWS).to_be_bytes();
    let ours = Ipv4Addr::new(10, 1, 16 + high, low);
    if peers.count > 1 {
        return (ours, peers.network(peer).0);
    }
    // An odd factor makes another permutation of the flows, so that destinations come in no order.
    let [.., high, low] = (number.wrapping_mul(2_053) % FLOWS).to_be_bytes();
    (ours, Ipv4Addr::new(10, 2, 16 + high, low))
}

fn udp(number: u32, (src, dst): (Ipv4Addr, Ipv4Addr), ip_octets: u16) -> Vec<u8> {
    let [.., a, b] = number.to_be_bytes();
    let mut ip = vec![0x45, 0];
    ip.extend(ip_octets.to_be_bytes());
    ip.extend([a, b, 0x40, 0, 64, 17, 0, 0]);
    ip.extend(src.octets());
    ip.extend(dst.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    let port = |from: u32, part: u32| u16::try_from(from + part).unwrap_or(u16::MAX).to_be_bytes();
    ip.extend(port(1024, number % FLOWS));
    ip.extend(port(20_000, number / FLOWS % FLOWS));
    // No UDP checksum, as IPv4 allows.
    ip.extend([(ip_octets - 20).to_be_bytes(), [0, 0]].concat());
    ip
}

/// Returns the checksum of a header whose checksum field is 0. RFC: 1071.
#[must_use]
pub fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(0)
}

/// Length of an Ethernet header. Units: octets.
pub const ETHERNET_OCTETS: usize = 14;
/// Length of IPv4 and UDP headers. Units: octets.
pub const HEADERS_OCTETS: u16 = 28;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_packet_is_a_flow_of_its_own_and_as_long_as_asked() {
        for count in [1, 1000, 100_000] {
            let peers = Peers { count };
            let order = order(peers);
            assert!(order.len() >= 4096);
            let packets: Vec<_> =
                (0..).zip(&order).map(|(number, peer)| outbound(number, *peer, peers, 64)).collect();
            assert!(packets.iter().all(|packet| packet.len() == 64));
            let flows: HashSet<_> = packets.iter().map(|packet| &packet[12..24]).collect();
            assert_eq!(flows.len(), order.len());
        }
    }

    #[test]
    fn packets_go_to_the_hosts_of_their_peers() {
        let peers = Peers { count: 1000 };
        assert_eq!(outbound(7, 999, peers, 64)[16..20], peers.network(999).0.octets());
        assert_eq!(inbound_headers(7, 999, peers, 64)[12..16], peers.network(999).0.octets());
    }

    #[test]
    fn few_peers_take_turns_and_many_come_in_no_order_but_all() {
        let turns = order(Peers { count: 1000 });
        assert_eq!((turns[999], turns[1000], turns.len()), (999, 0, 5000));
        let random = order(Peers { count: 100_000 });
        assert_eq!(random.len(), 131_072);
        assert_eq!(random.iter().collect::<HashSet<_>>().len(), 100_000);
        let neighbors = random.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 100).count();
        assert!(neighbors < 1000, "{neighbors}");
    }

    #[test]
    fn the_header_checksum_is_that_of_a_known_header() {
        let header =
            [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(checksum(&header), 0xb861);
    }
}
