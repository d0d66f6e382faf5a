//! Stage known: packets of flows whose way was found before take it at once; all others go the long way.
//!
//! The order within a flow is kept: behind a packet that goes the long way, all packets of the burst between the same two
//! addresses go it too.

use esp::wire::FlowKey;
use esp::wire::eth::{self, EtherType, Frame, Mac};
use esp::wire::plain::{self, FlowId, Plain};

use super::ahead;
use super::context::{Context, From, List, Packet};
use super::counters::Stage;
use super::decap::Inner;
use super::flows::{Now, Packed, Place, View, Way};
use super::protect::{SealList, Sealing, hand_over};
use super::seal::seal_and_send;
use super::size::emit_clear;
use crate::ports::{Buffer, PortId, Ports};
use crate::tables::hop::Hop;
use crate::tables::sa::OutboundSa;

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
    if packets.is_empty() {
        return;
    }
    let start = (ctx.cycles)();
    let count = packets.len();
    let mac = ctx.tables.port(port).map_or(Mac::BROADCAST, |port| Mac(port.mac));
    let entry = u32::from(port.0);
    let view = ctx.flows.view();
    let mut looks: List<Look> = List::new();
    for packet in packets.iter() {
        looks.push(in_frame(packet.buf.data(), mac).and_then(|ip| look(view, ip, entry)));
    }
    let strip = |mut packet: Packet<P::Buf>, plain: &Plain| {
        packet.buf.adj(eth::HEADER_OCTETS);
        let behind = packet.buf.data().len().saturating_sub(usize::from(plain.octets));
        if behind > 0 {
            packet.buf.trim(behind);
        }
        packet
    };
    let ip = |packet: &Packet<P::Buf>| packet.buf.data().get(eth::HEADER_OCTETS..).and_then(plain::ends);
    follow(ctx, packets, &looks, rest, sealing, strip, ip);
    ctx.spent_on_some(Stage::Known, count - rest.len(), count, start);
}

/// Sends the inner packets of known flows on their way; the others are added to the empty `rest`.
pub(super) fn from_tunnels<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    packets: &mut List<Inner<'t, P::Buf, K>>,
    rest: &mut List<Inner<'t, P::Buf, K>>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    let start = (ctx.cycles)();
    let count = packets.len();
    let view = ctx.flows.view();
    let mut looks: List<Look> = List::new();
    for (packet, sa) in packets.iter() {
        looks.push(entry(&From::Tunnel(sa)).and_then(|entry| look(view, packet.buf.data(), entry)));
    }
    let ip = |(packet, _): &Inner<'t, P::Buf, K>| plain::ends(packet.buf.data());
    follow(ctx, packets, &looks, rest, sealing, |(packet, _), _| packet, ip);
    ctx.spent_on_some(Stage::Known, count - rest.len(), count, start);
}

/// Sends the packets whose ways are known on them: `strip`ped to the IP packet, from `ends` to ends in order.
#[inline]
fn follow<'t, P: Ports, K: Send + Sync, T>(
    ctx: &mut Context<'t, P, K>,
    packets: &mut List<T>,
    looks: &List<Look>,
    rest: &mut List<T>,
    sealing: &mut SealList<'t, P::Buf, K>,
    strip: impl Fn(T, &Plain) -> Packet<P::Buf>,
    ends: impl Fn(&T) -> Option<u64>,
) {
    let now = Now { snapshot: ctx.snapshot, epochs: &ctx.tables.epochs };
    let mut ways: List<Packed> = List::new();
    ctx.flows.forget_the_old(now);
    let flows = looks.iter().map(|look| look.as_ref().map(|(plain, place)| (&plain.id, *place)));
    ctx.flows.ways(flows, now, |packed| ways.push(packed));
    ahead::outbound(ctx.tables, &ways);
    let (mut last, mut turn, mut order) = (Packed::NONE, None, Order::default());
    for ((packet, look), packed) in packets.drain(..).zip(looks).zip(ways) {
        if packed != last {
            (last, turn) = (packed, Turn::of(ctx, packed));
        }
        match (look, turn) {
            (Some((plain, _)), Some(turn)) if turn.takes(plain) && order.permits(plain) => {
                take(ctx, strip(packet, plain), plain, turn, sealing);
            }
            _ => {
                order.note(ends(&packet));
                rest.push(packet);
            }
        }
    }
}

