//! Decapsulation: what stands in front of an ESP packet before it is opened, and what it leaves behind afterwards.

use crate::aead::ICV_OCTETS;
use crate::ecn::{self, Ecn};
use crate::wire::esp::{self, Esp, TRAILER_OCTETS};
use crate::wire::ip::{self, Ip};
use crate::wire::plain::Plain;
use crate::wire::udp::{self, NatT, Udp, UdpPorts};
use crate::wire::{Ends, Family, Proto, checksum, ipv4, ipv6};
use crate::{DropReason, Spi};

/// What a packet for a local address is to IPsec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// ESP, with or without UDP.
    Esp(Arrived),
    /// IKE behind a non-ESP marker.
    Ike,
    /// Neither; also a later fragment of UDP, which only reassembly can tell.
    Other,
}

/// An ESP packet as it came, by offsets into its IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// SPI.
    pub spi: Spi,
    /// Low half of the sequence number.
    pub seq_lo: u32,
    /// IV.
    pub iv: [u8; esp::IV_OCTETS],
    /// Outer source and destination.
    pub ends: Ends,
    /// Ports, where the packet came in UDP.
    pub udp: Option<UdpPorts>,
    /// Outer DSCP and ECN.
    pub tos: u8,
    text_at: u16,
    text_octets: u16,
}

impl Arrived {
    /// Looks at a packet from its IP header on, and reads it when it is what nearly all ESP is: a whole packet with a right
    /// header, without IPv4 options or IPv6 extensions, in UDP to `nat_t_port` or not. Also returns the packet's length by its
    /// header. Units: octets. `None` says nothing about a packet but that [`classify`] has to look at it.
    #[must_use]
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "returned by copy it stalls a core")]
    pub fn at_first_look(packet: &[u8], nat_t_port: u16) -> Option<(Self, usize)> {
        let (outer, proto, octets) = match packet.first()? {
            0x45 => first_look4(packet)?,
            0x60..=0x6f => first_look6(packet)?,
            _ => return None,
        };
        let payload = packet.get(outer.at..octets)?;
        let arrived = match proto {
            Proto::ESP => outer.carries(payload, None),
            Proto::UDP => {
                let udp = Udp::parse(payload).ok()?;
                let esp = udp.ports().dst == nat_t_port && NatT::of(udp.payload()) == NatT::Esp;
                let outer = Outer { at: outer.at + udp::HEADER_OCTETS, ..outer };
                if esp { outer.carries(udp.payload(), Some(udp.ports())) } else { None }
            }
            _ => None,
        };
        Some((arrived?, octets))
    }

    /// Returns where the cipher text begins in the IP packet. Units: octets.
    #[must_use]
    #[inline]
    pub fn text_at(&self) -> usize {
        usize::from(self.text_at)
    }

    /// Returns the length of the cipher text; the ICV follows it. Units: octets.
    #[must_use]
    #[inline]
    pub fn text_octets(&self) -> usize {
        usize::from(self.text_octets)
    }

    /// Splits the IP packet into the AEAD's text and ICV; `None` when it is not the packet that was looked at.
    #[must_use]
    #[inline]
    pub fn split<'a>(&self, packet: &'a mut [u8]) -> Option<(&'a mut [u8], &'a mut [u8; ICV_OCTETS])> {
        let end = self.text_at() + self.text_octets() + ICV_OCTETS;
        packet.get_mut(self.text_at()..end)?.split_last_chunk_mut()
    }
}

/// Classifies a packet whose destination is local. `nat_t_port` is the UDP port that IKE and ESP share.
/// Errors: `EspFragment`, `MalformedEsp`, `MalformedUdp`, `Keepalive`, `MalformedIp`.
#[inline]
pub fn classify(ip: &Ip<'_>, nat_t_port: u16) -> Result<Arrival, DropReason> {
    let whole = Whole::of(ip)?;
    match whole.proto {
        Proto::ESP if whole.fragment => Err(DropReason::EspFragment),
        Proto::ESP => arrived(ip, whole.payload, whole.at, None).map(Arrival::Esp),
        Proto::UDP if whole.fragment => Ok(Arrival::Other),
        Proto::UDP => {
            let udp = Udp::parse(whole.payload)?;
            if udp.ports().dst != nat_t_port {
                return Ok(Arrival::Other);
            }
            match NatT::of(udp.payload()) {
                NatT::Keepalive => Err(DropReason::Keepalive),
                NatT::Ike => Ok(Arrival::Ike),
                NatT::Esp => {
                    let at = whole.at + udp::HEADER_OCTETS;
                    arrived(ip, udp.payload(), at, Some(udp.ports())).map(Arrival::Esp)
                }
                NatT::Malformed => Err(DropReason::MalformedEsp),
            }
        }
        _ => Ok(Arrival::Other),
    }
}

