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
    pieces_of_own(ip, mtu).filter(|_| !ip.dont_fragment())
}

/// Plans the fragments of a packet that this gateway itself sends, whatever its "don't fragment" says; the fragments have it clear.
/// `None` when the MTU leaves no room. Units of `mtu`: octets, IP header included.
#[must_use]
pub fn pieces_of_own(ip: &Ipv4<'_>, mtu: u16) -> Option<Pieces> {
    plan(ip.payload().len(), usize::from(mtu).checked_sub(ip.header_octets())?)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Proto;
    use proptest::prelude::*;

    /// Options that are copied (128), are not (7), or only pad.
    const OPTIONS: [u8; 16] = [1, 7, 7, 4, 10, 0, 0, 0, 130, 6, 1, 2, 3, 4, 0, 0];

    fn packet(options: &[u8], payload_octets: usize) -> Vec<u8> {
        let mut packet = ipv4::Repr {
            src: [10, 1, 0, 1].into(),
            dst: [10, 2, 0, 1].into(),
            proto: Proto::UDP,
            tos: 0x28,
            ttl: 9,
            ident: 0xbeef,
            dont_fragment: false,
            total_octets: 0,
        }
        .emit()
        .to_vec();
        packet.extend(options);
        let octets = u16::try_from(packet.len() + payload_octets).unwrap();
        ipv4::set_fragment(&mut packet, octets, 0, false);
        packet.extend((0..payload_octets).map(|at| at.to_le_bytes()[0]));
        packet
    }

    fn fragments(packet: &[u8], mtu: u16) -> Vec<Vec<u8>> {
        let ip = Ipv4::parse(packet).unwrap();
        let pieces = pieces(&ip, mtu).unwrap();
        let planned = pieces.len();
        let all: Vec<_> = pieces
            .map(|piece| {
                let mut out = vec![0; usize::from(mtu)];
                let octets = emit(&ip, &piece, &mut out).unwrap();
                out.truncate(octets);
                out
            })
            .collect();
        assert_eq!(all.len(), planned);
        all
    }

    fn reassembled(fragments: &[Vec<u8>]) -> Vec<u8> {
        let mut payload = Vec::<u8>::new();
        for (at, fragment) in fragments.iter().enumerate() {
            let ip = Ipv4::parse(fragment).unwrap();
            assert!(ip.checksum_ok());
            assert_eq!((ip.ident(), ip.tos(), ip.ttl(), ip.proto()), (0xbeef, 0x28, 9, Proto::UDP));
            assert_eq!(ip.fragment_offset(), payload.len());
            assert_eq!(ip.more_fragments(), at + 1 < fragments.len());
            payload.extend(ip.payload());
        }
        payload
    }

    #[test]
    fn a_packet_that_says_no_is_not_fragmented() {
        let mut packet = packet(&[], 2000);
        packet[6] |= 0x40;
        let ip = Ipv4::parse(&packet).unwrap();
        assert!(pieces(&ip, 1500).is_none());
        let piece = pieces_of_own(&ip, 1500).unwrap().next().unwrap();
        let mut out = [0; 1500];
        emit(&ip, &piece, &mut out).unwrap();
        assert!(!Ipv4::parse(&out).unwrap().dont_fragment());
    }

    #[test]
    fn only_options_that_say_so_are_in_later_fragments() {
        let all = fragments(&packet(&OPTIONS, 100), 100);
        assert_eq!(Ipv4::parse(&all[0]).unwrap().options(), OPTIONS);
        assert_eq!(Ipv4::parse(&all[1]).unwrap().options(), [130, 6, 1, 2, 3, 4, 0, 0]);
    }

    #[test]
    fn an_mtu_that_leaves_no_room_has_no_pieces() {
        let packet = packet(&[], 100);
        assert!(pieces(&Ipv4::parse(&packet).unwrap(), 27).is_none());
        assert!(pieces(&Ipv4::parse(&packet).unwrap(), 19).is_none());
    }

    #[test]
    fn a_fragment_of_a_fragment_keeps_its_place() {
        let whole = packet(&[], 3000);
        let mut all = Vec::new();
        for fragment in fragments(&whole, 1500) {
            all.extend(fragments_or_itself(fragment, 600));
        }
        assert_eq!(reassembled(&all), whole[20..]);
    }

    fn fragments_or_itself(packet: Vec<u8>, mtu: u16) -> Vec<Vec<u8>> {
        if packet.len() <= usize::from(mtu) { vec![packet] } else { fragments(&packet, mtu) }
    }

    #[test]
    fn ipv6_of_our_own_goes_in_pieces_that_fit() {
        let repr = ipv6::Repr {
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8::2".parse().unwrap(),
            next: Proto::ESP,
            traffic_class: 0x28,
            flow_label: 0,
            hop_limit: 64,
            payload_octets: 1300,
        };
        let mut packet = repr.emit().to_vec();
        packet.extend((0..1300).map(|at| (at % 251) as u8));
        let ip = Ipv6::parse(&packet).unwrap();
        let (mut payload, mut out) = (Vec::<u8>::new(), [0; 1280]);
        for piece in pieces6(&ip, 1280).unwrap() {
            let octets = emit6(&ip, &piece, 77, &mut out).unwrap();
            let upper = Ipv6::parse(&out[..octets]).unwrap().upper().unwrap();
            assert_eq!(
                upper.fragment,
                Some(ipv6::Fragment { offset: payload.len(), more: piece.more, ident: 77 })
            );
            assert_eq!(upper.proto, Proto::ESP);
            payload.extend(upper.payload);
        }
        assert_eq!(payload, packet[40..]);
    }

    proptest! {
        #[test]
        fn the_pieces_of_any_packet_reassemble(
            payload_octets in 1usize..9000, mtu in 68u16..1600, options in 0usize..=10,
        ) {
            let packet = packet(&OPTIONS.repeat(3)[..4 * options], payload_octets);
            let all = fragments(&packet, mtu);
            prop_assert!(all.iter().all(|fragment| fragment.len() <= usize::from(mtu)));
            let header_octets = 20 + 4 * options;
            prop_assert_eq!(&reassembled(&all), &packet[header_octets..]);
        }

        #[test]
        fn any_options_are_copied_or_left(options in prop::collection::vec(any::<u8>(), 0..=40)) {
            let mut out = [0; MAX_OPTIONS_OCTETS];
            prop_assert_eq!(copied_options(&options, &mut out).len() % 4, 0);
        }
    }
}
