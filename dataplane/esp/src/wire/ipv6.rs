//! IPv6 headers and the walk along their extensions. RFC: 8200.

use core::net::Ipv6Addr;

use zerocopy::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::ip::Proto;
use crate::DropReason;

/// Length of the fixed header. Units: octets.
pub const HEADER_OCTETS: usize = 40;
/// Length of a fragment header. Units: octets.
pub const FRAGMENT_OCTETS: usize = 8;
/// No link may have a smaller MTU. Units: octets. RFC: 8200 section 5.
pub const MIN_MTU_OCTETS: u16 = 1280;
/// Extension headers that are walked at most; a packet with more is malformed here.
pub const MAX_EXTENSIONS: usize = 8;

/// The fixed header as it is on the wire.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    version_class_flow: U32,
    payload_octets: U16,
    next: u8,
    hop_limit: u8,
    src: [u8; 16],
    dst: [u8; 16],
}

const _: () = assert!(size_of::<Header>() == HEADER_OCTETS);

/// A packet whose length is within the octets given.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6<'a> {
    header: &'a Header,
    packet: &'a [u8],
}

/// What stands behind the extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper<'a> {
    /// Protocol of the payload.
    pub proto: Proto,
    /// The payload; of a later fragment a piece from its middle.
    pub payload: &'a [u8],
    /// Length of the headers before it. Units: octets.
    pub headers_octets: usize,
    /// Whether a fragment header was met that makes the packet a real fragment (not an atomic one).
    pub fragment: Option<Fragment>,
}

/// A fragment header's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Where the piece belongs. Units: octets.
    pub offset: usize,
    /// Whether pieces follow.
    pub more: bool,
    /// What the pieces of one packet share.
    pub ident: u32,
}

impl<'a> Ipv6<'a> {
    /// Checks a packet; octets behind its payload length are not part of the view. Jumbograms are malformed.
    /// Errors: `MalformedIp`.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Result<Self, DropReason> {
        let (header, _) = Header::ref_from_prefix(octets).map_err(|_| DropReason::MalformedIp)?;
        let total_octets = HEADER_OCTETS + usize::from(header.payload_octets.get());
        let six = header.version_class_flow.get() >> 28 == 6;
        let packet = octets.get(..total_octets).filter(|_| six).ok_or(DropReason::MalformedIp)?;
        Ok(Self { header, packet })
    }

    /// Returns the source address.
    #[must_use]
    #[inline]
    pub fn src(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.header.src)
    }

    /// Returns the destination address.
    #[must_use]
    #[inline]
    pub fn dst(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.header.dst)
    }

    /// Returns the traffic class: DSCP and ECN.
    #[must_use]
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        let [a, b, ..] = self.header.version_class_flow.to_bytes();
        a << 4 | b >> 4
    }

    /// Returns the hop limit.
    #[must_use]
    #[inline]
    pub const fn hop_limit(&self) -> u8 {
        self.header.hop_limit
    }

    /// Returns the type of the first header behind the fixed one.
    #[must_use]
    #[inline]
    pub const fn next(&self) -> Proto {
        Proto(self.header.next)
    }

    /// Returns the length of the packet with its header. Units: octets.
    #[must_use]
    #[inline]
    pub const fn total_octets(&self) -> usize {
        self.packet.len()
    }

    /// Returns what follows the fixed header.
    #[must_use]
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        self.packet.get(HEADER_OCTETS..).unwrap_or_default()
    }

    /// Returns the packet without anything behind its payload length.
    #[must_use]
    #[inline]
    pub const fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// Walks the extension headers to the protocol they carry. A later fragment ends the walk at its fragment header.
    /// Errors: `MalformedIp` when a header is cut short or there are more than [`MAX_EXTENSIONS`].
    #[inline]
    pub fn upper(&self) -> Result<Upper<'a>, DropReason> {
        let (mut proto, mut payload, mut fragment) = (self.next(), self.payload(), None);
        for _ in 0..=MAX_EXTENSIONS {
            let octets = match proto {
                Proto::FRAGMENT => {
                    let found = Fragment::parse(payload)?;
                    let later = found.offset != 0;
                    if later || found.more {
                        fragment = Some(found);
                    }
                    if later {
                        let (next, rest) = step(payload, FRAGMENT_OCTETS)?;
                        return Ok(self.ends(next, rest, fragment));
                    }
                    FRAGMENT_OCTETS
                }
                Proto::AH => 4 * (length_field(payload)? + 2),
                Proto::HOP_BY_HOP
                | Proto::ROUTING
                | Proto::DEST_OPTIONS
                | Proto::MOBILITY
                | Proto::HIP
                | Proto::SHIM6 => 8 * (length_field(payload)? + 1),
                _ => return Ok(self.ends(proto, payload, fragment)),
            };
            (proto, payload) = step(payload, octets)?;
        }
        Err(DropReason::MalformedIp)
    }

    fn ends(&self, proto: Proto, payload: &'a [u8], fragment: Option<Fragment>) -> Upper<'a> {
        Upper { proto, payload, headers_octets: self.packet.len() - payload.len(), fragment }
    }
}

