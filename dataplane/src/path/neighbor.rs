//! ARP and IPv6 neighbor discovery.
//!
//! With netdevs the kernel on the TAP answers and asks; the engine passes the messages on and only listens. Without,
//! the engine does both. Never do both answer. RFC: 826, 4861.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use esp::DropReason;
use esp::wire::arp::{Arp, Op};
use esp::wire::eth::{self, EtherType, Frame, Mac};
use esp::wire::ip::Ip;
use esp::wire::nd::{self, Nd};

use super::context::{Context, Packet};
use super::counters::Origin;
use super::host::{HostDevice, PuntClass};
use super::shared::Notice;
use crate::ports::{Buffer, PortId, Ports};
use crate::tables::topology::Device;

/// Takes an ARP frame.
pub(super) fn arp<P: Ports, K>(ctx: &mut Context<'_, P, K>, port: PortId, packet: Packet<P::Buf>) {
    let message = Frame::parse(packet.buf.data()).and_then(|frame| Arp::parse(frame.payload()));
    let message = match message {
        Ok(message) => message,
        Err(reason) => return ctx.drop(packet, reason),
    };
    let for_us = ctx.tables.local(message.target_ip.into()) == Some(Device::Port(port));
    if for_us && !message.sender_ip.is_unspecified() {
        learn(ctx, port, message.sender_ip.into(), message.sender_mac);
    }
    if ctx.tables.topology.netdevs {
        return ctx.punt(packet, HostDevice::Port(port), PuntClass::Neighbor);
    }
    if for_us
        && message.op == Op::Request
        && let Some(own) = ctx.tables.port(port)
    {
        let own = Mac(own.mac);
        emit(ctx, port, packet.origin, message.sender_mac, EtherType::ARP, &message.reply(own).emit());
    }
    ctx.drop(packet, DropReason::NeighborMessage);
}

/// Takes a frame of IPv6 neighbor discovery; router messages are the host's business.
pub(super) fn nd<P: Ports, K>(ctx: &mut Context<'_, P, K>, port: PortId, packet: Packet<P::Buf>) {
    let parsed = Frame::parse(packet.buf.data()).and_then(|frame| Ip::parse(frame.payload()));
    let (source, message) = match parsed {
        Ok(Ip::V6(ip)) => (ip.src(), Nd::parse(&ip).ok()),
        Ok(Ip::V4(_)) | Err(_) => return ctx.drop(packet, DropReason::MalformedArp),
    };
    match message {
        Some(Nd::Advertisement { target, mac: Some(mac) }) => learn(ctx, port, target.into(), mac),
        Some(Nd::Solicitation { target, mac: Some(mac) })
            if ctx.tables.local(target.into()) == Some(Device::Port(port)) && !source.is_unspecified() =>
        {
            learn(ctx, port, source.into(), mac);
        }
        Some(Nd::Advertisement { .. } | Nd::Solicitation { .. }) | None => {}
    }
    if ctx.tables.topology.netdevs {
        return ctx.punt(packet, HostDevice::Port(port), PuntClass::Neighbor);
    }
    if let Some(Nd::Solicitation { target, mac }) = message {
        advertise(ctx, port, packet.origin, target, source, mac);
    }
    ctx.drop(packet, DropReason::NeighborMessage);
}

fn advertise<P: Ports, K>(
    ctx: &mut Context<'_, P, K>,
    port: PortId,
    origin: Origin,
    target: Ipv6Addr,
    asker: Ipv6Addr,
    asker_mac: Option<Mac>,
) {
    if ctx.tables.local(target.into()) != Some(Device::Port(port)) {
        return;
    }
    let Some(own) = ctx.tables.port(port).map(|own| Mac(own.mac)) else { return };
    let to = asker_mac.unwrap_or(nd::group_mac(ALL_NODES));
    emit(ctx, port, origin, to, EtherType::IPV6, &nd::advertisement(target, own, asker));
}

/// The group of every IPv6 node on a link. RFC: 4291 section 2.7.1.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// Takes up who says to be where, as far as it can be on this link.
fn learn<P: Ports, K>(ctx: &Context<'_, P, K>, port: PortId, ip: IpAddr, mac: Mac) {
    if !mac.is_group() && ctx.tables.neighbors.get(&(port, ip)) != Some(&mac.0) && on_link(ctx, port, ip) {
        ctx.notice(Notice::Learnt { port, ip, mac: mac.0 });
    }
}

fn on_link<P: Ports, K>(ctx: &Context<'_, P, K>, port: PortId, ip: IpAddr) -> bool {
    let link_local = v6(ip).is_some_and(|ip| ip.is_unicast_link_local());
    let way = ctx.tables.derived.fib.lookup(ip);
    link_local
        || way.is_some_and(|way| way.device == Device::Port(port) && way.via.is_none_or(|via| via == ip))
}

/// Asks the link for the way to `destination`.
pub(super) fn solicit<P: Ports, K>(ctx: &mut Context<'_, P, K>, port: PortId, destination: IpAddr) {
    let target =
        ctx.tables.derived.fib.lookup(destination).and_then(|target| target.via).unwrap_or(destination);
    let Some(own) = ctx.tables.port(port) else { return };
    let mac = Mac(own.mac);
    let origin = Origin::Port(port);
    match target {
        IpAddr::V4(target) => {
            let source = own.addresses.iter().find_map(|prefix| v4(prefix.addr));
            let request = Arp::request(mac, source.unwrap_or(Ipv4Addr::UNSPECIFIED), target);
            emit(ctx, port, origin, Mac::BROADCAST, EtherType::ARP, &request.emit());
        }
        IpAddr::V6(target) => {
            let source = own.addresses.iter().find_map(|prefix| v6(prefix.addr));
            let message = nd::solicitation(source.unwrap_or(Ipv6Addr::UNSPECIFIED), mac, target);
            let group = nd::group_mac(nd::solicited_node(target));
            emit(ctx, port, origin, group, EtherType::IPV6, &message);
        }
    }
}

const fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

const fn v6(address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(address),
    }
}

/// Sends a frame of the engine's own making.
fn emit<P: Ports, K>(
    ctx: &mut Context<'_, P, K>,
    port: PortId,
    origin: Origin,
    to: Mac,
    ethertype: EtherType,
    payload: &[u8],
) {
    let Some(own) = ctx.tables.port(port).map(|own| Mac(own.mac)) else { return };
    let Some(mut packet) = ctx.make(origin) else { return };
    if !packet.buf.append(eth::HEADER_OCTETS + payload.len()) {
        return ctx.drop(packet, DropReason::NoHeadroom);
    }
    if let Some((header, body)) = packet.buf.data_mut().split_first_chunk_mut() {
        *header = eth::header(to, own, ethertype);
        body.copy_from_slice(payload);
    }
    ctx.send(port, packet);
}
