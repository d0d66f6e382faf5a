//! Stage classify: what a frame from a port is.
//!
//! ESP and ESP in UDP for the gateway goes to the SAs; IKE, ARP and neighbor discovery go to the host without policy
//! (RFC 4301 section 5.1 asks for exactly this bypass); everything else meets the inbound policies as clear text.

use std::net::IpAddr;

use esp::DropReason;
use esp::decap::{self, Arrival, Arrived};
use esp::wire::Ends;
use esp::wire::eth::{self, EtherType, Frame};
use esp::wire::flow::FlowKey;
use esp::wire::icmp::Icmp;
use esp::wire::ip::{Ip, Proto};
use esp::wire::{ipv4, ipv6, udp};

use super::admit::unprotected;
use super::context::{Context, From, List, Packet, Transits};
use super::counters::{Origin, Stage};
use super::host::{HostDevice, PuntClass};
use super::neighbor;
use super::opening::Openings;
use crate::ports::{Buffer, Burst, PortId, Ports};
use crate::tables::Tables;
use crate::tables::spd::Direction;

/// Takes the ESP packets of the usual form that are for this gateway out of `frames`, which keeps the others in order.
pub(super) fn take_esp<P: Ports, K>(
    ctx: &mut Context<'_, P, K>,
    port: PortId,
    frames: &mut Burst<P::Buf>,
    esp: &mut Openings<'_, P::Buf, K>,
) {
    // A burst that has them only in its middle leaves them to `classify`.
    let ends = [frames.first(), frames.last()];
    if !ends.into_iter().flatten().any(|frame| may_carry_esp(frame.data())) {
        return;
    }
    let start = (ctx.cycles)();
    let (mut last, origin) = (None, Origin::Port(port));
    for buf in std::mem::take(frames) {
        match usual_esp(ctx, port, buf.data(), &mut last) {
            Some((arrived, octets)) => esp.push(bare(Packet { buf, origin }, octets), arrived),
            None => frames.push(buf),
        }
    }
    ctx.spent(Stage::Classify, esp.len(), start);
}

/// Whether a frame may be one that [`take_esp`] is about, by two or three of its fields.
#[inline]
fn may_carry_esp(frame: &[u8]) -> bool {
    const UPPER4: usize = eth::HEADER_OCTETS + ipv4::HEADER_OCTETS;
    const UPPER6: usize = eth::HEADER_OCTETS + ipv6::HEADER_OCTETS;
    let Some(head) = frame.first_chunk::<{ UPPER4 + 4 }>() else { return false };
    let [.., e0, e1, _, _, _, _, _, _, next, _, _, proto, _, _, _, _, _, _, _, _, _, _, _, _, p0, p1] = *head;
    let nat_t = |port: [u8; 2]| u16::from_be_bytes(port) == udp::NAT_T_PORT;
    match EtherType(u16::from_be_bytes([e0, e1])) {
        EtherType::IPV4 => match Proto(proto) {
            Proto::UDP => nat_t([p0, p1]),
            proto => proto == Proto::ESP,
        },
        EtherType::IPV6 => match Proto(next) {
            Proto::UDP => matches!(frame.get(UPPER6..), Some([_, _, p0, p1, ..]) if nat_t([*p0, *p1])),
            proto => proto == Proto::ESP,
        },
        _ => false,
    }
}

/// Returns a packet of the usual form and its length. `last` are the addresses that were found to be a far host's and the
/// gateway's.
#[inline(always)]
#[allow(clippy::inline_always, reason = "what is read stays where it is written")]
fn usual_esp<P: Ports, K>(
    ctx: &Context<'_, P, K>,
    port: PortId,
    frame: &[u8],
    last: &mut Option<Ends>,
) -> Option<(Arrived, usize)> {
    let frame = Frame::parse(frame).ok()?;
    let own = ctx.tables.port(port)?;
    let is_ip = matches!(frame.ethertype(), EtherType::IPV4 | EtherType::IPV6);
    if !is_ip || frame.dst().0 != own.mac {
        return None;
    }
    let (arrived, octets) = Arrived::at_first_look(frame.payload(), udp::NAT_T_PORT)?;
    if *last != Some(arrived.ends) {
        // Many peers, one gateway: most often only the source is another.
        let same = last.is_some_and(|last| last.dst_is_of(&arrived.ends));
        if cannot_come(ctx.tables, arrived.ends.src())
            || !same && !may_be_for_us(ctx.tables, arrived.ends.dst())
        {
            return None;
        }
        *last = Some(arrived.ends);
    }
    Some((arrived, octets))
}

/// Whether no packet between these addresses can come from outside.
fn is_martian<K>(tables: &Tables<K>, src: IpAddr, dst: IpAddr) -> bool {
    cannot_come(tables, src) || dst.is_loopback()
}

/// Whether no packet from this address can come from outside.
#[inline]
fn cannot_come<K>(tables: &Tables<K>, src: IpAddr) -> bool {
    src.is_multicast() || src.is_loopback() || tables.local(src).is_some()
}

/// Whether a packet from outside to this address is for the gateway.
fn may_be_for_us<K>(tables: &Tables<K>, dst: IpAddr) -> bool {
    !dst.is_loopback() && tables.local(dst).is_some()
}

