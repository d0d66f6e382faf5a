//! IPv4 headers with options. RFC: 791, 1812.

use core::net::Ipv4Addr;

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::checksum;
use super::ip::Proto;
use crate::DropReason;

/// Length of a header without options. Units: octets.
pub const HEADER_OCTETS: usize = 20;
/// Where the type of service octet stands in the header.
pub const TOS_AT: usize = 1;

/// "Don't fragment" in the word of flags and fragment offset.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// "More fragments" in the word of flags and fragment offset.
pub const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// The fixed part of the header as it is on the wire.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    version_ihl: u8,
    tos: u8,
    total_octets: U16,
    ident: U16,
    flags_offset: U16,
    ttl: u8,
    proto: u8,
    checksum: U16,
    src: U32,
    dst: U32,
}

const _: () = assert!(size_of::<Header>() == HEADER_OCTETS);

/// A packet whose lengths are consistent and within the octets given.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    header: &'a Header,
    packet: &'a [u8],
    header_octets: usize,
}

impl<'a> Ipv4<'a> {
    /// Checks a packet; octets behind its total length are not part of the view. The checksum is not looked at.
    /// Errors: `MalformedIp`. RFC: 1812 section 5.2.2.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Result<Self, DropReason> {
        let (header, _) = Header::ref_from_prefix(octets).map_err(|_| DropReason::MalformedIp)?;
        let header_octets = usize::from(header.version_ihl & 0xf) * 4;
        let total_octets = usize::from(header.total_octets.get());
        let consistent = header.version_ihl >> 4 == 4
            && header_octets >= HEADER_OCTETS
            && header_octets <= total_octets
            && total_octets <= octets.len();
        let packet = octets.get(..total_octets).filter(|_| consistent).ok_or(DropReason::MalformedIp)?;
        Ok(Self { header, packet, header_octets })
    }

    /// Tells whether the header checksum is right.
    #[must_use]
    #[inline]
    pub fn checksum_ok(&self) -> bool {
        match <&[u8; HEADER_OCTETS]>::try_from(self.header_with_options()) {
            Ok(header) => checksum::is_right(header),
            Err(_) => checksum::of(self.header_with_options()) == 0,
        }
    }

    /// Returns the source address.
    #[must_use]
    #[inline]
    pub fn src(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.header.src.get())
    }

    /// Returns the destination address.
    #[must_use]
    #[inline]
    pub fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.header.dst.get())
    }

    /// Returns the type of service octet: DSCP and ECN.
    #[must_use]
    #[inline]
    pub const fn tos(&self) -> u8 {
        self.header.tos
    }

    /// Returns the TTL.
    #[must_use]
    #[inline]
    pub const fn ttl(&self) -> u8 {
        self.header.ttl
    }

    /// Returns the protocol.
    #[must_use]
    #[inline]
    pub const fn proto(&self) -> Proto {
        Proto(self.header.proto)
    }

    /// Returns the identification.
    #[must_use]
    #[inline]
    pub fn ident(&self) -> u16 {
        self.header.ident.get()
    }

    /// Tells whether a router must not fragment the packet.
    #[must_use]
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.header.flags_offset.get() & DONT_FRAGMENT != 0
    }

    /// Tells whether fragments follow this one.
    #[must_use]
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.header.flags_offset.get() & MORE_FRAGMENTS != 0
    }

    /// Returns where the payload belongs in the whole datagram. Units: octets.
    #[must_use]
    #[inline]
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.header.flags_offset.get() & OFFSET_MASK) * 8
    }

    /// Tells whether the packet is a fragment, first or later.
    #[must_use]
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.header.flags_offset.get() & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Returns the length of the header with options. Units: octets.
    #[must_use]
    #[inline]
    pub const fn header_octets(&self) -> usize {
        self.header_octets
    }

    /// Returns the length of the packet with its header. Units: octets.
    #[must_use]
    #[inline]
    pub const fn total_octets(&self) -> usize {
        self.packet.len()
    }

    /// Returns the options; empty without any.
    #[must_use]
    #[inline]
    pub fn options(&self) -> &'a [u8] {
        self.header_with_options().get(HEADER_OCTETS..).unwrap_or_default()
    }

    /// Returns what follows the header.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.packet.get(self.header_octets..).unwrap_or_default()
    }

    /// Returns the packet without anything behind its total length.
    #[must_use]
    #[inline]
    pub const fn packet(&self) -> &'a [u8] {
        self.packet
    }

    fn header_with_options(&self) -> &'a [u8] {
        self.packet.get(..self.header_octets).unwrap_or_default()
    }
}

/// What a header without options says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol of the payload.
    pub proto: Proto,
    /// DSCP and ECN.
    pub tos: u8,
    /// TTL.
    pub ttl: u8,
    /// Identification.
    pub ident: u16,
    /// Whether routers must not fragment.
    pub dont_fragment: bool,
    /// Length with this header. Units: octets.
    pub total_octets: u16,
}

impl Repr {
    /// Returns the header with its checksum.
    #[must_use]
    pub fn emit(&self) -> [u8; HEADER_OCTETS] {
        let mut header = Header {
            version_ihl: 0x45,
            tos: self.tos,
            total_octets: U16::new(self.total_octets),
            ident: U16::new(self.ident),
            flags_offset: U16::new(if self.dont_fragment { DONT_FRAGMENT } else { 0 }),
            ttl: self.ttl,
            proto: self.proto.get(),
            checksum: U16::ZERO,
            src: U32::new(self.src.to_bits()),
            dst: U32::new(self.dst.to_bits()),
        };
        header.checksum = U16::new(checksum::of(header.as_bytes()));
        zerocopy::transmute!(header)
    }
}

