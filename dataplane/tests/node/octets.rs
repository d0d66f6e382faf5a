//! Packets as octets: what hosts send, and what of it is looked at again.

use std::net::IpAddr;

pub(crate) const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The far end of every port.
pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
pub(crate) const ETHERNET: usize = 14;
const UDP: usize = 8;

/// A packet with UDP inside, a number at the start of its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Udp {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) ports: (u16, u16),
    /// Octets of the whole packet.
    pub(crate) octets: usize,
    pub(crate) tag: u32,
    pub(crate) ttl: u8,
    pub(crate) dont_fragment: bool,
}

impl Udp {
    pub(crate) fn new(src: &str, dst: &str) -> Self {
        let (src, dst) = (super::ip(src), super::ip(dst));
        Self { src, dst, ports: (1234, 5678), octets: 100, tag: 0, ttl: 64, dont_fragment: false }
    }

    pub(crate) fn tag(self, tag: u32) -> Self {
        Self { tag, ..self }
    }

    pub(crate) fn octets(self, octets: usize) -> Self {
        Self { octets, ..self }
    }

    /// The IP packet.
    pub(crate) fn packet(&self) -> Vec<u8> {
        let header = self.header();
        let udp_octets = u16::try_from(self.octets - header.len()).unwrap();
        let ports = [self.ports.0.to_be_bytes(), self.ports.1.to_be_bytes()].concat();
        let mut packet = [&header[..], &ports, &udp_octets.to_be_bytes(), &[0, 0]].concat();
        packet.extend(self.tag.to_be_bytes());
        packet.extend((packet.len()..self.octets).map(|at| u8::try_from(at % 251).unwrap()));
        packet
    }

    fn header(&self) -> Vec<u8> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let header = esp::wire::ipv4::Repr {
                    src,
                    dst,
                    proto: esp::wire::Proto::UDP,
                    tos: 0,
                    ttl: self.ttl,
                    ident: 7,
                    dont_fragment: self.dont_fragment,
                    total_octets: u16::try_from(self.octets).unwrap(),
                };
                header.emit().to_vec()
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let payload_octets = u16::try_from(self.octets - 40).unwrap().to_be_bytes();
                [&[0x60, 0, 0, 0][..], &payload_octets, &[17, self.ttl], &src.octets(), &dst.octets()]
                    .concat()
            }
            mixed => panic!("{mixed:?}"),
        }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        frame(&self.packet())
    }
}

/// Puts an Ethernet header before an IP packet.
pub(crate) fn frame(packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    [&OWN_MAC[..], &MAC, &ethertype, packet].concat()
}

/// Octets of the IP header of a packet without options or extension headers.
pub(crate) fn header_octets(packet: &[u8]) -> usize {
    if packet[0] >> 4 == 4 { 20 } else { 40 }
}

/// The number in a packet made here.
pub(crate) fn tag(packet: &[u8]) -> u32 {
    let at = header_octets(packet) + UDP;
    u32::from_be_bytes(packet[at..at + 4].try_into().unwrap())
}

/// The numbers of packets made here, sorted.
pub(crate) fn tags(packets: &[Vec<u8>]) -> Vec<u32> {
    let mut tags: Vec<_> = packets.iter().map(|packet| tag(packet)).collect();
    tags.sort_unstable();
    tags
}

/// The ESP packet in a frame: header, IV, text, ICV.
pub(crate) fn esp(frame: &[u8]) -> &[u8] {
    let packet = &frame[ETHERNET..];
    let proto = if packet[0] >> 4 == 4 { packet[9] } else { packet[6] };
    let behind = &packet[header_octets(packet)..];
    if proto == 17 { &behind[UDP..] } else { behind }
}

/// The low half of the sequence number.
pub(crate) fn seq(frame: &[u8]) -> u32 {
    u32::from_be_bytes(esp(frame)[4..8].try_into().unwrap())
}

pub(crate) fn spi(frame: &[u8]) -> u32 {
    u32::from_be_bytes(esp(frame)[..4].try_into().unwrap())
}

pub(crate) fn iv(frame: &[u8]) -> u64 {
    u64::from_be_bytes(esp(frame)[8..16].try_into().unwrap())
}

/// The UDP ports round an ESP packet.
pub(crate) fn udp_ports(frame: &[u8]) -> (u16, u16) {
    let behind = &frame[ETHERNET + header_octets(&frame[ETHERNET..])..];
    (u16::from_be_bytes([behind[0], behind[1]]), u16::from_be_bytes([behind[2], behind[3]]))
}
