//! Packets by hand: what hosts and foreign gateways put on a wire, and what of a frame tests look at.
//! Written octet by octet where the packet path's own encoder must not vouch for its decoder.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) type Mac = [u8; 6];

pub(crate) const ARP: u16 = 0x0806;
pub(crate) const UDP: u8 = 17;
pub(crate) const ESP: u8 = 50;
pub(crate) const ICMP: u8 = 1;
pub(crate) const ICMPV6: u8 = 58;
/// Octets of an Ethernet header.
pub(crate) const ETH: usize = 14;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Returns the one's complement sum that IP, UDP and ICMP use, complemented.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let mut sum = 0_u64;
    for octets in parts {
        for pair in octets.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(0xffff - sum).unwrap().to_be_bytes()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn short(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap().to_be_bytes()
}

/// An IP packet that can be varied before it is written.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) proto: u8,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) ident: u16,
    /// IPv4 flags and fragment offset as on the wire.
    pub(crate) flags: u16,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const DF: u16 = 0x4000;
pub(crate) const MF: u16 = 0x2000;

impl Packet {
    pub(crate) fn new(src: &str, dst: &str, proto: u8, payload: Vec<u8>) -> Self {
        Self { src: ip(src), dst: ip(dst), proto, tos: 0, ttl: 64, ident: 7, flags: 0, payload }
    }

    /// A UDP datagram whose text is `text`.
    pub(crate) fn udp(src: &str, dst: &str, sport: u16, dport: u16, text: &[u8]) -> Self {
        let mut payload = [sport.to_be_bytes(), dport.to_be_bytes(), short(8 + text.len()), [0, 0]].concat();
        payload.extend(text);
        let (from, to) = (octets(ip(src)), octets(ip(dst)));
        let length = short(payload.len());
        let sum = checksum(&[&from, &to, &[0, UDP], &length, &payload]);
        payload[6..8].copy_from_slice(&sum);
        Self::new(src, dst, UDP, payload)
    }

    /// A UDP datagram that makes the IP packet `octets` long.
    pub(crate) fn udp_of(src: &str, dst: &str, octets: usize) -> Self {
        let before = if ip(src).is_ipv4() { 28 } else { 48 };
        let text: Vec<u8> = (0..octets - before).map(|at| u8::try_from(at % 251).unwrap()).collect();
        Self::udp(src, dst, 1000, 2000, &text)
    }

    /// An ICMP or ICMPv6 message.
    pub(crate) fn icmp(src: &str, dst: &str, kind: u8, code: u8, rest: &[u8]) -> Self {
        let mut payload = vec![kind, code, 0, 0];
        payload.extend(rest);
        let proto = if ip(src).is_ipv4() { ICMP } else { ICMPV6 };
        let (from, to) = (octets(ip(src)), octets(ip(dst)));
        let length = short(payload.len());
        let sum = match proto {
            ICMP => checksum(&[&payload]),
            _ => checksum(&[&from, &to, &[0, proto], &length, &payload]),
        };
        payload[2..4].copy_from_slice(&sum);
        Self::new(src, dst, proto, payload)
    }

    pub(crate) fn emit(&self) -> Vec<u8> {
        let (from, to) = (octets(self.src), octets(self.dst));
        let mut out = match self.src {
            IpAddr::V4(_) => {
                let mut head = vec![0x45, self.tos];
                head.extend(short(20 + self.payload.len()));
                head.extend(self.ident.to_be_bytes());
                head.extend(self.flags.to_be_bytes());
                head.extend([self.ttl, self.proto, 0, 0]);
                head.extend(from);
                head.extend(to);
                let sum = checksum(&[&head]);
                head[10..12].copy_from_slice(&sum);
                head
            }
            IpAddr::V6(_) => {
                let mut head = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
                head.extend(short(self.payload.len()));
                head.extend([self.proto, self.ttl]);
                head.extend(from);
                head.extend(to);
                head
            }
        };
        out.extend(&self.payload);
        out
    }

    /// Reads what [`Self::emit`] writes.
    pub(crate) fn read(packet: &[u8]) -> Self {
        let at = |from: usize| u16::from_be_bytes([packet[from], packet[from + 1]]);
        match packet[0] >> 4 {
            4 => {
                assert_eq!(packet[0], 0x45, "no options");
                assert_eq!(checksum(&[&packet[..20]]), [0, 0], "header checksum");
                let octets: [u8; 8] = packet[12..20].try_into().unwrap();
                let [a, b, c, d, e, f, g, h] = octets;
                Self {
                    src: Ipv4Addr::new(a, b, c, d).into(),
                    dst: Ipv4Addr::new(e, f, g, h).into(),
                    proto: packet[9],
                    tos: packet[1],
                    ttl: packet[8],
                    ident: at(4),
                    flags: at(6),
                    payload: packet[20..usize::from(at(2))].to_vec(),
                }
            }
            6 => {
                let address = |from: usize| {
                    let octets: [u8; 16] = packet[from..from + 16].try_into().unwrap();
                    IpAddr::from(Ipv6Addr::from(octets))
                };
                Self {
                    src: address(8),
                    dst: address(24),
                    proto: packet[6],
                    tos: packet[0] << 4 | packet[1] >> 4,
                    ttl: packet[7],
                    ident: 0,
                    flags: 0,
                    payload: packet[40..40 + usize::from(at(4))].to_vec(),
                }
            }
            version => panic!("IP version {version}"),
        }
    }

    /// The packet as routers leave it: `hops` fewer.
    pub(crate) fn after_hops(mut self, hops: u8) -> Self {
        self.ttl -= hops;
        self
    }

    /// A frame that carries it.
    pub(crate) fn frame(&self, to: Mac, from: Mac) -> Vec<u8> {
        let kind: u16 = if self.src.is_ipv4() { 0x0800 } else { 0x86dd };
        frame(to, from, kind, &self.emit())
    }

    /// Reads a frame's packet; Ethernet padding is not looked at.
    pub(crate) fn of_frame(frame: &[u8]) -> Self {
        Self::read(&frame[ETH..])
    }

    /// The text of a UDP datagram.
    pub(crate) fn text(&self) -> &[u8] {
        assert_eq!(self.proto, UDP);
        &self.payload[8..]
    }
}

impl PartialEq for Packet {
    fn eq(&self, other: &Self) -> bool {
        self.emit() == other.emit()
    }
}

pub(crate) fn frame(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

pub(crate) fn kind_of(frame: &[u8]) -> u16 {
    u16::from_be_bytes([frame[12], frame[13]])
}

/// An ARP message. RFC: 826.
pub(crate) fn arp(op: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut out = vec![0, 1, 8, 0, 6, 4];
    out.extend(op.to_be_bytes());
    out.extend(sender.0);
    out.extend(sender.1.octets());
    out.extend(target.0);
    out.extend(target.1.octets());
    out
}

/// A neighbor solicitation (135) or advertisement (136) with one link-layer address option. RFC: 4861.
pub(crate) fn nd(kind: u8, src: &str, dst: &str, target: &str, mac: Mac) -> Packet {
    let mut rest = vec![if kind == 136 { 0x60 } else { 0 }, 0, 0, 0];
    rest.extend(octets(ip(target)));
    rest.extend([if kind == 136 { 2 } else { 1 }, 1]);
    rest.extend(mac);
    let mut packet = Packet::icmp(src, dst, kind, 0, &rest);
    packet.ttl = 255;
    packet
}

/// The SPI, the sequence number and the IV of an ESP packet in a frame, plain or in UDP.
pub(crate) fn esp_head(frame: &[u8]) -> (u32, u32, [u8; 8]) {
    let packet = Packet::of_frame(frame);
    let esp = match packet.proto {
        ESP => &packet.payload[..],
        UDP => packet.text(),
        other => panic!("protocol {other}"),
    };
    let word = |at: usize| u32::from_be_bytes(esp[at..at + 4].try_into().unwrap());
    (word(0), word(4), esp[8..16].try_into().unwrap())
}
