//! The packets that are put in: UDP over IPv4, each a flow of its own, each with octets of its own.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context, bail};

use crate::Result;

/// Flows of a file, and so distinct packets.
pub const FLOWS: u16 = 4096;
/// What `net_pcap` gives the first of its ports in a process.
pub const PORT_MAC: [u8; 6] = [0x02, b'p', b'c', b'a', b'p', 0x00];

/// Writes a pcap file with one packet of every flow. Units of `ip_octets`: octets, IP header included.
///
/// # Errors
/// A length that UDP over IPv4 cannot have here; those of the file system.
pub fn write(path: &Path, ip_octets: u16) -> Result<()> {
    if !(HEADERS_OCTETS..=1500).contains(&ip_octets) {
        bail!("{ip_octets} octets: an inner packet has {HEADERS_OCTETS} to 1500");
    }
    let mut out = BufWriter::new(File::create(path).with_context(|| path.display().to_string())?);
    out.write_all(&pcap_header())?;
    for flow in 0..FLOWS {
        let frame = frame(flow, ip_octets);
        let octets = u32::try_from(frame.len())?;
        out.write_all(&[[0; 4], [0; 4], octets.to_le_bytes(), octets.to_le_bytes()].concat())?;
        out.write_all(&frame)?;
    }
    Ok(out.flush()?)
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

fn frame(flow: u16, ip_octets: u16) -> Vec<u8> {
    let [high, low] = flow.to_be_bytes();
    let source = Ipv4Addr::new(10, 1, 16 + high, low);
    // An odd factor makes another permutation of the flows, so that destinations come in no order.
    let [high, low] = (flow.wrapping_mul(2_053) % FLOWS).to_be_bytes();
    let destination = Ipv4Addr::new(10, 2, 16 + high, low);
    let mut ip = vec![0x45, 0];
    ip.extend(ip_octets.to_be_bytes());
    ip.extend(flow.to_be_bytes());
    ip.extend([0x40, 0, 64, 17, 0, 0]);
    ip.extend(source.octets());
    ip.extend(destination.octets());
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip.extend((1024 + flow).to_be_bytes());
    ip.extend((20_000 + flow).to_be_bytes());
    // No UDP checksum, as IPv4 allows.
    ip.extend([(ip_octets - 20).to_be_bytes(), [0, 0]].concat());
    let mut state = u32::from(flow) | 1 << 16;
    ip.extend((HEADERS_OCTETS..ip_octets).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    }));
    [&PORT_MAC[..], &[2, 0, 0, 0, 0, 1, 8, 0], &ip].concat()
}

/// RFC 1071.
fn checksum(octets: &[u8]) -> u16 {
    let words = octets.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !u16::try_from(folded).unwrap_or(0)
}

/// IPv4 and UDP.
const HEADERS_OCTETS: u16 = 28;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_is_a_flow_of_its_own_and_as_long_as_asked() {
        let frames: Vec<_> = (0..FLOWS).map(|flow| frame(flow, 64)).collect();
        assert!(frames.iter().all(|frame| frame.len() == 14 + 64));
        let flows: std::collections::HashSet<_> = frames.iter().map(|frame| &frame[26..38]).collect();
        assert_eq!(flows.len(), usize::from(FLOWS));
        let destinations: std::collections::HashSet<_> = frames.iter().map(|frame| &frame[30..34]).collect();
        assert_eq!(destinations.len(), usize::from(FLOWS));
    }

    #[test]
    fn the_header_checksum_is_that_of_a_known_header() {
        let header =
            [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(checksum(&header), 0xb861);
    }
}
