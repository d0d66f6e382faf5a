//! What the ESP packets of a capture say without any key.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::pcap::Frame;

/// The outside of one ESP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Esp {
    /// Time of capture. Units: nanoseconds since 1970.
    pub at_ns: u64,
    /// Outer source.
    pub src: IpAddr,
    /// Outer destination.
    pub dst: IpAddr,
    /// Security parameter index.
    pub spi: u32,
    /// The low half of the sequence number.
    pub seq_lo: u32,
    /// The eight octets after the header, which the GCM family uses as IV.
    pub iv: [u8; 8],
    /// True in UDP.
    pub encapsulated: bool,
    /// Length from the SPI to the end of the ICV. Units: octets.
    pub esp_octets: usize,
}

/// What one SPI carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpiUse {
    /// Time of the first packet. Units: nanoseconds since 1970.
    pub first_ns: u64,
    /// Time of the last packet. Units: nanoseconds since 1970.
    pub last_ns: u64,
    /// Number of packets.
    pub packets: u64,
    /// Outer source of the first packet.
    pub src: IpAddr,
}

/// Returns the ESP packets of a capture, plain and in UDP port 4500, in their order.
///
/// Later fragments carry no header and are left out; IKE and keepalives on port 4500 are not ESP.
pub fn esp_packets(frames: &[Frame]) -> Vec<Esp> {
    frames.iter().filter_map(esp_packet).collect()
}

fn esp_packet(frame: &Frame) -> Option<Esp> {
    let ip = frame.ip()?;
    if ip.later_fragment {
        return None;
    }
    let (esp, before) = match ip.protocol {
        50 => (ip.payload, 0),
        17 => {
            let ports = ip.payload.get(..4)?;
            let is_nat_t = ports[..2] == [0x11, 0x94] || ports[2..] == [0x11, 0x94];
            (is_nat_t.then(|| ip.payload.get(8..)).flatten()?, 8)
        }
        _ => return None,
    };
    let head = esp.get(..16)?;
    let spi = u32::from_be_bytes(head[..4].try_into().ok()?);
    (spi != 0).then_some(Esp {
        at_ns: frame.at_ns,
        src: ip.src,
        dst: ip.dst,
        spi,
        seq_lo: u32::from_be_bytes(head[4..8].try_into().ok()?),
        iv: head[8..16].try_into().ok()?,
        encapsulated: before != 0,
        // From the header, not from the octets at hand: a capture may hold only the start of a packet.
        esp_octets: ip_payload_octets(frame)?.checked_sub(before)?,
    })
}

/// Returns the length the IP payload claims.
fn ip_payload_octets(frame: &Frame) -> Option<usize> {
    let ip = frame.ip()?;
    let header = match ip.src {
        IpAddr::V4(_) => usize::from(frame.octets.get(14)? & 0x0f) * 4,
        IpAddr::V6(_) => 40,
    };
    ip.total_octets.checked_sub(header)
}

/// Returns the (SPI, IV) pairs that were seen more than once, with how often.
pub fn repeated_ivs(packets: &[Esp]) -> Vec<(u32, [u8; 8], u32)> {
    let mut seen: HashMap<(u32, [u8; 8]), u32> = HashMap::with_capacity(packets.len());
    for packet in packets {
        *seen.entry((packet.spi, packet.iv)).or_default() += 1;
    }
    let mut repeated: Vec<_> =
        seen.into_iter().filter(|(_, times)| *times > 1).map(|((spi, iv), times)| (spi, iv, times)).collect();
    repeated.sort_unstable();
    repeated
}

/// Returns what each SPI carried.
pub fn by_spi(packets: &[Esp]) -> BTreeMap<u32, SpiUse> {
    let mut used: BTreeMap<u32, SpiUse> = BTreeMap::new();
    for packet in packets {
        let entry = used.entry(packet.spi).or_insert(SpiUse {
            first_ns: packet.at_ns,
            last_ns: packet.at_ns,
            packets: 0,
            src: packet.src,
        });
        entry.first_ns = entry.first_ns.min(packet.at_ns);
        entry.last_ns = entry.last_ns.max(packet.at_ns);
        entry.packets += 1;
    }
    used
}

/// Returns, for each interval that begins at an element of `starts_ns`, the SPIs whose first packet falls into it.
pub fn new_spis_after(packets: &[Esp], starts_ns: &[u64]) -> Vec<Vec<u32>> {
    let used = by_spi(packets);
    let mut found = vec![Vec::new(); starts_ns.len()];
    for (spi, spi_use) in used {
        if let Some(interval) = starts_ns.iter().rposition(|start| *start <= spi_use.first_ns) {
            found[interval].push(spi);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(at_ns: u64, spi: u32, iv: u64) -> Frame {
        let mut octets = vec![0_u8; 12];
        octets.extend([8, 0, 0x45, 0, 0, 60, 0, 0, 0, 0, 64, 50, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
        octets.extend(spi.to_be_bytes());
        octets.extend(7_u32.to_be_bytes());
        octets.extend(iv.to_be_bytes());
        octets.extend([0; 24]);
        Frame { at_ns, octets }
    }

    #[test]
    fn a_repeated_iv_is_found_only_under_the_same_spi() {
        let packets = esp_packets(&[frame(1, 256, 5), frame(2, 257, 5), frame(3, 256, 5)]);
        assert_eq!(packets[0].esp_octets, 40);
        assert_eq!(repeated_ivs(&packets), [(256, 5_u64.to_be_bytes(), 2)]);
    }

    #[test]
    fn a_new_spi_belongs_to_the_rekeying_before_its_first_packet() {
        let packets =
            esp_packets(&[frame(10, 300, 1), frame(25, 301, 1), frame(26, 300, 2), frame(39, 302, 1)]);
        assert_eq!(new_spis_after(&packets, &[20, 30]), [vec![301], vec![302]]);
    }
}
