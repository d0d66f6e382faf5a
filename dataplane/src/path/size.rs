//! Stage size: does a packet fit its way? What does not is fragmented where its sender allows it; else the sender is
//! told the size that would have fitted. Never silently dropped. RFC: 4301 section 8.

use std::net::IpAddr;

use esp::DropReason;
use esp::icmp::Error;
use esp::mtu::{self, Fit};
use esp::wire::eth::{self, Mac};
use esp::wire::ip::{Family, Ip, Proto};

use super::context::{Context, Packet, Transit};
use super::flows::Way;
use super::forward::ethertype;
use super::fragment::fragment;
use super::held::Goal;
use super::mss::clamp;
use super::protect::assign;
use super::sealing::SealList;
use crate::ports::{Buffer, InterfaceId, PortId, Ports};
use crate::tables::hop::Hop;
use crate::tables::sa::OutboundSa;

/// Takes a packet into a tunnel, in pieces where it is too long.
pub(super) fn fit_tunnel<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    mut transit: Transit<'t, '_, P::Buf, K>,
    sa: &'t OutboundSa<K>,
    interface: Option<InterfaceId>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    let port = match sa.hop.load() {
        Hop::Resolved(next) => next.port(),
        Hop::Unresolved(port) => port,
        Hop::NoRoute => return ctx.drop(transit.packet, DropReason::NoOuterRoute),
    };
    let interface = interface.and_then(|id| ctx.tables.interface(id));
    let spread = interface.is_some_and(|interface| interface.spread);
    let outer = ctx.tables.port(port).map_or(0, |port| port.mtu);
    let own = interface.and_then(|interface| interface.mtu).unwrap_or(u16::MAX);
    let inner = sa.outer.inner_mtu(outer).min(own);
    let way = Way::Seal { slot: sa.common.slot, port, mtu: inner, spread };
    ctx.learn(transit.flow, &transit.from, way);
    if transit.flow.proto == Proto::TCP {
        clamp(transit.packet.buf.data_mut(), || interface?.mss_clamp);
    }
    match fit(&transit.packet, inner) {
        // What is fragmented outside is cut once it is sealed.
        Ok(Fit::Whole | Fit::FragmentOuter) => assign(ctx, transit.packet, sa, spread, sealing),
        Ok(Fit::Fragment) => fragment(ctx, transit.packet, inner, |ctx, piece| {
            assign(ctx, piece, sa, spread, sealing);
        }),
        Ok(Fit::TooBig { mtu }) => {
            ctx.complain(&transit, Error::TooBig { mtu });
            ctx.drop(transit.packet, DropReason::MtuExceeded);
        }
        Err(reason) => ctx.drop(transit.packet, reason),
    }
}

/// Sends a packet out of a port in clear, in pieces where it is too long.
pub(super) fn fit_port<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    transit: Transit<'t, '_, P::Buf, K>,
    port: PortId,
    next_hop: IpAddr,
) {
    let Some(mtu) = ctx.tables.port(port).map(|port| port.mtu) else {
        return ctx.drop(transit.packet, DropReason::PortUnknown);
    };
    if let Some(mac) = ctx.tables.neighbors.get(&(port, next_hop)) {
        ctx.learn(transit.flow, &transit.from, Way::Clear { port, mac: Mac(*mac), mtu });
    }
    match fit(&transit.packet, mtu) {
        Ok(Fit::Whole) => resolve(ctx, transit.packet, port, next_hop),
        Ok(Fit::Fragment) => {
            fragment(ctx, transit.packet, mtu, |ctx, piece| resolve(ctx, piece, port, next_hop))
        }
        Ok(Fit::FragmentOuter | Fit::TooBig { .. }) => {
            ctx.complain(&transit, Error::TooBig { mtu });
            ctx.drop(transit.packet, DropReason::MtuExceeded);
        }
        Err(reason) => ctx.drop(transit.packet, reason),
    }
}

fn fit<B: Buffer>(packet: &Packet<B>, mtu: u16) -> Result<Fit, DropReason> {
    // The common case needs no second look at the header.
    if packet.buf.data().len() <= usize::from(mtu) {
        return Ok(Fit::Whole);
    }
    Ok(mtu::fit(&Ip::parse(packet.buf.data())?, mtu))
}

fn resolve<P: Ports, K>(ctx: &mut Context<'_, P, K>, packet: Packet<P::Buf>, port: PortId, next_hop: IpAddr) {
    match ctx.tables.neighbors.get(&(port, next_hop)) {
        Some(mac) => emit_clear(ctx, packet, port, Mac(*mac)),
        None => ctx.hold(packet, port, next_hop, Goal::Clear { next_hop }),
    }
}

/// Puts the Ethernet header before an IP packet and sends it.
pub(super) fn emit_clear<P: Ports, K>(
    ctx: &mut Context<'_, P, K>,
    mut packet: Packet<P::Buf>,
    port: PortId,
    to: Mac,
) {
    let Some(own) = ctx.tables.port(port).map(|port| Mac(port.mac)) else {
        return ctx.drop(packet, DropReason::PortUnknown);
    };
    let Some(family) = Family::of_packet(packet.buf.data()) else {
        return ctx.drop(packet, DropReason::MalformedIp);
    };
    if !packet.buf.prepend(eth::HEADER_OCTETS)
        || eth::emit(packet.buf.data_mut(), to, own, ethertype(family)).is_err()
    {
        return ctx.drop(packet, DropReason::NoHeadroom);
    }
    ctx.send(port, packet);
}
