//! A selector inside a record.

use std::net::IpAddr;

use super::{BadField, field};
use crate::layout::SelectorImage;
use crate::selector::{AddressRange, Family, PortRange, SelectorRecord, octets};

/// Reads a family octet.
pub(super) fn family(name: &'static str, octet: u8) -> Result<Family, BadField> {
    let read = match octet {
        4 => Some(Family::V4),
        6 => Some(Family::V6),
        _ => None,
    };
    field(name, octet, read)
}

/// Reads an address of `family`; the value named in an error is its last 8 octets.
pub(super) fn address(name: &'static str, family: Family, octets: [u8; 16]) -> Result<IpAddr, BadField> {
    let [_, _, _, _, _, _, _, _, tail @ ..] = octets;
    field(name, u64::from_be_bytes(tail), family.address(octets))
}

/// Returns the octets of a selector.
pub(super) fn encode(selector: &SelectorRecord) -> SelectorImage {
    SelectorImage {
        family: selector.family() as u8,
        proto: selector.proto,
        reserved: [0; 2],
        sport_lo: selector.sport.lo(),
        sport_hi: selector.sport.hi(),
        dport_lo: selector.dport.lo(),
        dport_hi: selector.dport.hi(),
        src_lo: octets(selector.src().lo()),
        src_hi: octets(selector.src().hi()),
        dst_lo: octets(selector.dst().lo()),
        dst_hi: octets(selector.dst().hi()),
    }
}

/// Reads a selector.
pub(super) fn decode(image: &SelectorImage) -> Result<SelectorRecord, BadField> {
    let family = family("selector.family", image.family)?;
    let range = |name: &'static str, lo, hi| {
        let lo = address(name, family, lo)?;
        let hi = address(name, family, hi)?;
        field(name, 0u64, AddressRange::new(lo, hi))
    };
    let src = range("selector.src", image.src_lo, image.src_hi)?;
    let dst = range("selector.dst", image.dst_lo, image.dst_hi)?;
    let sport = field("selector.sport_lo", image.sport_lo, PortRange::new(image.sport_lo, image.sport_hi))?;
    let dport = field("selector.dport_lo", image.dport_lo, PortRange::new(image.dport_lo, image.dport_hi))?;
    field("selector.family", image.family, SelectorRecord::new(src, dst, image.proto, sport, dport))
}