impl Fragment {
    fn parse(octets: &[u8]) -> Result<Self, DropReason> {
        let [_, _, a, b, c, d, e, f] = *octets.first_chunk().ok_or(DropReason::MalformedIp)?;
        let word = u16::from_be_bytes([a, b]);
        let ident = u32::from_be_bytes([c, d, e, f]);
        Ok(Self { offset: usize::from(word & 0xfff8), more: word & 1 != 0, ident })
    }
}

/// Splits a header of `octets` off: what it says comes next, and the octets behind it.
fn step(payload: &[u8], octets: usize) -> Result<(Proto, &[u8]), DropReason> {
    let (header, rest) = payload.split_at_checked(octets).ok_or(DropReason::MalformedIp)?;
    Ok((Proto(*header.first().ok_or(DropReason::MalformedIp)?), rest))
}

fn length_field(payload: &[u8]) -> Result<usize, DropReason> {
    payload.get(1).copied().map(usize::from).ok_or(DropReason::MalformedIp)
}

/// What a fixed header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repr {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// Type of what follows.
    pub next: Proto,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Flow label, in the low 20 bits.
    pub flow_label: u32,
    /// Hop limit.
    pub hop_limit: u8,
    /// Length behind the header. Units: octets.
    pub payload_octets: u16,
}

impl Repr {
    /// Returns the header.
    #[must_use]
    pub fn emit(&self) -> [u8; HEADER_OCTETS] {
        let word = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0xf_ffff;
        zerocopy::transmute!(Header {
            version_class_flow: U32::new(word),
            payload_octets: U16::new(self.payload_octets),
            next: self.next.get(),
            hop_limit: self.hop_limit,
            src: self.src.octets(),
            dst: self.dst.octets(),
        })
    }
}

/// Takes one from the hop limit of a packet that is forwarded.
/// Errors: `TtlExpired` when none would be left, `MalformedIp` when there is no header.
#[inline]
pub fn decrement_hop_limit(packet: &mut [u8]) -> Result<(), DropReason> {
    let (header, _) = Header::mut_from_prefix(packet).map_err(|_| DropReason::MalformedIp)?;
    if header.hop_limit <= 1 {
        return Err(DropReason::TtlExpired);
    }
    header.hop_limit -= 1;
    Ok(())
}

