//! Which pieces of datagrams belong to IKE: a later fragment shows no ports, so it bypasses policy only if the first
//! fragment of the same datagram was IKE. Anything else would let clear text out in fragments.

use std::net::IpAddr;

use esp::wire::ip::Ip;

/// Datagrams remembered at a time; pieces of one follow each other at once.
const PLACES: usize = 8;

/// What the fragments of one datagram share. RFC: 791 section 3.2, 8200 section 4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Datagram {
    src: IpAddr,
    dst: IpAddr,
    ident: u32,
}

impl Datagram {
    /// `None` for a whole datagram.
    fn of(ip: &Ip<'_>) -> Option<Self> {
        let ident = match ip {
            Ip::V4(ip) => ip.is_fragment().then(|| u32::from(ip.ident())),
            Ip::V6(ip) => ip.upper().ok()?.fragment.map(|fragment| fragment.ident),
        };
        Some(Self { src: ip.src(), dst: ip.dst(), ident: ident? })
    }
}

/// The last datagrams whose first fragment was IKE.
#[derive(Debug)]
pub(super) struct IkePieces {
    recent: [Option<Datagram>; PLACES],
    next: usize,
}

impl IkePieces {
    pub(super) const fn new() -> Self {
        Self { recent: [None; PLACES], next: 0 }
    }

    /// Remembers a datagram by its first fragment; one that is whole needs no memory.
    pub(super) fn remember(&mut self, first: &Ip<'_>) {
        if let (Some(datagram), Some(place)) = (Datagram::of(first), self.recent.get_mut(self.next)) {
            *place = Some(datagram);
            self.next = (self.next + 1) % PLACES;
        }
    }

    /// Whether a later fragment belongs to one that is remembered.
    pub(super) fn contains(&self, later: &Ip<'_>) -> bool {
        Datagram::of(later).is_some_and(|datagram| self.recent.contains(&Some(datagram)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use esp::wire::Proto;
    use esp::wire::{ipv4, ipv6};

    const MORE_FRAGMENTS: u8 = 0x20;

    fn v4(ident: u16) -> Vec<u8> {
        let (src, dst) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        let (proto, tos, ttl, dont_fragment, total_octets) = (Proto::UDP, 0, 64, false, 20);
        let mut packet =
            ipv4::Repr { src, dst, proto, tos, ttl, ident, dont_fragment, total_octets }.emit().to_vec();
        packet[6] = MORE_FRAGMENTS;
        packet
    }

    fn v6(ident: u16) -> Vec<u8> {
        let (src, dst) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        let (traffic_class, flow_label, hop_limit, payload_octets) = (0, 0, 64, 8);
        let next = Proto::FRAGMENT;
        let header =
            ipv6::Repr { src, dst, next, traffic_class, flow_label, hop_limit, payload_octets }.emit();
        let [high, low] = ident.to_be_bytes();
        [&header[..], &[Proto::UDP.0, 0, 0, 1, 0, 0, high, low]].concat()
    }

    #[test]
    fn a_later_piece_is_known_by_its_first_until_eight_others_came() {
        for packet in [v4, v6] {
            let mut pieces = IkePieces::new();
            let ike = packet(7);
            let ike = Ip::parse(&ike).unwrap();
            assert!(!pieces.contains(&ike));
            pieces.remember(&ike);
            assert!(pieces.contains(&ike));
            for ident in 100..108 {
                let other = packet(ident);
                assert!(!pieces.contains(&Ip::parse(&other).unwrap()));
                pieces.remember(&Ip::parse(&other).unwrap());
            }
            assert!(!pieces.contains(&ike));
        }
    }

    #[test]
    fn a_whole_datagram_takes_no_place() {
        let mut whole = v4(7);
        whole[6] = 0;
        let mut pieces = IkePieces::new();
        pieces.remember(&Ip::parse(&whole).unwrap());
        assert!(!pieces.contains(&Ip::parse(&v4(7)).unwrap()));
    }
}
