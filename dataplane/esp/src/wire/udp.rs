//! UDP, and what ESP and IKE do to tell each other apart in it. RFC: 768, 3948.

use core::net::IpAddr;

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum;
use super::ip::Proto;
use crate::DropReason;

/// Length of the header. Units: octets.
pub const HEADER_OCTETS: usize = 8;
/// Port of IKE.
pub const IKE_PORT: u16 = 500;
/// Port of IKE and ESP behind a NAT.
pub const NAT_T_PORT: u16 = 4500;

/// Source and destination port, as in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UdpPorts {
    /// Source port.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
}

/// The header as it is on the wire.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    src: U16,
    dst: U16,
    length: U16,
    checksum: U16,
}

const _: () = assert!(size_of::<Header>() == HEADER_OCTETS);

/// A datagram whose length fits what carries it.
#[derive(Clone, Copy, Debug)]
pub struct Udp<'a> {
    ports: UdpPorts,
    checksum: u16,
    payload: &'a [u8],
}

impl<'a> Udp<'a> {
    /// Checks the payload of a whole IP packet. Errors: `MalformedUdp`.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Result<Self, DropReason> {
        let (header, rest) = Header::ref_from_prefix(octets).map_err(|_| DropReason::MalformedUdp)?;
        let payload = usize::from(header.length.get())
            .checked_sub(HEADER_OCTETS)
            .and_then(|octets| rest.get(..octets))
            .ok_or(DropReason::MalformedUdp)?;
        let ports = UdpPorts { src: header.src.get(), dst: header.dst.get() };
        Ok(Self { ports, checksum: header.checksum.get(), payload })
    }

    /// Returns the ports.
    #[must_use]
    #[inline]
    pub const fn ports(&self) -> UdpPorts {
        self.ports
    }

    /// Returns the checksum field; 0 means that the sender made none.
    #[must_use]
    #[inline]
    pub const fn checksum(&self) -> u16 {
        self.checksum
    }

    /// Returns the data.
    #[must_use]
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

/// What arrives on a port that IKE and ESP share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatT {
    /// One octet 0xff: it kept the NAT's mapping alive and has no other use.
    Keepalive,
    /// Four zero octets, then IKE.
    Ike,
    /// ESP, from its SPI on.
    Esp,
    /// Neither.
    Malformed,
}

impl NatT {
    /// Classifies the data of a datagram.
    #[must_use]
    #[inline]
    pub fn of(payload: &[u8]) -> Self {
        //= rfc3948#2.2
        //= rfc3948#2.3
        match payload {
            [0xff] => Self::Keepalive,
            [0, 0, 0, 0, _, ..] => Self::Ike,
            [_, _, _, _, _, ..] => Self::Esp,
            _ => Self::Malformed,
        }
    }
}

/// Returns a header. Units of `payload_octets`: octets behind the header.
#[must_use]
#[inline]
pub fn header(ports: UdpPorts, payload_octets: u16, checksum: u16) -> [u8; HEADER_OCTETS] {
    let [a, b] = ports.src.to_be_bytes();
    let [c, d] = ports.dst.to_be_bytes();
    let [e, f] = payload_octets.saturating_add(8).to_be_bytes();
    let [g, h] = checksum.to_be_bytes();
    [a, b, c, d, e, f, g, h]
}

/// Returns the checksum for a datagram whose checksum field is 0; it is never 0 itself.
/// Units of `datagram`: header and data. RFC: 768, 8200 section 8.1.
#[must_use]
#[inline]
pub fn checksum(src: &IpAddr, dst: &IpAddr, datagram: &[u8]) -> u16 {
    let octets = u32::try_from(datagram.len()).unwrap_or(u32::MAX);
    let start = checksum::pseudo_header(src, dst, Proto::UDP, octets);
    match !checksum::fold(checksum::sum(datagram, start)) {
        0 => 0xffff,
        sum => sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PORTS: UdpPorts = UdpPorts { src: 31337, dst: 4500 };

    #[test]
    fn a_length_beyond_the_packet_is_malformed() {
        let mut octets = [0u8; 12];
        octets[..8].copy_from_slice(&header(PORTS, 4, 0));
        assert_eq!(Udp::parse(&octets).unwrap().payload().len(), 4);
        assert_eq!(Udp::parse(&octets).unwrap().ports(), PORTS);
        assert_eq!(Udp::parse(&octets[..11]).unwrap_err(), DropReason::MalformedUdp);
        octets[5] = 7;
        assert_eq!(Udp::parse(&octets).unwrap_err(), DropReason::MalformedUdp);
    }

    #[test]
    fn four_zero_octets_mark_ike_and_one_ff_a_keepalive() {
        assert_eq!(NatT::of(&[0xff]), NatT::Keepalive);
        assert_eq!(NatT::of(&[0, 0, 0, 0, 1]), NatT::Ike);
        assert_eq!(NatT::of(&[0xff, 0, 0, 0, 1]), NatT::Esp);
        assert_eq!(NatT::of(&[]), NatT::Malformed);
        assert_eq!(NatT::of(&[0, 0, 0, 0]), NatT::Malformed);
    }

    #[test]
    fn a_checksummed_datagram_sums_to_zero() {
        let (src, dst) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let mut octets = [7u8; 21];
        octets[..8].copy_from_slice(&header(PORTS, 13, 0));
        let sum = checksum(&src, &dst, &octets);
        octets[6..8].copy_from_slice(&sum.to_be_bytes());
        let all = checksum::pseudo_header(&src, &dst, Proto::UDP, 21);
        assert_eq!(checksum::fold(checksum::sum(&octets, all)), 0xffff);
    }

    proptest! {
        #[test]
        fn any_octets_parse_or_are_refused(octets in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Udp::parse(&octets);
            let _ = NatT::of(&octets);
        }
    }
}