/// Replaces the traffic class. Does nothing without a header.
#[inline]
pub fn set_traffic_class(packet: &mut [u8], class: u8) {
    let Ok((header, _)) = Header::mut_from_prefix(packet) else { return };
    let word = header.version_class_flow.get() & !(0xff << 20) | u32::from(class) << 20;
    header.version_class_flow = U32::new(word);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(next: Proto, payload: &[u8]) -> Vec<u8> {
        let repr = Repr {
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8::2".parse().unwrap(),
            next,
            traffic_class: 0xb9,
            flow_label: 0x12345,
            hop_limit: 64,
            payload_octets: payload.len().try_into().unwrap(),
        };
        let mut octets = repr.emit().to_vec();
        octets.extend(payload);
        octets
    }

    #[test]
    fn an_emitted_header_parses_to_the_same() {
        let mut octets = packet(Proto::UDP, &[1, 2, 3]);
        octets.extend([0; 5]);
        let ip = Ipv6::parse(&octets).unwrap();
        assert_eq!((ip.traffic_class(), ip.hop_limit(), ip.next()), (0xb9, 64, Proto::UDP));
        assert_eq!((ip.payload(), ip.total_octets()), (&[1, 2, 3][..], 43));
        assert_eq!(ip.upper().unwrap().payload, [1, 2, 3]);
    }

    #[test]
    fn a_changed_class_leaves_version_and_flow_label() {
        let mut octets = packet(Proto::UDP, &[]);
        set_traffic_class(&mut octets, 0x46);
        assert_eq!(octets[..4], [0x64, 0x61, 0x23, 0x45]);
    }

    #[test]
    fn the_walk_passes_options_and_an_atomic_fragment_to_udp() {
        let mut payload = vec![60, 0, 1, 4, 0, 0, 0, 0];
        payload.extend([44, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        payload.extend([17, 0, 0, 0, 9, 9, 9, 9]);
        payload.extend([1, 2, 3, 4, 0, 8, 0, 0]);
        let octets = packet(Proto::HOP_BY_HOP, &payload);
        let upper = Ipv6::parse(&octets).unwrap().upper().unwrap();
        assert_eq!((upper.proto, upper.headers_octets, upper.fragment), (Proto::UDP, 72, None));
        assert_eq!(upper.payload.len(), 8);
    }

    #[test]
    fn a_later_fragment_ends_the_walk_where_its_piece_begins() {
        let octets = packet(Proto::FRAGMENT, &[60, 0, 0, 17, 9, 9, 9, 9, 0xff, 0xff]);
        let upper = Ipv6::parse(&octets).unwrap().upper().unwrap();
        assert_eq!(upper.fragment, Some(Fragment { offset: 16, more: true, ident: 0x0909_0909 }));
        assert_eq!((upper.proto, upper.payload.len()), (Proto::DEST_OPTIONS, 2));
    }

    #[test]
    fn too_many_or_cut_extensions_are_malformed() {
        let walk = |next, payload: &[u8]| Ipv6::parse(&packet(next, payload)).unwrap().upper().map(|_| ());
        let chain = |n: usize| -> Vec<u8> {
            let mut octets: Vec<u8> = std::iter::repeat_n([60u8, 0, 1, 4, 0, 0, 0, 0], n).flatten().collect();
            octets[8 * (n - 1)] = 17;
            octets
        };
        assert_eq!(walk(Proto::DEST_OPTIONS, &chain(MAX_EXTENSIONS)), Ok(()));
        assert_eq!(walk(Proto::DEST_OPTIONS, &chain(MAX_EXTENSIONS + 1)), Err(DropReason::MalformedIp));
        assert_eq!(walk(Proto::ROUTING, &[17, 1, 0, 0, 0, 0, 0, 0]), Err(DropReason::MalformedIp));
        assert_eq!(walk(Proto::FRAGMENT, &[17]), Err(DropReason::MalformedIp));
    }

    proptest! {
        #[test]
        fn any_octets_parse_or_are_refused(
            next in prop::sample::select(vec![0u8, 17, 43, 44, 51, 60, 135]),
            mut payload in prop::collection::vec(any::<u8>(), 0..128),
            links in prop::collection::vec(prop::sample::select(vec![0u8, 43, 44, 51, 60]), 16),
        ) {
            for (at, link) in links.iter().enumerate() {
                if let Some(octet) = payload.get_mut(8 * at) {
                    *octet = *link;
                }
            }
            let octets = packet(Proto(next), &payload);
            if let Ok(upper) = Ipv6::parse(&octets).unwrap().upper() {
                prop_assert_eq!(upper.headers_octets + upper.payload.len(), octets.len());
            }
            let _ = Ipv6::parse(&payload);
        }
    }
}
