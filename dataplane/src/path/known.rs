//! Stage known: packets of flows whose way was found before take it at once; all others go the long way.
//!
//! The order within a flow is kept: behind a packet that goes the long way, all packets of the burst between the same two
//! addresses go it too.

use esp::wire::FlowKey;
use esp::wire::eth::{self, EtherType, Frame, Mac};
use esp::wire::plain::{self, FlowId, Plain};

use super::ahead;
use super::context::{Context, From, List, Packet};
use super::counters::{Origin, Stage};
use super::decap::Inner;
use super::flows::{Now, Place, Places, Way};
use super::opening::Openings;
use super::sealing::SealList;
use super::turn::{Stretch, Turn};
use crate::ports::{Buffer, Burst, PortId, Ports};

/// What the first look at a packet told, and where its flow stands.
pub(super) type Look = Option<(Plain, Place)>;

/// Takes the first look at a packet.
#[inline(always)]
#[allow(clippy::inline_always, reason = "what is found stays where it is written")]
pub(super) fn look(places: Places, plain: Option<Plain>) -> Look {
    let plain = plain?;
    Some((plain, places.of(&plain.id)))
}

/// Sends the frames of known flows that came by `port` on their way; the others are added to the empty `rest`.
pub(super) fn from_port<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    port: PortId,
    frames: &mut Burst<P::Buf>,
    rest: &mut List<Packet<P::Buf>>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    if frames.is_empty() {
        return;
    }
    let start = (ctx.cycles)();
    let count = frames.len();
    let mac = ctx.tables.port(port).map_or(Mac::BROADCAST, |port| Mac(port.mac));
    let entry = u32::from(port.0);
    let places = ctx.flows.places();
    let mut looks: List<Look> = List::new();
    for frame in frames.iter() {
        looks.push(look(places, in_frame(frame.data(), mac).and_then(|ip| Plain::of(ip, entry))));
    }
    let origin = Origin::Port(port);
    let bare = |mut buf: P::Buf, plain: &Plain| {
        buf.narrow(eth::HEADER_OCTETS, usize::from(plain.octets.get()));
        Packet { buf, origin }
    };
    let ends = |frame: &P::Buf| frame.data().get(eth::HEADER_OCTETS..).and_then(plain::ends);
    follow(ctx, frames.drain(..), &looks, sealing, bare, |frame| {
        let ends = ends(&frame);
        rest.push(Packet { buf: frame, origin });
        ends
    });
    ctx.spent_on_some(Stage::Known, count - rest.len(), count, start);
}

/// Sends the inner packets of known flows on their way; the others are added to the empty `rest`.
pub(super) fn from_tunnels<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    list: &mut Openings<'t, P::Buf, K>,
    rest: &mut List<Inner<'t, P::Buf, K>>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    let start = (ctx.cycles)();
    let count = list.len();
    follow(
        ctx,
        list.packets.drain(..).zip(list.sas.iter().copied()),
        &list.looks,
        sealing,
        |(packet, _), _| packet,
        |inner| {
            let ends = plain::ends(inner.0.buf.data());
            rest.push(inner);
            ends
        },
    );
    ctx.spent_on_some(Stage::Known, count - rest.len(), count, start);
}

/// Sends the packets whose ways are known on them, as `bare` IP packets. Gives the others to `leave`, which says between
/// which ends they go.
#[inline]
fn follow<'t, P: Ports, K: Send + Sync, T>(
    ctx: &mut Context<'t, P, K>,
    mut packets: impl Iterator<Item = T>,
    mut looks: &[Look],
    sealing: &mut SealList<'t, P::Buf, K>,
    bare: impl Fn(T, &Plain) -> Packet<P::Buf>,
    mut leave: impl FnMut(T) -> Option<u64>,
) {
    let now = Now { snapshot: ctx.snapshot, epochs: &ctx.tables.epochs };
    let mut stretches: List<Stretch<'_, K>> = List::new();
    ctx.flows.forget_the_old(now);
    let flows = looks.iter().map(|look| look.as_ref().map(|(plain, place)| (&plain.id, *place)));
    ctx.flows.ways(flows, now, |way| match stretches.last_mut() {
        Some(stretch) if stretch.way == way => stretch.packets += 1,
        _ => stretches.push(Stretch { way, packets: 1, sa: None }),
    });
    ahead::outbound(ctx.tables, &mut stretches);
    let mut order = Order::default();
    for stretch in &stretches {
        let turn = Turn::of(ctx, stretch);
        let mtu = turn.map_or(0, |turn| turn.mtu());
        let looks = looks.split_off(..stretch.packets).unwrap_or_default();
        let ready = looks.iter().filter_map(|look| {
            let packet = packets.next()?;
            match look {
                Some((plain, _)) if plain.octets.get() <= mtu && order.permits(plain) => {
                    Some((bare(packet, plain), plain))
                }
                _ => {
                    order.note(leave(packet));
                    None
                }
            }
        });
        match turn {
            Some(turn) => turn.take(ctx, ready, sealing),
            None => ready.for_each(drop),
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

/// Where a packet enters, as a part of its flow's id: what comes from the host or the engine itself is not remembered.
#[inline]
pub(super) fn entry<K>(from: &From<'_, K>) -> Option<u32> {
    match from {
        From::Port(port) => Some(u32::from(port.0)),
        From::Tunnel(sa) if sa.common.slot < BY_TUNNEL => Some(BY_TUNNEL | sa.common.slot),
        From::Tunnel(_) | From::Tap(_) | From::Tun(_) | From::Engine => None,
    }
}

const BY_TUNNEL: u32 = 1 << (plain::ENTRY_BITS - 1);

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
