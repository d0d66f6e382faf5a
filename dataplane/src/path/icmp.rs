//! ICMP errors of the engine: what it says about a packet it could not forward. RFC: 1812 section 4.3, 4443.

use std::net::IpAddr;

use esp::icmp::{self, Error};
use esp::wire::FlowKey;
use esp::wire::ip::Family;

use super::context::{Context, From, List, Packet, Transit};
use super::forward::forward;
use super::sealing::SealList;
use crate::ports::{Buffer, Ports};
use crate::tables::topology::{Device, Prefix};

/// TTL of what the engine says.
const TTL: u8 = 64;

/// Errors made in this pass, on their way at its end.
pub(super) type Complaints<B> = List<Packet<B>>;

impl<P: Ports, K> Context<'_, P, K> {
    /// Tells the sender of a packet what happened to it, at a limited rate.
    #[cold]
    pub(super) fn complain(&mut self, about: &Transit<'_, '_, P::Buf, K>, error: Error) {
        if matches!(about.from, From::Engine) || self.complaints.is_full() {
            return;
        }
        let Some(src) = self.speaks_from(about) else { return };
        if !self.limiter.icmp.take(self.now_ns) {
            return;
        }
        let Some(mut packet) = self.ports.alloc().map(|buf| Packet { buf, origin: about.packet.origin })
        else {
            return;
        };
        if !packet.buf.append(icmp::MAX_ERROR_OCTETS) {
            return;
        }
        let Some(octets) = icmp::error(error, about.packet.buf.data(), src, TTL, packet.buf.data_mut())
        else {
            return;
        };
        packet.buf.trim(icmp::MAX_ERROR_OCTETS - octets);
        self.account(packet.origin).made.add(1);
        self.complaints.push(packet);
    }

    /// The address an error comes from: one on the device the packet came by. A tunnel often has none; then one where
    /// the packet was going, which is what the tunnel's policies are about. Else any of the gateway's.
    fn speaks_from(&self, about: &Transit<'_, '_, P::Buf, K>) -> Option<IpAddr> {
        let topology = &self.tables.topology;
        let family = Family::of(&about.flow.src);
        let came_by = match about.from {
            From::Port(port) | From::Tap(port) => Some(Device::Port(port)),
            From::Tun(interface) => Some(Device::Interface(interface)),
            From::Tunnel(sa) => {
                self.tables.derived.interfaces.get(&sa.common.if_id).copied().map(Device::Interface)
            }
            From::Engine => None,
        };
        let goes_by = self.tables.derived.fib.lookup(about.flow.dst).map(|target| target.device);
        let near = [came_by, goes_by].into_iter().flatten().filter_map(|device| self.addresses(device));
        let all = topology.ports.iter().map(|port| port.addresses.as_slice());
        let tunnels = topology.interfaces.iter().map(|interface| interface.addresses.as_slice());
        let lists = near.chain(all.rev()).chain(tunnels);
        lists.flatten().map(|prefix| prefix.addr).find(|addr| Family::of(addr) == family)
    }

    fn addresses(&self, device: Device) -> Option<&[Prefix]> {
        match device {
            Device::Port(port) => self.tables.port(port).map(|port| port.addresses.as_slice()),
            Device::Interface(id) => {
                self.tables.interface(id).map(|interface| interface.addresses.as_slice())
            }
        }
    }
}

/// Sends what was said in this pass.
pub(super) fn flush<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    for packet in std::mem::take(ctx.complaints) {
        match FlowKey::parse(packet.buf.data()) {
            Ok(flow) => forward(ctx, Transit { packet, flow: &flow, from: From::Engine }, sealing),
            Err(reason) => ctx.drop(packet, reason),
        }
    }
}
