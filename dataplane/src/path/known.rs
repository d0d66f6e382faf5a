//! Stage known: packets of flows whose way was found before take it at once; all others go the long way.
//!
//! The order within a flow is kept: behind a packet that goes the long way, all packets of the burst between the same two
//! addresses go it too.

use esp::wire::FlowKey;
use esp::wire::eth::{EtherType, Frame, Mac};
use esp::wire::ip;
use esp::wire::plain::{self, FlowId, Plain};

use super::classify::bare;
use super::context::{Context, From, List, Packet};
use super::counters::Stage;
use super::decap::Inner;
use super::flows::{Place, Way};
use super::protect::{SealList, assign};
use super::size::emit_clear;
use crate::ports::{Buffer, PortId, Ports};
use crate::tables::hop::Hop;

/// What the first look at a packet told.
type Look = Option<(Plain, Place)>;

/// Sends the frames of known flows that came by `port` on their way; the others are added to the empty `rest`.
pub(super) fn from_port<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    port: PortId,
    packets: &mut List<Packet<P::Buf>>,
    rest: &mut List<Packet<P::Buf>>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    let start = (ctx.cycles)();
    let mac = ctx.tables.port(port).map_or(Mac::BROADCAST, |port| Mac(port.mac));
    let entry = entry::<K>(&From::Port(port));
    let looks: List<Look> =
        packets.iter().map(|packet| look(ctx, in_frame(packet.buf.data(), mac)?, entry?)).collect();
    let mut order = Order::default();
    let count = packets.len();
    for (packet, look) in packets.drain(..).zip(&looks) {
        let known = match look {
            Some((plain, place)) if order.permits(plain) => {
                let octets = usize::from(plain.octets);
                follow(ctx, packet, |packet| bare(packet, octets), plain, *place, sealing)
            }
            _ => Err(packet),
        };
        if let Err(packet) = known {
            order.note(packet.buf.data().get(esp::wire::eth::HEADER_OCTETS..));
            rest.push(packet);
        }
    }
    ctx.spent(Stage::Known, count - rest.len(), start);
}

/// Sends the inner packets of known flows on their way; the others are added to the empty `rest`.
pub(super) fn from_tunnels<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    packets: &mut List<Inner<'t, P::Buf, K>>,
    rest: &mut List<Inner<'t, P::Buf, K>>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    let start = (ctx.cycles)();
    let looks: List<Look> =
        packets.iter().map(|(packet, sa)| look(ctx, packet.buf.data(), entry(&From::Tunnel(sa))?)).collect();
    let mut order = Order::default();
    let count = packets.len();
    for ((packet, sa), look) in packets.drain(..).zip(&looks) {
        let known = match look {
            Some((plain, place)) if order.permits(plain) => {
                follow(ctx, packet, |packet| packet, plain, *place, sealing)
            }
            _ => Err(packet),
        };
        if let Err(packet) = known {
            order.note(Some(packet.buf.data()));
            rest.push((packet, sa));
        }
    }
    ctx.spent(Stage::Known, count - rest.len(), start);
}

/// Returns the IP packet in a frame for this station.
#[inline]
fn in_frame(frame: &[u8], mac: Mac) -> Option<&[u8]> {
    let frame = Frame::parse(frame).ok()?;
    let ip = matches!(frame.ethertype(), EtherType::IPV4 | EtherType::IPV6);
    (ip && frame.dst() == mac).then(|| frame.payload())
}

#[inline]
fn look<P: Ports, K>(ctx: &Context<'_, P, K>, packet: &[u8], entry: u32) -> Look {
    let plain = Plain::of(packet, entry)?;
    let place = ctx.flows.place(&plain.id);
    Some((plain, place))
}

/// Where a packet enters, as a part of its flow's id: what comes from the host or the engine itself is not remembered.
#[inline]
fn entry<K>(from: &From<'_, K>) -> Option<u32> {
    match from {
        From::Port(port) => Some(u32::from(port.0)),
        From::Tunnel(sa) if sa.common.slot < BY_TUNNEL => Some(BY_TUNNEL | sa.common.slot),
        From::Tunnel(_) | From::Tap(_) | From::Tun(_) | From::Engine => None,
    }
}

const BY_TUNNEL: u32 = 1 << (plain::ENTRY_BITS - 1);

/// Sends a packet on the way of its flow, `strip`ped to its IP packet; gives it back as it came where there is no such
/// way or something about this packet needs a second look.
#[inline]
fn follow<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    packet: Packet<P::Buf>,
    strip: impl FnOnce(Packet<P::Buf>) -> Packet<P::Buf>,
    plain: &Plain,
    place: Place,
    sealing: &mut SealList<'t, P::Buf, K>,
) -> Result<(), Packet<P::Buf>> {
    match ctx.flows.way(&plain.id, place, ctx.snapshot) {
        Some(Way::Seal { slot, port, mtu, spread }) if plain.octets <= mtu => {
            let Some(sa) = ctx.tables.outbound.get(slot).map(AsRef::as_ref) else { return Err(packet) };
            // The SA's time and its next hop change under a snapshot.
            let on = match sa.hop.load() {
                Hop::Resolved(on, _) => Some(on),
                Hop::Unresolved(_) | Hop::NoRoute => None,
            };
            if on != Some(port) || sa.common.limits.hard_deadline_ns <= ctx.now_ns {
                return Err(packet);
            }
            let packet = passed(strip(packet));
            assign(ctx, packet, sa, spread, sealing);
            Ok(())
        }
        Some(Way::Clear { port, mac, mtu }) if plain.octets <= mtu => {
            emit_clear(ctx, passed(strip(packet)), port, mac);
            Ok(())
        }
        Some(Way::Seal { .. } | Way::Clear { .. }) | None => Err(packet),
    }
}

/// Takes one from the TTL, which is known to be more than 1.
#[inline]
fn passed<B: Buffer>(mut packet: Packet<B>) -> Packet<B> {
    let _ = ip::decrement_ttl(packet.buf.data_mut());
    packet
}

/// Between which addresses packets of this burst go the long way, one bit of 64 for each pair.
#[derive(Default)]
struct Order(u64);

impl Order {
    #[inline]
    fn permits(&self, plain: &Plain) -> bool {
        self.0 == 0 || self.0 & Self::bit(plain.id.ends()) == 0
    }

    fn note(&mut self, packet: Option<&[u8]>) {
        if let Some(ends) = packet.and_then(plain::ends) {
            self.0 |= Self::bit(ends);
        }
    }

    const fn bit(ends: u64) -> u64 {
        1 << (ends.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
    }
}

impl<P: Ports, K> Context<'_, P, K> {
    /// Remembers the way that a forwarded packet takes.
    pub(super) fn learn(&mut self, flow: &FlowKey, from: &From<'_, K>, way: Way) {
        if let Some(id) = entry(from).and_then(|entry| FlowId::of_key(flow, entry)) {
            self.flows.learn(id, self.snapshot, way);
        }
    }
}