/// Takes one from the TTL of a packet that is forwarded, and mends the checksum.
/// Errors: `TtlExpired` when none would be left, `MalformedIp` when there is no header.
#[inline]
pub fn decrement_ttl(packet: &mut [u8]) -> Result<(), DropReason> {
    let (header, _) = Header::mut_from_prefix(packet).map_err(|_| DropReason::MalformedIp)?;
    //= rfc1812#5.3.1
    if header.ttl <= 1 {
        return Err(DropReason::TtlExpired);
    }
    header.ttl -= 1;
    // The word of the TTL is less by 0x100, so the checksum is more by it. RFC 1624 section 3.
    let (sum, carry) = header.checksum.get().overflowing_add(0x100);
    let sum = sum + u16::from(carry);
    header.checksum = U16::new(if sum == u16::MAX { 0 } else { sum });
    Ok(())
}

/// Replaces the type of service octet, and mends the checksum. Does nothing without a header.
#[inline]
pub fn set_tos(packet: &mut [u8], tos: u8) {
    let Ok((header, _)) = Header::mut_from_prefix(packet) else { return };
    let old = u16::from_be_bytes([header.version_ihl, header.tos]);
    header.tos = tos;
    let new = u16::from_be_bytes([header.version_ihl, header.tos]);
    header.checksum = U16::new(checksum::update(header.checksum.get(), old, new));
}

/// Makes a copied header that of a fragment: length, "more fragments" and offset; the checksum is made anew.
/// Units: octets. Does nothing where `header` is no whole header.
pub(crate) fn set_fragment(header: &mut [u8], total_octets: u16, offset_octets: u16, more: bool) {
    let flags = (offset_octets / 8) | if more { MORE_FRAGMENTS } else { 0 };
    let words = u8::try_from(header.len() / 4).unwrap_or(0xf);
    let Ok((fixed, _)) = Header::mut_from_prefix(header) else { return };
    fixed.total_octets = U16::new(total_octets);
    fixed.flags_offset = U16::new(flags);
    fixed.checksum = U16::ZERO;
    fixed.version_ihl = 0x40 | words;
    let sum = checksum::of(header);
    if let Ok((fixed, _)) = Header::mut_from_prefix(header) {
        fixed.checksum = U16::new(sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet() -> Vec<u8> {
        let repr = Repr {
            src: Ipv4Addr::new(10, 1, 0, 1),
            dst: Ipv4Addr::new(10, 2, 0, 1),
            proto: Proto::UDP,
            tos: 0xb9,
            ttl: 64,
            ident: 0x1234,
            dont_fragment: true,
            total_octets: 28,
        };
        let mut octets = repr.emit().to_vec();
        octets.extend([7; 10]);
        octets
    }

    #[test]
    fn an_emitted_header_parses_to_the_same() {
        let octets = packet();
        let ip = Ipv4::parse(&octets).unwrap();
        assert!(ip.checksum_ok() && ip.dont_fragment() && !ip.is_fragment());
        assert_eq!((ip.src(), ip.dst()), (Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 2, 0, 1)));
        assert_eq!((ip.proto(), ip.tos(), ip.ttl(), ip.ident()), (Proto::UDP, 0xb9, 64, 0x1234));
        assert_eq!((ip.payload().len(), ip.options().len()), (8, 0));
    }

    #[test]
    fn contradictory_lengths_are_malformed() {
        for (at, value) in [(0, 0x44), (0, 0x65), (0, 0x4f), (3, 19), (3, 31)] {
            let mut octets = packet();
            octets[at] = value;
            assert_eq!(Ipv4::parse(&octets).unwrap_err(), DropReason::MalformedIp, "{at} {value}");
        }
        assert_eq!(Ipv4::parse(&packet()[..19]).unwrap_err(), DropReason::MalformedIp);
    }

    #[test]
    fn a_changed_header_keeps_a_right_checksum() {
        let mut octets = packet();
        for ttl in (1..64).rev() {
            let word = |octets: &[u8], at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
            let (old, sum) = (word(&octets, 8), word(&octets, 10));
            decrement_ttl(&mut octets).unwrap();
            assert_eq!(word(&octets, 10), checksum::update(sum, old, word(&octets, 8)));
            assert_eq!(Ipv4::parse(&octets).unwrap().ttl(), ttl);
            assert!(Ipv4::parse(&octets).unwrap().checksum_ok());
        }
        assert_eq!(decrement_ttl(&mut octets), Err(DropReason::TtlExpired));
        for tos in 0..=255 {
            set_tos(&mut octets, tos);
            assert!(Ipv4::parse(&octets).unwrap().checksum_ok());
        }
    }

    proptest! {
        #[test]
        fn any_octets_parse_or_are_refused(mut octets in prop::collection::vec(any::<u8>(), 0..96), ihl in 0u8..16) {
            if let Some(first) = octets.first_mut() {
                *first = 0x40 | ihl;
            }
            if let Ok(ip) = Ipv4::parse(&octets) {
                let sum = ip.header_octets() + ip.payload().len();
                prop_assert_eq!(sum, ip.total_octets());
                prop_assert_eq!(ip.options().len(), ip.header_octets() - 20);
                let _ = (ip.checksum_ok(), ip.is_fragment(), ip.fragment_offset());
            }
            let _ = decrement_ttl(&mut octets);
            set_tos(&mut octets, 3);
        }
    }
}
