//! Ethernet II frames. RFC: 894, 2464.

use core::fmt;

use zerocopy::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::DropReason;

/// Length of the header. Units: octets.
pub const HEADER_OCTETS: usize = 14;

/// Station address.
#[derive(
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// All stations.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Tells whether the address names a group, which includes broadcast.
    #[must_use]
    #[inline]
    pub const fn is_group(self) -> bool {
        let [first, ..] = self.0;
        first & 1 != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mac({self})")
    }
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
}

/// The header as it is on the wire.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    dst: Mac,
    src: Mac,
    ethertype: U16,
}

const _: () = assert!(size_of::<Header>() == HEADER_OCTETS);

/// A frame long enough to have a header.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    header: &'a Header,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Checks a frame. Errors: `MalformedFrame`.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Result<Self, DropReason> {
        let (header, payload) = Header::ref_from_prefix(octets).map_err(|_| DropReason::MalformedFrame)?;
        Ok(Self { header, payload })
    }

    /// Returns the destination station.
    #[must_use]
    #[inline]
    pub const fn dst(&self) -> Mac {
        self.header.dst
    }

    /// Returns the source station.
    #[must_use]
    #[inline]
    pub const fn src(&self) -> Mac {
        self.header.src
    }

    /// Returns what the frame carries.
    #[must_use]
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(self.header.ethertype.get())
    }

    /// Returns what follows the header, Ethernet padding included.
    #[must_use]
    #[inline]
    pub const fn payload(&self) -> &'a [u8] {
        self.payload
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut frame = f.debug_struct("Frame");
        frame.field("dst", &self.dst()).field("src", &self.src()).field("ethertype", &self.ethertype());
        frame.field("octets", &self.payload.len()).finish()
    }
}

/// Returns a header.
#[must_use]
#[inline]
pub fn header(dst: Mac, src: Mac, ethertype: EtherType) -> [u8; HEADER_OCTETS] {
    zerocopy::transmute!(Header { dst, src, ethertype: U16::new(ethertype.0) })
}

/// Writes a header to the start of `frame`. Errors: `NoHeadroom` when it is shorter than a header.
#[inline]
pub fn emit(frame: &mut [u8], dst: Mac, src: Mac, ethertype: EtherType) -> Result<(), DropReason> {
    let place: &mut [u8; HEADER_OCTETS] = frame.first_chunk_mut().ok_or(DropReason::NoHeadroom)?;
    // Part by part: a header that is put together elsewhere first is read before its stores have arrived.
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = place;
    [*d0, *d1, *d2, *d3, *d4, *d5] = dst.0;
    [*s0, *s1, *s2, *s3, *s4, *s5] = src.0;
    [*t0, *t1] = ethertype.0.to_be_bytes();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emitted_header_parses_to_the_same() {
        let (dst, src) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let mut octets = [0u8; 20];
        emit(&mut octets, dst, src, EtherType::IPV6).unwrap();
        let frame = Frame::parse(&octets).unwrap();
        assert_eq!((frame.dst(), frame.src(), frame.ethertype()), (dst, src, EtherType::IPV6));
        assert_eq!(frame.payload().len(), 6);
    }

    #[test]
    fn a_frame_without_a_whole_header_is_malformed() {
        assert_eq!(Frame::parse(&[0; 13]).unwrap_err(), DropReason::MalformedFrame);
        assert_eq!(
            emit(&mut [0; 13], Mac::default(), Mac::default(), EtherType::ARP),
            Err(DropReason::NoHeadroom)
        );
    }

    #[test]
    fn a_station_address_is_shown_with_colons() {
        assert_eq!(Mac([2, 0, 0xab, 0, 0, 1]).to_string(), "02:00:ab:00:00:01");
        assert!(Mac::BROADCAST.is_group() && !Mac([2, 0, 0, 0, 0, 1]).is_group());
    }
}
