//! Fragmentation of IPv4, and of the outer IPv6 packets that a link under 1280 octets asks for. RFC: 791, 8200.

use crate::DropReason;
use crate::wire::ipv4::{self, Ipv4};
use crate::wire::ipv6::{self, Ipv6};

/// A piece of a payload. Units: octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins in the payload.
    pub at: usize,
    /// Its length.
    pub octets: usize,
    /// Whether pieces follow.
    pub more: bool,
}

/// The pieces of a payload, in order.
#[derive(Clone, Copy, Debug)]
pub struct Pieces {
    at: usize,
    end: usize,
    step: usize,
}

impl Iterator for Pieces {
    type Item = Piece;

    #[inline]
    fn next(&mut self) -> Option<Piece> {
        let left = self.end.checked_sub(self.at).filter(|left| *left > 0)?;
        let octets = left.min(self.step);
        let piece = Piece { at: self.at, octets, more: left > octets };
        self.at += octets;
        Some(piece)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let pieces = (self.end - self.at).div_ceil(self.step);
        (pieces, Some(pieces))
    }
}

impl ExactSizeIterator for Pieces {}

/// Plans the fragments of a packet; `None` when it must not be fragmented or the MTU leaves no room.
/// Units of `mtu`: octets, IP header included.
#[must_use]
pub fn pieces(ip: &Ipv4<'_>, mtu: u16) -> Option<Pieces> {
    let allowed = !ip.dont_fragment();
    plan(ip.payload().len(), usize::from(mtu).checked_sub(ip.header_octets())?).filter(|_| allowed)
}

/// Plans the fragments of an IPv6 packet that this gateway itself sends; no other may be fragmented by it.
/// `None` when the MTU leaves no room. Units of `mtu`: octets, IP header included.
#[must_use]
pub fn pieces6(ip: &Ipv6<'_>, mtu: u16) -> Option<Pieces> {
    plan(ip.payload().len(), usize::from(mtu).checked_sub(ipv6::HEADER_OCTETS + ipv6::FRAGMENT_OCTETS)?)
}

fn plan(end: usize, room: usize) -> Option<Pieces> {
    let step = room / UNIT_OCTETS * UNIT_OCTETS;
    (step > 0).then_some(Pieces { at: 0, end, step })
}

/// Writes a fragment with its header to `out` and returns its length. Of the options, later fragments get those that say so.
/// Errors: `NoHeadroom` when `out` is too short, `MalformedIp` when the piece is none of this packet.
pub fn emit(ip: &Ipv4<'_>, piece: &Piece, out: &mut [u8]) -> Result<usize, DropReason> {
    let body = ip.payload().get(piece.at..).and_then(|rest| rest.get(..piece.octets));
    let body = body.ok_or(DropReason::MalformedIp)?;
    let mut options = [0u8; MAX_OPTIONS_OCTETS];
    let options = if piece.at == 0 { ip.options() } else { copied_options(ip.options(), &mut options) };
    let header_octets = ipv4::HEADER_OCTETS + options.len();
    let total_octets = header_octets + body.len();
    let (header, body_place) = out
        .get_mut(..total_octets)
        .and_then(|out| out.split_at_mut_checked(header_octets))
        .ok_or(DropReason::NoHeadroom)?;
    let (fixed, options_place) =
        header.split_at_mut_checked(ipv4::HEADER_OCTETS).ok_or(DropReason::NoHeadroom)?;
    fixed.copy_from_slice(ip.packet().get(..ipv4::HEADER_OCTETS).ok_or(DropReason::MalformedIp)?);
    options_place.copy_from_slice(options);
    body_place.copy_from_slice(body);
    let length = u16::try_from(total_octets).map_err(|_| DropReason::MalformedIp)?;
    let offset = u16::try_from(ip.fragment_offset() + piece.at).map_err(|_| DropReason::MalformedIp)?;
    ipv4::set_fragment(header, length, offset, piece.more || ip.more_fragments());
    Ok(total_octets)
}

/// Writes a fragment of an IPv6 packet of this gateway to `out` and returns its length. `ident` differs for every packet
/// between the two addresses. Errors: as for [`emit`].
pub fn emit6(ip: &Ipv6<'_>, piece: &Piece, ident: u32, out: &mut [u8]) -> Result<usize, DropReason> {
    let body = ip.payload().get(piece.at..).and_then(|rest| rest.get(..piece.octets));
    let body = body.ok_or(DropReason::MalformedIp)?;
    let offset = u16::try_from(piece.at).map_err(|_| DropReason::MalformedIp)?;
    let [a, b] = (offset | u16::from(piece.more)).to_be_bytes();
    let [c, d, e, f] = ident.to_be_bytes();
    let payload_octets = ipv6::FRAGMENT_OCTETS + body.len();
    let repr = ipv6::Repr {
        src: ip.src(),
        dst: ip.dst(),
        next: crate::wire::Proto::FRAGMENT,
        traffic_class: ip.traffic_class(),
        flow_label: 0,
        hop_limit: ip.hop_limit(),
        payload_octets: u16::try_from(payload_octets).map_err(|_| DropReason::MalformedIp)?,
    };
    let total_octets = ipv6::HEADER_OCTETS + payload_octets;
    let out = out.get_mut(..total_octets).ok_or(DropReason::NoHeadroom)?;
    let (header, rest) = out.split_first_chunk_mut().ok_or(DropReason::NoHeadroom)?;
    *header = repr.emit();
    let (fragment, rest) = rest.split_first_chunk_mut().ok_or(DropReason::NoHeadroom)?;
    *fragment = [ip.next().get(), 0, a, b, c, d, e, f];
    rest.copy_from_slice(body);
    Ok(total_octets)
}

/// Collects the options that later fragments carry too, padded with "end of options".
fn copied_options<'a>(mut options: &[u8], out: &'a mut [u8; MAX_OPTIONS_OCTETS]) -> &'a [u8] {
    let mut octets = 0;
    while let [kind, rest @ ..] = options {
        let this_octets = match (*kind, rest) {
            (END_OF_OPTIONS, _) => break,
            (NO_OPERATION, _) => 1,
            (_, [length, ..]) => usize::from(*length),
            (_, []) => break,
        };
        let Some((this, next)) = options.split_at_checked(this_octets).filter(|_| this_octets > 0) else {
            break;
        };
        if kind & COPIED != 0
            && let Some(place) = out.get_mut(octets..octets + this_octets)
        {
            place.copy_from_slice(this);
            octets += this_octets;
        }
        options = next;
    }
    out.get(..octets.next_multiple_of(4)).unwrap_or_default()
}

/// Offsets of fragments are counted in these. Units: octets.
const UNIT_OCTETS: usize = 8;
const MAX_OPTIONS_OCTETS: usize = 40;
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const COPIED: u8 = 0x80;
