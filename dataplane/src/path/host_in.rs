//! Stage host: what the host sent. Its frames and packets meet outbound policy like everybody's; IKE, ARP and
//! neighbor discovery bypass it, and ESP that the host made itself is dropped.

use esp::DropReason;
use esp::IfId;
use esp::wire::eth::{self, EtherType, Frame};
use esp::wire::flow::FlowKey;
use esp::wire::icmp::Icmp;
use esp::wire::ip::{Ip, Proto};
use esp::wire::udp;

use super::context::{Context, From, Packet, Transit};
use super::counters::Origin;
use super::host::{FromHost, HostDevice};
use super::ike_pieces::IkePieces;
use super::protect::{Exit, protect};
use super::sealing::SealList;
use crate::ports::{Buffer, InterfaceId, PortId, Ports};
use crate::tables::spd::{Action, Direction};

/// Packets taken from the host's ring in one pass.
const BURST: usize = 32;

/// Takes what the control thread read from TAPs and TUNs; returns how many.
pub(super) fn host_in<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) -> usize {
    for taken in 0..BURST {
        let Some(FromHost { device, buf }) = ctx.shared().host.from_host.pop() else { return taken };
        match device {
            HostDevice::Port(port) => {
                let packet = Packet { buf, origin: Origin::Tap(port) };
                ctx.account(packet.origin).entered.add(1);
                frame(ctx, port, packet, sealing);
            }
            HostDevice::Interface(interface) => {
                let packet = Packet { buf, origin: Origin::Tun };
                ctx.account(packet.origin).entered.add(1);
                ip_packet(ctx, interface, packet, sealing);
            }
        }
    }
    BURST
}

/// What a frame of the host is.
enum Kind {
    /// It goes out as it is.
    Bypass,
    /// It is an IP packet of this length for policy.
    Policy(FlowKey, usize),
}

/// A frame from the TAP of a port: the kernel has routed it and knows the neighbor.
fn frame<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    port: PortId,
    mut packet: Packet<P::Buf>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    let (flow, octets) = match examine(ctx.ike_pieces, packet.buf.data()) {
        Ok(Kind::Bypass) => return ctx.send(port, packet),
        Ok(Kind::Policy(flow, octets)) => (flow, octets),
        Err(reason) => return ctx.drop(packet, reason),
    };
    let policy = ctx.tables.spd.lookup(IfId::POLICY_BASED, Direction::Out, &flow);
    match policy.map(|policy| &policy.action) {
        None | Some(Action::Pass) => ctx.send(port, packet),
        Some(Action::Discard) => ctx.drop(packet, DropReason::OutboundBlocked),
        Some(Action::Protect(..)) => {
            packet.buf.adj(eth::HEADER_OCTETS);
            let padding = packet.buf.data().len().saturating_sub(octets);
            packet.buf.trim(padding);
            let exit = Exit::Port { port, next_hop: &flow.dst };
            protect(ctx, Transit { packet, flow: &flow, from: From::Tap(port) }, exit, sealing);
        }
    }
}

fn examine(pieces: &mut IkePieces, octets: &[u8]) -> Result<Kind, DropReason> {
    let frame = Frame::parse(octets)?;
    match frame.ethertype() {
        EtherType::IPV4 | EtherType::IPV6 => {}
        // ARP, and what a host says on its link; no IP, so no policy is about it.
        _ => return Ok(Kind::Bypass),
    }
    let ip = Ip::parse(frame.payload())?;
    let flow = FlowKey::of(&ip)?;
    if is_esp(&ip, &flow) {
        return Err(DropReason::HostEsp);
    }
    if bypasses(pieces, &ip, &flow) { Ok(Kind::Bypass) } else { Ok(Kind::Policy(flow, ip.total_octets())) }
}

/// Whether the host did the engine's work, which would repeat IVs under the same keys.
fn is_esp(ip: &Ip<'_>, flow: &FlowKey) -> bool {
    let in_udp = flow.proto == Proto::UDP
        && flow.sport == udp::NAT_T_PORT
        && !flow.fragment
        && payload(ip).and_then(|datagram| datagram.get(udp::HEADER_OCTETS..)).map(udp::NatT::of)
            == Some(udp::NatT::Esp);
    flow.proto == Proto::ESP || in_udp
}

/// IKE, its later fragments, and neighbor discovery; nothing else, groups included. RFC: 4301 section 5.1.
fn bypasses(pieces: &mut IkePieces, ip: &Ip<'_>, flow: &FlowKey) -> bool {
    if Icmp::of(ip).is_some_and(|icmp| icmp.is_neighbor_discovery()) {
        return true;
    }
    if flow.fragment {
        return pieces.contains(ip);
    }
    let ike = flow.proto == Proto::UDP && matches!(flow.sport, udp::IKE_PORT | udp::NAT_T_PORT);
    if ike {
        pieces.remember(ip);
    }
    ike
}

fn payload<'a>(ip: &Ip<'a>) -> Option<&'a [u8]> {
    match ip {
        Ip::V4(ip) => Some(ip.payload()),
        Ip::V6(ip) => ip.upper().ok().map(|upper| upper.payload),
    }
}

/// A packet from the TUN of an interface: it goes into that tunnel or nowhere.
fn ip_packet<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    interface: InterfaceId,
    mut packet: Packet<P::Buf>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    let parsed = Ip::parse(packet.buf.data()).and_then(|ip| Ok((FlowKey::of(&ip)?, ip.total_octets())));
    let (flow, octets) = match parsed {
        Ok(parsed) => parsed,
        Err(reason) => return ctx.drop(packet, reason),
    };
    let behind = packet.buf.data().len().saturating_sub(octets);
    packet.buf.trim(behind);
    let from = From::Tun(interface);
    protect(ctx, Transit { packet, flow: &flow, from }, Exit::Interface(interface), sealing);
}
