//! Packets that wait for their next hop's Ethernet address: one per destination, for a second at most.
//! RFC: 1122 section 2.3.2.2.

use std::net::IpAddr;

use arrayvec::ArrayVec;
use esp::DropReason;
use esp::wire::eth::Mac;

use super::context::{Context, Packet};
use super::neighbor;
use super::protect::{by_slot, place};
use super::sealing::SealList;
use super::shared::Notice;
use crate::ports::{PortId, Ports};

/// Destinations that can be waited for at once.
const PLACES: usize = 64;
/// How long a packet waits.
const PATIENCE_NS: u64 = 1_000_000_000;
/// How often the waiting packets are looked at.
const INTERVAL_NS: u64 = 1_000_000;

/// What the packet waits to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// Sealed by the SA at this slot; it starts at the inner IP header.
    Seal { slot: u32, uid: u64 },
    /// Sent in clear to this next hop; it starts at the IP header.
    Clear { next_hop: IpAddr },
}

struct Waiting<B> {
    packet: Packet<B>,
    port: PortId,
    destination: IpAddr,
    goal: Goal,
    until_ns: u64,
}

/// See the module's text.
pub(super) struct Held<B> {
    places: ArrayVec<Waiting<B>, PLACES>,
    look_ns: u64,
}

impl<B> Held<B> {
    pub(super) const fn new() -> Self {
        Self { places: ArrayVec::new_const(), look_ns: 0 }
    }
}

impl<P: Ports, K> Context<'_, P, K> {
    /// Holds a packet and asks for the neighbor. A newer packet takes the place of an older one.
    pub(super) fn hold(&mut self, packet: Packet<P::Buf>, port: PortId, destination: IpAddr, goal: Goal) {
        let waiting = Waiting { packet, port, destination, goal, until_ns: self.now_ns + PATIENCE_NS };
        let same =
            self.held.places.iter_mut().find(|held| held.port == port && held.destination == destination);
        if let Some(place) = same {
            let until_ns = place.until_ns;
            let older = std::mem::replace(place, Waiting { until_ns, ..waiting });
            return self.drop(older.packet, DropReason::NeighborQueueFull);
        }
        if let Err(refused) = self.held.places.try_push(waiting) {
            return self.drop(refused.element().packet, DropReason::NeighborQueueFull);
        }
        self.ask(port, destination);
    }

    /// Asks for the Ethernet address of the way to `destination`.
    fn ask(&mut self, port: PortId, destination: IpAddr) {
        if !self.limiter.asks.take(self.now_ns) {
            return;
        }
        if self.tables.topology.netdevs {
            self.notice(Notice::Missing { destination, port });
        } else {
            neighbor::solicit(self, port, destination);
        }
    }
}

/// Looks at the waiting packets: sends those whose next hop is known now, gives up those that waited too long.
pub(super) fn retry<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    if ctx.held.places.is_empty() || ctx.now_ns < ctx.held.look_ns {
        return;
    }
    ctx.held.look_ns = ctx.now_ns + INTERVAL_NS;
    let mut index = 0;
    while let Some(waiting) = ctx.held.places.get(index) {
        if is_ready(ctx, waiting) {
            let waiting = ctx.held.places.swap_remove(index);
            release(ctx, waiting, sealing);
        } else if waiting.until_ns <= ctx.now_ns {
            let waiting = ctx.held.places.swap_remove(index);
            ctx.drop(waiting.packet, DropReason::NeighborUnresolved);
        } else {
            index += 1;
        }
    }
}

fn is_ready<P: Ports, K: Send + Sync>(ctx: &Context<'_, P, K>, waiting: &Waiting<P::Buf>) -> bool {
    match waiting.goal {
        Goal::Clear { next_hop } => ctx.tables.neighbors.contains_key(&(waiting.port, next_hop)),
        Goal::Seal { slot, uid } => match by_slot(ctx, slot, uid) {
            Ok(sa) => !matches!(sa.hop.load(), crate::tables::hop::Hop::Unresolved(_)),
            Err(_) => true,
        },
    }
}

fn release<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    waiting: Waiting<P::Buf>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    match waiting.goal {
        Goal::Seal { slot, uid } => match by_slot(ctx, slot, uid) {
            Ok(sa) => place(ctx, waiting.packet, sa, sealing),
            Err(reason) => ctx.drop(waiting.packet, reason),
        },
        Goal::Clear { next_hop } => match ctx.tables.neighbors.get(&(waiting.port, next_hop)) {
            Some(mac) => super::size::emit_clear(ctx, waiting.packet, waiting.port, Mac(*mac)),
            None => ctx.drop(waiting.packet, DropReason::NeighborUnresolved),
        },
    }
}
