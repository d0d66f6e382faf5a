//! Stage forward: where an admitted IP packet goes: to the host, out of a port, or into a tunnel.

use std::net::IpAddr;

use esp::icmp::Error;
use esp::wire::eth::{self, EtherType, Mac};
use esp::wire::ip::{self, Family, Proto};
use esp::{DropReason, IfId};

use super::admit::admit;
use super::context::{Context, From, Packet, Transit, Transits};
use super::counters::Stage;
use super::host::{HostDevice, PuntClass};
use super::mss::clamp;
use super::protect::{Exit, protect};
use super::sealing::SealList;
use crate::ports::{Buffer, InterfaceId, PortId, Ports};
use crate::tables::topology::Device;

/// Forwards a burst.
pub(super) fn forward_all<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    transits: &mut Transits<'t, P::Buf, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    let start = (ctx.cycles)();
    let count = transits.len();
    for transit in transits.drain() {
        forward(ctx, transit, sealing);
    }
    transits.clear();
    ctx.spent(Stage::Forward, count, start);
}

/// Admits a packet and sends it on its way; what is to be sealed is added to `sealing`.
pub(super) fn forward<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    mut transit: Transit<'t, '_, P::Buf, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    let own = ctx.tables.local(transit.flow.dst).or_else(|| group(ctx, &transit));
    if let Err(reason) = admit(ctx.tables, &transit, own.is_some()) {
        return ctx.drop(transit.packet, reason);
    }
    if let Some(device) = own {
        return deliver(ctx, transit, device);
    }
    if is_forwarded(&transit.from) {
        if unroutable(transit.flow.src) || unroutable(transit.flow.dst) {
            return ctx.drop(transit.packet, DropReason::Multicast);
        }
        if let Err(reason) = ip::decrement_ttl(transit.packet.buf.data_mut()) {
            ctx.complain(&transit, Error::TimeExceeded);
            return ctx.drop(transit.packet, reason);
        }
        if let (From::Tunnel(sa), Proto::TCP) = (transit.from, transit.flow.proto) {
            let tables = ctx.tables;
            clamp(transit.packet.buf.data_mut(), || {
                let interface = tables.derived.interfaces.get(&sa.common.if_id)?;
                tables.interface(*interface)?.mss_clamp
            });
        }
    }
    let Some(target) = ctx.tables.derived.fib.lookup(transit.flow.dst) else {
        ctx.complain(&transit, Error::NoRoute);
        return ctx.drop(transit.packet, DropReason::NoRoute);
    };
    let exit = match target.device {
        Device::Port(port) => Exit::Port { port, next_hop: target.via.as_ref().unwrap_or(&transit.flow.dst) },
        Device::Interface(interface) => Exit::Interface(interface),
    };
    protect(ctx, transit, exit, sealing);
}

/// The interface that a group of its link is for: routing protocols speak to each other so through a tunnel.
#[inline]
fn group<P: Ports, K>(ctx: &Context<'_, P, K>, transit: &Transit<'_, '_, P::Buf, K>) -> Option<Device> {
    match transit.from {
        From::Tunnel(sa) if !sa.common.if_id.is_policy_based() && is_link_group(transit.flow.dst) => {
            interface_of(ctx, sa.common.if_id)
        }
        From::Port(_) | From::Tunnel(_) | From::Tap(_) | From::Tun(_) | From::Engine => None,
    }
}

/// Whether an address names a group that no router forwards to. RFC: 5771 section 4, 4291 section 2.7.
const fn is_link_group(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4.octets(), [224, 0, 0, _]),
        IpAddr::V6(v6) => matches!(v6.octets(), [0xff, 0x02, ..]),
    }
}

/// Whether the packet passes through, as opposed to starting here.
const fn is_forwarded<K>(from: &From<'_, K>) -> bool {
    match from {
        From::Port(_) | From::Tunnel(_) => true,
        From::Tap(_) | From::Tun(_) | From::Engine => false,
    }
}

/// Whether an address may not cross a router.
fn unroutable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local() || v6.is_unspecified(),
    }
}

/// Hands a packet for the gateway to the host, by the device the host expects it on: the interface of the tunnel it
/// came by, else the port its address is on.
fn deliver<P: Ports, K>(ctx: &mut Context<'_, P, K>, transit: Transit<'_, '_, P::Buf, K>, on: Device) {
    let Transit { packet, from, flow } = transit;
    let device = match from {
        From::Tunnel(sa) if !sa.common.if_id.is_policy_based() => interface_of(ctx, sa.common.if_id),
        From::Port(port) => Some(Device::Port(port)),
        From::Tunnel(_) => port_of(ctx, on),
        From::Tap(_) | From::Tun(_) | From::Engine => Some(on),
    };
    match device {
        Some(Device::Interface(interface)) => {
            let class = if flow.dst.is_multicast() { PuntClass::Control } else { PuntClass::Local };
            ctx.punt(packet, HostDevice::Interface(interface), class);
        }
        Some(Device::Port(port)) => to_tap(ctx, packet, port, Family::of(&flow.dst)),
        None => ctx.drop(packet, DropReason::NoInterface),
    }
}

fn interface_of<P: Ports, K>(ctx: &Context<'_, P, K>, if_id: IfId) -> Option<Device> {
    ctx.tables.derived.interfaces.get(&if_id).copied().map(Device::Interface)
}

/// A policy-based tunnel has no interface of its own: its packets appear on a port, the first where the address is
/// on none.
fn port_of<P: Ports, K>(ctx: &Context<'_, P, K>, on: Device) -> Option<Device> {
    match on {
        Device::Port(_) => Some(on),
        Device::Interface(InterfaceId(_)) => ctx.tables.port(PortId(0)).map(|_| Device::Port(PortId(0))),
    }
}

/// Station the host sees as the sender of what the engine hands it; nobody answers to it.
const ENGINE_MAC: Mac = Mac([2, 0, 0, 0, 0, 0]);

fn to_tap<P: Ports, K>(
    ctx: &mut Context<'_, P, K>,
    mut packet: Packet<P::Buf>,
    port: PortId,
    family: Family,
) {
    let Some(mac) = ctx.tables.port(port).map(|port| Mac(port.mac)) else {
        return ctx.drop(packet, DropReason::PortUnknown);
    };
    if !packet.buf.prepend(eth::HEADER_OCTETS)
        || eth::emit(packet.buf.data_mut(), mac, ENGINE_MAC, ethertype(family)).is_err()
    {
        return ctx.drop(packet, DropReason::NoHeadroom);
    }
    ctx.punt(packet, HostDevice::Port(port), PuntClass::Local);
}

/// Ethertype of a family.
pub(super) const fn ethertype(family: Family) -> EtherType {
    match family {
        Family::V4 => EtherType::IPV4,
        Family::V6 => EtherType::IPV6,
    }
}
