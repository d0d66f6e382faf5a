//! Which pieces of datagrams belong to IKE: a later fragment shows no ports, so it bypasses policy only if the first
//! fragment of the same datagram was IKE. Anything else would let clear text out in fragments.

use std::net::Ipv4Addr;

use esp::wire::ip::Ip;

/// Datagrams remembered at a time; pieces of one follow each other at once.
const PLACES: usize = 8;

/// What the fragments of one IPv4 datagram share. RFC: 791 section 3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Datagram {
    src: Ipv4Addr,
    dst: Ipv4Addr,
    ident: u16,
}

impl Datagram {
    /// IPv6 and IKEv2's own fragmentation (RFC 7383) need no memory: their messages are whole or meet policy.
    fn of(ip: &Ip<'_>) -> Option<Self> {
        match ip {
            Ip::V4(ip) => Some(Self { src: ip.src(), dst: ip.dst(), ident: ip.ident() }),
            Ip::V6(_) => None,
        }
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

    /// Remembers a datagram by its first fragment.
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
    use esp::wire::ipv4::Repr;

    fn packet(ident: u16) -> [u8; 20] {
        let (src, dst) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let (proto, tos, ttl, dont_fragment, total_octets) = (Proto::UDP, 0, 64, false, 20);
        Repr { src, dst, proto, tos, ttl, ident, dont_fragment, total_octets }.emit()
    }

    #[test]
    fn a_later_piece_is_known_by_its_first_until_eight_others_came() {
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