/// Reads an ESP packet from its IP header on, for a caller that knows it to be one.
/// Errors: as for [`classify`], and `MalformedEsp` when it is something else.
pub fn parse_outer(packet: &[u8], nat_t_port: u16) -> Result<Arrived, DropReason> {
    match classify(&Ip::parse(packet)?, nat_t_port)? {
        Arrival::Esp(arrived) => Ok(arrived),
        Arrival::Ike | Arrival::Other => Err(DropReason::MalformedEsp),
    }
}

/// The payload of a packet of either family.
struct Whole<'a> {
    proto: Proto,
    payload: &'a [u8],
    at: usize,
    fragment: bool,
}

impl<'a> Whole<'a> {
    #[inline]
    fn of(ip: &Ip<'a>) -> Result<Self, DropReason> {
        Ok(match ip {
            //= rfc4303#3.4.1
            Ip::V4(ip) => Self {
                proto: ip.proto(),
                payload: ip.payload(),
                at: ip.header_octets(),
                fragment: ip.is_fragment(),
            },
            Ip::V6(ip) => {
                let upper = ip.upper()?;
                let fragment = upper.fragment.is_some();
                Self { proto: upper.proto, payload: upper.payload, at: upper.headers_octets, fragment }
            }
        })
    }
}

/// Reads the ESP packet that stands at `at` in `ip`. What may follow a datagram inside the IP packet is not part of it.
#[inline]
fn arrived(ip: &Ip<'_>, octets: &[u8], at: usize, udp: Option<UdpPorts>) -> Result<Arrived, DropReason> {
    let ends = Ends::between(ip.src(), ip.dst()).ok_or(DropReason::MalformedIp)?;
    let outer = Outer { ends, tos: ip.tos(), at };
    outer.carries(octets, udp).ok_or(DropReason::MalformedEsp)
}

/// What the headers before an ESP packet say.
struct Outer {
    ends: Ends,
    tos: u8,
    /// Where the ESP packet, or a UDP header before it, begins in the IP packet. Units: octets.
    at: usize,
}

impl Outer {
    /// `None` when `octets` are too few.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as above")]
    fn carries(&self, octets: &[u8], udp: Option<UdpPorts>) -> Option<Arrived> {
        let esp = Esp::parse(octets).ok()?;
        let text = esp.text();
        Some(Arrived {
            spi: esp.spi(),
            seq_lo: esp.seq_lo(),
            iv: esp.iv(),
            ends: self.ends,
            udp,
            tos: self.tos,
            text_at: u16::try_from(self.at + text.start).ok()?,
            text_octets: u16::try_from(text.len()).ok()?,
        })
    }
}

/// What the first look tells about a packet: its headers, the protocol behind them, its length.
type Headers = (Outer, Proto, usize);

#[inline]
fn first_look4(packet: &[u8]) -> Option<Headers> {
    let header = packet.first_chunk::<{ ipv4::HEADER_OCTETS }>()?;
    let [_, tos, l0, l1, _, _, f0, f1, _, proto, _, _, s0, s1, s2, s3, dst @ ..] = *header;
    let whole = u16::from_be_bytes([f0, f1]) & !ipv4::DONT_FRAGMENT == 0;
    if !whole || !checksum::is_right(header) {
        return None;
    }
    let outer = Outer { ends: Ends::of4([[s0, s1, s2, s3], dst]), tos, at: ipv4::HEADER_OCTETS };
    Some((outer, Proto(proto), u16::from_be_bytes([l0, l1]).into()))
}

#[inline]
fn first_look6(packet: &[u8]) -> Option<Headers> {
    let (header, _) = packet.split_first_chunk::<{ ipv6::HEADER_OCTETS }>()?;
    let [first, second, _, _, l0, l1, next, _, addresses @ ..] = header;
    let ([src, dst], []) = addresses.as_chunks() else { return None };
    let outer =
        Outer { ends: Ends::of6([*src, *dst]), tos: first << 4 | second >> 4, at: ipv6::HEADER_OCTETS };
    Some((outer, Proto(*next), ipv6::HEADER_OCTETS + usize::from(u16::from_be_bytes([*l0, *l1]))))
}

/// What of the outer header goes into the inner one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// Whether congestion marks go inward by the table of RFC 6040; otherwise the inner field stays.
    pub ecn: bool,
    /// Whether the outer DSCP replaces the inner one. RFC: 4301 section 5.1.2.1.
    pub dscp: bool,
}

impl Default for Modes {
    fn default() -> Self {
        Self { ecn: true, dscp: false }
    }
}