/// Returns the IP packet in a frame for this station.
#[inline]
fn in_frame(frame: &[u8], mac: Mac) -> Option<&[u8]> {
    let frame = Frame::parse(frame).ok()?;
    let ip = matches!(frame.ethertype(), EtherType::IPV4 | EtherType::IPV6);
    (ip && frame.dst() == mac).then(|| frame.payload())
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "what is found stays where it is written")]
fn look(view: View<'_>, packet: &[u8], entry: u32) -> Look {
    let plain = Plain::of(packet, entry)?;
    Some((plain, view.place(&plain.id)))
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

/// What a way comes to in this burst.
enum Turn<'t, K> {
    Seal {
        sa: &'t OutboundSa<K>,
        port: PortId,
        mac: Mac,
        mtu: u16,
    },
    /// Sealed by the worker that the SA belongs to.
    HandOver {
        sa: &'t OutboundSa<K>,
        mtu: u16,
    },
    Clear {
        port: PortId,
        mac: Mac,
        mtu: u16,
    },
}

impl<K> Clone for Turn<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Turn<'_, K> {}

impl<'t, K> Turn<'t, K> {
    /// `None` when no way is known, or when it has to be looked at again.
    fn of<P: Ports>(ctx: &Context<'t, P, K>, packed: Packed) -> Option<Self> {
        if packed == Packed::NONE {
            return None;
        }
        match packed.way() {
            Way::Clear { port, mac, mtu } => Some(Self::Clear { port, mac, mtu }),
            Way::Seal { slot, port, mtu, spread } => {
                let sa = ctx.tables.outbound.get(slot)?.as_ref();
                // The SA's time and its next hop change under a snapshot.
                let Hop::Resolved(on, mac) = sa.hop.load() else { return None };
                if on != port || sa.common.limits.hard_deadline_ns <= ctx.now_ns {
                    return None;
                }
                let ours = spread || sa.common.owner(ctx.workers.len()) == ctx.me;
                Some(if ours {
                    Self::Seal { sa, port, mac: Mac(mac), mtu }
                } else {
                    Self::HandOver { sa, mtu }
                })
            }
        }
    }

    #[inline]
    fn takes(&self, plain: &Plain) -> bool {
        match self {
            Self::Seal { mtu, .. } | Self::HandOver { mtu, .. } | Self::Clear { mtu, .. } => {
                plain.octets <= *mtu
            }
        }
    }
}

/// Sends a packet on its way; `buf` starts at its IP header and ends with it.
#[inline(always)]
#[allow(clippy::inline_always, reason = "the common case is one push")]
fn take<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    mut packet: Packet<P::Buf>,
    plain: &Plain,
    turn: Turn<'t, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    plain.pass(packet.buf.data_mut());
    match turn {
        Turn::Seal { sa, port, mac, .. } => {
            if sealing.is_full() {
                seal_and_send(ctx, sealing);
            }
            sealing.push(Sealing { packet, sa, port, mac });
        }
        Turn::HandOver { sa, .. } => hand_over(ctx, packet, sa),
        Turn::Clear { port, mac, .. } => emit_clear(ctx, packet, port, mac),
    }
}

/// Between which addresses packets of this burst go the long way, one bit of 64 for each pair.
#[derive(Default)]
struct Order(u64);

impl Order {
    #[inline]
    fn permits(&self, plain: &Plain) -> bool {
        self.0 == 0 || self.0 & Self::bit(plain.id.ends()) == 0
    }

    #[inline]
    fn note(&mut self, ends: Option<u64>) {
        self.0 |= ends.map_or(0, Self::bit);
    }

    const fn bit(ends: u64) -> u64 {
        1 << (ends.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
    }
}

impl<P: Ports, K> Context<'_, P, K> {
    /// Remembers the way that a forwarded packet takes.
    pub(super) fn learn(&mut self, flow: &FlowKey, from: &From<'_, K>, way: Way) {
        if let Some(id) = entry(from).and_then(|entry| FlowId::of_key(flow, entry)) {
            self.flows.learn(id, Now { snapshot: self.snapshot, epochs: &self.tables.epochs }, way);
        }
    }
}
