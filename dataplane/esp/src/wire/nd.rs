//! Neighbour solicitation and advertisement, for an engine that answers by itself. RFC: 4861 section 4.

use core::net::Ipv6Addr;

use super::checksum;
use super::eth::Mac;
use super::icmp::v6;
use super::ip::Proto;
use super::ipv6::{self, Ipv6};
use crate::DropReason;

/// Length of a message with one link-layer address option and its IP header. Units: octets.
pub const PACKET_OCTETS: usize = ipv6::HEADER_OCTETS + MESSAGE_OCTETS;

const MESSAGE_OCTETS: usize = 32;
const MESSAGE_LENGTH: u16 = 32;
const _: () = assert!(MESSAGE_LENGTH as usize == MESSAGE_OCTETS);
/// Every message has this hop limit, which no router lets in from elsewhere. RFC: 4861 section 7.1.
const HOP_LIMIT: u8 = 255;
const SOURCE_OPTION: u8 = 1;
const TARGET_OPTION: u8 = 2;
/// "Solicited" and "override" of an advertisement.
const SOLICITED_OVERRIDE: u8 = 0x60;
const OVERRIDE: u8 = 0x20;

/// A message about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nd {
    /// Who has `target`?
    Solicitation {
        /// Address that is asked for.
        target: Ipv6Addr,
        /// Station of the one who asks, unless it probes for a duplicate.
        mac: Option<Mac>,
    },
    /// `target` is at `mac`.
    Advertisement {
        /// Address that is told about.
        target: Ipv6Addr,
        /// Its station, where the message names one.
        mac: Option<Mac>,
    },
}

impl Nd {
    /// Reads a message from a packet. Errors: `MalformedArp` when it is none, is wrong, or comes from beyond the link.
    /// RFC: 4861 section 7.1.
    pub fn parse(ip: &Ipv6<'_>) -> Result<Self, DropReason> {
        let malformed = DropReason::MalformedArp;
        let octets = u32::try_from(ip.payload().len()).map_err(|_| malformed)?;
        let pseudo = checksum::pseudo_header(&ip.src().into(), &ip.dst().into(), Proto::ICMPV6, octets);
        let genuine = ip.next() == Proto::ICMPV6
            && ip.hop_limit() == HOP_LIMIT
            && checksum::fold(checksum::sum(ip.payload(), pseudo)) == 0xffff;
        let ([kind, 0, _, _, _, _, _, _], rest) = ip.payload().split_first_chunk().ok_or(malformed)? else {
            return Err(malformed);
        };
        let (target, options) = rest.split_first_chunk().filter(|_| genuine).ok_or(malformed)?;
        let target = Ipv6Addr::from(*target);
        if target.is_multicast() {
            return Err(malformed);
        }
        match *kind {
            v6::NEIGHBOR_SOLICITATION => {
                Ok(Self::Solicitation { target, mac: option(options, SOURCE_OPTION)? })
            }
            v6::NEIGHBOR_ADVERTISEMENT => {
                Ok(Self::Advertisement { target, mac: option(options, TARGET_OPTION)? })
            }
            _ => Err(malformed),
        }
    }
}

/// Returns a question for the station that has `target`, as an IP packet for [`solicited_node`] of it.
#[must_use]
pub fn solicitation(src: Ipv6Addr, mac: Mac, target: Ipv6Addr) -> [u8; PACKET_OCTETS] {
    emit(src, solicited_node(target), v6::NEIGHBOR_SOLICITATION, 0, target, SOURCE_OPTION, mac)
}

/// Returns the answer that `target` is at `mac`, as an IP packet; `dst` unspecified asks for all nodes.
#[must_use]
pub fn advertisement(target: Ipv6Addr, mac: Mac, dst: Ipv6Addr) -> [u8; PACKET_OCTETS] {
    let (dst, flags) = if dst.is_unspecified() {
        (Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), OVERRIDE)
    } else {
        (dst, SOLICITED_OVERRIDE)
    };
    emit(target, dst, v6::NEIGHBOR_ADVERTISEMENT, flags, target, TARGET_OPTION, mac)
}