/// The packet that was inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Where it begins in the outer packet. Units: octets.
    pub at: usize,
    /// Its length, by its own header: TFC padding is gone. Units: octets.
    pub octets: usize,
    /// Its family.
    pub family: Family,
    /// Whether inner and outer ECN field went together.
    pub alert: ecn::Alert,
}

/// Strips what the AEAD has opened: checks padding and next header, the inner header against its length, and applies `modes`.
///
/// To be called with the packet that `arrived` was read from, once its ICV has matched and its window has moved.
/// Errors: `BadPadding`, `Dummy`, `NotTunnel`, `BadInner`, `Ecn`.
#[inline]
pub fn finish(packet: &mut [u8], arrived: &Arrived, modes: Modes) -> Result<Inner, DropReason> {
    finish_and_look(packet, arrived, modes, None).map(|(inner, _)| inner)
}

/// As [`finish`]; where the inner packet is plain it is looked at once for both, as one that enters by `entry`.
///
/// Errors: as for [`finish`].
#[inline(always)]
#[allow(clippy::inline_always, reason = "returned by copy it stalls a core")]
pub fn finish_and_look(
    packet: &mut [u8],
    arrived: &Arrived,
    modes: Modes,
    entry: Option<u32>,
) -> Result<(Inner, Option<Plain>), DropReason> {
    let (text, _) = arrived.split(packet).ok_or(DropReason::MalformedEsp)?;
    let (payload, next) = strip(text)?;
    let family = match next {
        Proto::IPV4 => Family::V4,
        Proto::IPV6 => Family::V6,
        //= rfc4303#2.6
        Proto::NONE => return Err(DropReason::Dummy),
        _ => return Err(DropReason::NotTunnel),
    };
    //= rfc4303#2.7
    let plain = entry.and_then(|entry| Plain::of(payload, entry)).filter(|plain| plain.family() == family);
    let (octets, inner_tos) = match (&plain, &*payload) {
        (Some(plain), [first, second, ..]) => {
            let tos = if family == Family::V4 { *second } else { first << 4 | second >> 4 };
            (usize::from(plain.octets.get()), tos)
        }
        _ => inner_header(payload, family).ok_or(DropReason::BadInner)?,
    };
    let (tos, alert) = inward(inner_tos, arrived.tos, modes)?;
    if tos != inner_tos {
        ip::set_tos(payload, tos);
    }
    Ok((Inner { at: arrived.text_at(), octets, family, alert }, plain))
}

/// Returns length and type of service octet of a packet whose header is right. Units: octets.
#[inline]
fn inner_header(payload: &[u8], family: Family) -> Option<(usize, u8)> {
    if let (Family::V4, Some(header)) = (family, payload.first_chunk::<{ ipv4::HEADER_OCTETS }>())
        && let [0x45, tos, l0, l1, ..] = *header
    {
        let octets = usize::from(u16::from_be_bytes([l0, l1]));
        let inside = (ipv4::HEADER_OCTETS..=payload.len()).contains(&octets);
        return (inside && checksum::is_right(header)).then_some((octets, tos));
    }
    let inner = Ip::parse(payload).ok().filter(|inner| inner.family() == family && inner.checksum_ok())?;
    Some((inner.total_octets(), inner.tos()))
}

/// Takes padding and trailer off the text. The ICV already matched, so wrong padding is the peer's fault, not an attack.
#[inline]
fn strip(text: &mut [u8]) -> Result<(&mut [u8], Proto), DropReason> {
    let (rest, [pad_octets, next]) =
        text.split_last_chunk_mut::<TRAILER_OCTETS>().ok_or(DropReason::BadPadding)?;
    let payload_octets = rest.len().checked_sub(usize::from(*pad_octets)).ok_or(DropReason::BadPadding)?;
    let (payload, pad) = rest.split_at_mut_checked(payload_octets).ok_or(DropReason::BadPadding)?;
    //= rfc4303#2.4
    if !pad.iter().zip(1u8..).all(|(octet, value)| *octet == value) {
        return Err(DropReason::BadPadding);
    }
    Ok((payload, Proto(*next)))
}

/// Returns the inner type of service octet after the tunnel.
#[inline]
fn inward(inner: u8, outer: u8, modes: Modes) -> Result<(u8, ecn::Alert), DropReason> {
    let (ecn, alert) = if modes.ecn {
        let (ecn, alert) = ecn::egress(Ecn::of(inner), Ecn::of(outer));
        (ecn?, alert)
    } else {
        (Ecn::of(inner), ecn::Alert::None)
    };
    let dscp = if modes.dscp { outer } else { inner } & !ecn::MASK;
    Ok((dscp | ecn as u8, alert))
}