/// What one frame is; the lengths are those of the IP packet, without Ethernet padding.
enum Kind {
    Esp(Arrived, usize),
    /// Its flow is in the list already.
    Clear(usize),
    Arp,
    Nd,
    Punt(PuntClass),
}

/// Divides the frames a port received into ESP and what came in clear.
pub(super) fn classify<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    port: PortId,
    packets: &mut List<Packet<P::Buf>>,
    esp: &mut Openings<'_, P::Buf, K>,
    clear: &mut Transits<'t, P::Buf, K>,
) {
    let start = (ctx.cycles)();
    let count = packets.len();
    for packet in packets.drain(..) {
        match examine(ctx, port, packet.buf.data(), clear) {
            Ok(Kind::Esp(arrived, octets)) => esp.push(bare(packet, octets), arrived),
            Ok(Kind::Clear(octets)) => clear.push_packet(bare(packet, octets), From::Port(port)),
            Ok(Kind::Arp) => neighbor::arp(ctx, port, packet),
            Ok(Kind::Nd) => neighbor::nd(ctx, port, packet),
            Ok(Kind::Punt(class)) => ctx.punt(packet, HostDevice::Port(port), class),
            Err(reason) => ctx.drop(packet, reason),
        }
    }
    ctx.spent(Stage::Classify, count, start);
}

/// Takes the Ethernet header and padding off.
pub(super) fn bare<B: Buffer>(mut packet: Packet<B>, ip_octets: usize) -> Packet<B> {
    packet.buf.narrow(eth::HEADER_OCTETS, ip_octets);
    packet
}

fn examine<P: Ports, K>(
    ctx: &Context<'_, P, K>,
    port: PortId,
    octets: &[u8],
    list: &mut Transits<'_, P::Buf, K>,
) -> Result<Kind, DropReason> {
    let frame = Frame::parse(octets)?;
    let own = ctx.tables.port(port).ok_or(DropReason::PortUnknown)?;
    let group = frame.dst().is_group();
    if !group && frame.dst().0 != own.mac {
        return Err(DropReason::ForeignMac);
    }
    match frame.ethertype() {
        EtherType::ARP => return Ok(Kind::Arp),
        EtherType::IPV4 | EtherType::IPV6 => {}
        _ => return Err(DropReason::UnknownEthertype),
    }
    let ip = Ip::parse(frame.payload())?;
    if !ip.checksum_ok() {
        return Err(DropReason::IpChecksum);
    }
    let (src, dst) = (ip.src(), ip.dst());
    if is_martian(ctx.tables, src, dst) {
        return Err(DropReason::Martian);
    }
    if Icmp::of(&ip).is_some_and(|icmp| icmp.is_neighbor_discovery()) {
        return Ok(Kind::Nd);
    }
    if stays_on_link(dst) {
        // Nobody it is for is beyond the host, but it has come in clear. RFC 4301 section 5.2.
        unprotected(ctx.tables, Direction::In, &FlowKey::of(&ip)?)?;
        return Ok(Kind::Punt(PuntClass::Control));
    }
    if ctx.tables.local(dst).is_some() {
        return local(&ip, list);
    }
    if group {
        return Err(DropReason::Multicast);
    }
    clear(&ip, list)
}

/// Whether an address is a group's or only means something on its link: the host's business.
const fn stays_on_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_multicast() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_multicast() || address.is_unicast_link_local(),
    }
}

fn clear<B, K>(ip: &Ip<'_>, list: &mut Transits<'_, B, K>) -> Result<Kind, DropReason> {
    list.push_flow(FlowKey::of(ip)?);
    Ok(Kind::Clear(ip.total_octets()))
}

/// A packet to an address of the gateway.
fn local<B, K>(ip: &Ip<'_>, list: &mut Transits<'_, B, K>) -> Result<Kind, DropReason> {
    match decap::classify(ip, udp::NAT_T_PORT)? {
        Arrival::Esp(arrived) => Ok(Kind::Esp(arrived, ip.total_octets())),
        Arrival::Ike => Ok(Kind::Punt(PuntClass::Ike)),
        Arrival::Other => other(ip, list),
    }
}

/// Neither ESP nor behind a non-ESP marker: IKE on its first port, pieces of IKE messages, or ordinary traffic.
fn other<B, K>(ip: &Ip<'_>, list: &mut Transits<'_, B, K>) -> Result<Kind, DropReason> {
    let flow = FlowKey::of(ip)?;
    if flow.proto != Proto::UDP {
        return clear(ip, list);
    }
    if flow.fragment || flow.dport == udp::IKE_PORT {
        // A later piece reaches nobody unless its first piece did, which is examined here.
        return Ok(Kind::Punt(PuntClass::Ike));
    }
    if flow.dport != udp::NAT_T_PORT {
        return clear(ip, list);
    }
    // The first piece of a longer datagram; whole ones were told apart before.
    match udp::NatT::of(payload(ip)?.get(udp::HEADER_OCTETS..).unwrap_or_default()) {
        udp::NatT::Ike => Ok(Kind::Punt(PuntClass::Ike)),
        udp::NatT::Keepalive | udp::NatT::Esp | udp::NatT::Malformed => Err(DropReason::EspFragment),
    }
}

fn payload<'a>(ip: &Ip<'a>) -> Result<&'a [u8], DropReason> {
    match ip {
        Ip::V4(ip) => Ok(ip.payload()),
        Ip::V6(ip) => ip.upper().map(|upper| upper.payload),
    }
}
