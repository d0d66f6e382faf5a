//! Reader of classic pcap files and of the headers the analysis needs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, bail};

use crate::Result;

/// One captured frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Time of capture. Units: nanoseconds since 1970.
    pub at_ns: u64,
    /// Octets from the Ethernet header on, as far as they were captured.
    pub octets: Vec<u8>,
}

/// The IP header of a frame and where its payload lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip<'a> {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol, or the last next-header value of IPv6 (no extension headers are followed but fragments).
    pub protocol: u8,
    /// True for a fragment that is not the first.
    pub later_fragment: bool,
    /// True if the packet is a fragment.
    pub fragment: bool,
    /// Total length. Units: octets.
    pub total_octets: usize,
    /// What follows the header, without link-layer padding.
    pub payload: &'a [u8],
}

/// Reads a whole capture file.
///
/// Errors: it is not a pcap file of Ethernet frames. A last record cut off by a kill is left out.
pub fn read(path: &Path) -> Result<Vec<Frame>> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    parse(&bytes).with_context(|| path.display().to_string())
}

/// Parses the octets of a capture file.
pub fn parse(bytes: &[u8]) -> Result<Vec<Frame>> {
    let Some(magic) = bytes.first_chunk::<4>() else { bail!("no pcap header") };
    let (big, unit_ns) = match u32::from_le_bytes(*magic) {
        0xa1b2_c3d4 => (false, 1000),
        0xa1b2_3c4d => (false, 1),
        0xd4c3_b2a1 => (true, 1000),
        0x4d3c_b2a1 => (true, 1),
        other => bail!("magic {other:#x} is not pcap's"),
    };
    let word = |at: usize| -> Option<u32> {
        let four = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
    };
    if word(20) != Some(1) {
        bail!("link type {:?} is not Ethernet", word(20));
    }
    let mut frames = Vec::new();
    let mut at = 24;
    while let (Some(seconds), Some(fraction), Some(length)) = (word(at), word(at + 4), word(at + 8)) {
        let Some(octets) = bytes.get(at + 16..at + 16 + length as usize) else { break };
        let at_ns = u64::from(seconds) * 1_000_000_000 + u64::from(fraction) * unit_ns;
        frames.push(Frame { at_ns, octets: octets.to_vec() });
        at += 16 + length as usize;
    }
    Ok(frames)
}

/// Writes frames to a capture file with nanoseconds.
pub fn write(path: &Path, frames: &[Frame]) -> Result<()> {
    let mut bytes = Vec::new();
    for value in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    for frame in frames {
        let length = u32::try_from(frame.octets.len())?;
        let seconds = u32::try_from(frame.at_ns / 1_000_000_000)?;
        let fraction = u32::try_from(frame.at_ns % 1_000_000_000)?;
        for value in [seconds, fraction, length, length] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        bytes.extend_from_slice(&frame.octets);
    }
    std::fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

impl Frame {
    /// Returns the EtherType, or 0 for a runt.
    pub fn ether_type(&self) -> u16 {
        self.octets.get(12..14).map_or(0, |two| u16::from_be_bytes([two[0], two[1]]))
    }

    /// Returns the IP header if the frame carries a whole one.
    pub fn ip(&self) -> Option<Ip<'_>> {
        let packet = self.octets.get(14..)?;
        match self.ether_type() {
            0x0800 => ipv4(packet),
            0x86dd => ipv6(packet),
            _ => None,
        }
    }

    /// Reports whether the octets of `needle` stand anywhere in the frame.
    pub fn contains(&self, needle: &[u8]) -> bool {
        self.octets.windows(needle.len()).any(|window| window == needle)
    }
}

fn ipv4(packet: &[u8]) -> Option<Ip<'_>> {
    let header = packet.get(..20)?;
    let header_octets = usize::from(header[0] & 0x0f) * 4;
    let total_octets = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let end = total_octets.min(packet.len());
    Some(Ip {
        src: Ipv4Addr::from(<[u8; 4]>::try_from(&header[12..16]).ok()?).into(),
        dst: Ipv4Addr::from(<[u8; 4]>::try_from(&header[16..20]).ok()?).into(),
        protocol: header[9],
        later_fragment: fragment & 0x1fff != 0,
        fragment: fragment & 0x3fff != 0,
        total_octets,
        payload: packet.get(header_octets..end)?,
    })
}

fn ipv6(packet: &[u8]) -> Option<Ip<'_>> {
    let header = packet.get(..40)?;
    let total_octets = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let end = total_octets.min(packet.len());
    let mut payload = packet.get(40..end)?;
    let (mut protocol, mut fragment, mut later_fragment) = (header[6], false, false);
    if protocol == 44 {
        let extension = payload.get(..8)?;
        protocol = extension[0];
        fragment = true;
        later_fragment = u16::from_be_bytes([extension[2], extension[3]]) & 0xfff8 != 0;
        payload = &payload[8..];
    }
    Some(Ip {
        src: Ipv6Addr::from(<[u8; 16]>::try_from(&header[8..24]).ok()?).into(),
        dst: Ipv6Addr::from(<[u8; 16]>::try_from(&header[24..40]).ok()?).into(),
        protocol,
        later_fragment,
        fragment,
        total_octets,
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut octets = vec![0_u8; 12];
        octets.extend([8, 0]);
        octets
            .extend([0x45, 0, 0, 24, 0, 0, 0, 0, 64, 50, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 1, 2, 3, 4, 9, 9]);
        let path = std::env::temp_dir().join(format!("espalier-pcap-{}", std::process::id()));
        write(&path, &[Frame { at_ns: 1_700_000_000_123_456_789, octets }]).unwrap();
        let frames = read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].at_ns, 1_700_000_000_123_456_789);
        let ip = frames[0].ip().unwrap();
        assert_eq!((ip.protocol, ip.payload), (50, &[1, 2, 3, 4][..]));
        assert!(frames[0].contains(&[192, 0, 2, 2]));
    }

    #[test]
    fn a_record_cut_short_ends_the_list() {
        let mut bytes: Vec<u8> =
            [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1].iter().flat_map(|v| v.to_le_bytes()).collect();
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 9, 0, 0, 0, 1, 2]);
        assert!(parse(&bytes).unwrap().is_empty());
    }
}