/// Returns the group that the station with this address listens to. RFC: 4291 section 2.7.1.
#[must_use]
pub fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = addr.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// Returns the station address of a group. RFC: 2464 section 7.
#[must_use]
pub const fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// Finds a link-layer address among options. Errors: `MalformedArp` when one has no length or is cut short.
fn option(mut options: &[u8], wanted: u8) -> Result<Option<Mac>, DropReason> {
    while let [kind, units, ..] = *options {
        let (this, rest) = options
            .split_at_checked(8 * usize::from(units))
            .filter(|(this, _)| !this.is_empty())
            .ok_or(DropReason::MalformedArp)?;
        if let (true, [_, _, mac @ ..]) = (kind == wanted, this) {
            return Ok(mac.first_chunk().copied().map(Mac));
        }
        options = rest;
    }
    Ok(None)
}

fn emit(
    src: Ipv6Addr,
    dst: Ipv6Addr,
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    option: u8,
    mac: Mac,
) -> [u8; PACKET_OCTETS] {
    let repr = ipv6::Repr {
        src,
        dst,
        next: Proto::ICMPV6,
        traffic_class: 0,
        flow_label: 0,
        hop_limit: HOP_LIMIT,
        payload_octets: MESSAGE_LENGTH,
    };
    let mut message = [0u8; MESSAGE_OCTETS];
    let (head, rest) = message.split_at_mut(8);
    let (target_place, option_place) = rest.split_at_mut(16);
    target_place.copy_from_slice(&target.octets());
    let [a, b, c, d, e, f] = mac.0;
    option_place.copy_from_slice(&[option, 1, a, b, c, d, e, f]);
    head.copy_from_slice(&[kind, 0, 0, 0, flags, 0, 0, 0]);
    let pseudo = checksum::pseudo_header(&src.into(), &dst.into(), Proto::ICMPV6, u32::from(MESSAGE_LENGTH));
    let [high, low] = (!checksum::fold(checksum::sum(&message, pseudo))).to_be_bytes();
    let [_, _, first, second, ..] = &mut message;
    (*first, *second) = (high, low);

    let mut packet = [0u8; PACKET_OCTETS];
    let (header_place, message_place) = packet.split_at_mut(ipv6::HEADER_OCTETS);
    header_place.copy_from_slice(&repr.emit());
    message_place.copy_from_slice(&message);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 7]);

    fn addr(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn a_solicitation_survives_the_wire() {
        let packet = solicitation(addr("2001:db8::1"), MAC, addr("2001:db8::2"));
        let ip = Ipv6::parse(&packet).unwrap();
        assert_eq!(ip.dst(), addr("ff02::1:ff00:2"));
        assert_eq!(group_mac(ip.dst()), Mac([0x33, 0x33, 0xff, 0, 0, 2]));
        assert_eq!(Nd::parse(&ip), Ok(Nd::Solicitation { target: addr("2001:db8::2"), mac: Some(MAC) }));
    }

    #[test]
    fn an_advertisement_survives_the_wire() {
        for (to, dst) in [("2001:db8::1", "2001:db8::1"), ("::", "ff02::1")] {
            let packet = advertisement(addr("2001:db8::2"), MAC, addr(to));
            let ip = Ipv6::parse(&packet).unwrap();
            assert_eq!(ip.dst(), addr(dst));
            assert_eq!(Nd::parse(&ip), Ok(Nd::Advertisement { target: addr("2001:db8::2"), mac: Some(MAC) }));
        }
    }

    #[test]
    fn a_message_from_beyond_the_link_or_with_a_wrong_sum_is_refused() {
        for at in [7, 41, 50, 70] {
            let mut packet = solicitation(addr("2001:db8::1"), MAC, addr("2001:db8::2"));
            packet[at] ^= 1;
            assert_eq!(Nd::parse(&Ipv6::parse(&packet).unwrap()), Err(DropReason::MalformedArp));
        }
    }

    proptest! {
        #[test]
        fn any_options_are_read_or_refused(octets in prop::collection::vec(0u8..4, 0..64)) {
            let _ = option(&octets, SOURCE_OPTION);
        }
    }
}
