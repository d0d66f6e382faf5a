//! Encapsulation: an outer header rendered once per SA, and the few octets of it that differ from packet to packet.
//!
//! A protected packet is built in one buffer: `front` octets before the inner packet, `tail` octets behind it.
//! [`Outer::layout`] says how many, [`Outer::encap`] fills them and gives the AEAD its text and ICV, and [`Outer::finish`]
//! writes what can be known only after the seal.

mod outer;

use core::net::IpAddr;

pub use outer::{Outer, Room, Sealable};

use crate::aead::{Aad, ICV_OCTETS, NONCE_OCTETS, SALT_OCTETS};
use crate::wire::esp::{ALIGN_OCTETS, HEADER_OCTETS, IV_OCTETS, TRAILER_OCTETS};
use crate::wire::ipv6;
use crate::wire::udp::{self, UdpPorts};
use crate::{Spi, ecn};

/// Length of the longest outer header: IPv6 and UDP. Units: octets.
pub const MAX_OUTER_OCTETS: usize = ipv6::HEADER_OCTETS + udp::HEADER_OCTETS;
/// The most that is put before an inner packet. Units: octets.
pub const MAX_FRONT_OCTETS: usize = MAX_OUTER_OCTETS + HEADER_OCTETS + IV_OCTETS;
/// The most that is put behind an inner packet, without TFC padding. Units: octets.
pub const MAX_TAIL_OCTETS: usize = ALIGN_OCTETS - 1 + TRAILER_OCTETS + ICV_OCTETS;

/// Returns the nonce of a packet: the SA's salt, then the IV on the wire. RFC: 4106 section 4.
#[must_use]
#[inline]
pub const fn nonce(salt: [u8; SALT_OCTETS], iv: [u8; IV_OCTETS]) -> [u8; NONCE_OCTETS] {
    let ([a, b, c, d], [e, f, g, h, i, j, k, l]) = (salt, iv);
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// Returns what of a packet is authenticated and not encrypted. RFC: 4106 section 5.
#[must_use]
#[inline]
pub const fn aad(spi: Spi, seq: u64, esn: bool) -> Aad {
    let [a, b, c, d] = spi.get().to_be_bytes();
    let [e, f, g, h, i, j, k, l] = seq.to_be_bytes();
    //= rfc4106#5
    if esn { Aad::Esn([a, b, c, d, e, f, g, h, i, j, k, l]) } else { Aad::Short([a, b, c, d, i, j, k, l]) }
}

/// How the outer header gets its DSCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dscp {
    /// From the inner header. RFC: 4301 section 5.1.2.1.
    #[default]
    Copy,
    /// Always this one, 0 to 63.
    Fixed(u8),
}

/// How an outer IPv4 header gets its "don't fragment". RFC: 4301 section 8.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Df {
    /// From the inner header; for inner IPv6, which no router fragments, it is set.
    #[default]
    Copy,
    /// Always set.
    Set,
    /// Never set.
    Clear,
}

/// What an outer header is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct OuterConfig {
    /// Ports of a UDP header, where there is one. RFC: 3948 section 2.1.
    pub udp: Option<UdpPorts>,
    /// This gateway's address.
    pub src: IpAddr,
    /// The peer's address.
    pub dst: IpAddr,
    /// How DSCP is made.
    pub dscp: Dscp,
    /// How ECN is made.
    pub ecn: ecn::Ingress,
    /// How "don't fragment" is made.
    pub df: Df,
    /// TTL or hop limit.
    pub ttl: u8,
}

/// Where things stand in a protected packet. IP carries no more than 16 bits of length, and no part is longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    front_octets: u16,
    inner_octets: u16,
    text_octets: u16,
    pad_octets: u8,
}

impl Layout {
    /// Returns the length of outer headers, ESP header and IV. Units: octets.
    #[must_use]
    #[inline]
    pub const fn front_octets(&self) -> usize {
        self.front_octets as usize
    }

    /// Returns the length of the inner packet. Units: octets.
    #[must_use]
    #[inline]
    pub const fn inner_octets(&self) -> usize {
        self.inner_octets as usize
    }

    /// Returns the length of what is encrypted. Units: octets.
    #[must_use]
    #[inline]
    pub const fn text_octets(&self) -> usize {
        self.text_octets as usize
    }

    /// Returns the length of padding, without its length and next header. Units: octets.
    #[must_use]
    #[inline]
    pub const fn pad_octets(&self) -> u8 {
        self.pad_octets
    }

    /// Returns the length of padding, its length and next header: what the text ends with. Units: octets.
    #[must_use]
    #[inline]
    pub const fn end_octets(&self) -> usize {
        self.pad_octets as usize + TRAILER_OCTETS
    }

    /// Returns the length of what is put behind the inner packet. Units: octets.
    #[must_use]
    #[inline]
    pub const fn tail_octets(&self) -> usize {
        self.text_octets() - self.inner_octets() + ICV_OCTETS
    }

    /// Returns the length of the protected packet. Units: octets, outer header through ICV.
    #[must_use]
    #[inline]
    pub const fn total_octets(&self) -> usize {
        self.front_octets() + self.text_octets() + ICV_OCTETS
    }
}
