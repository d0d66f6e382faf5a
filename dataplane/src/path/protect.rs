//! Stage protect: outbound policy, then the SA, then size and next hop. RFC: 4301 section 5.1.
//!
//! The policy is chosen first; its template chooses the SA: the newest that fits and whose selectors hold the packet.
//! What leaves this stage will surely be built, so the next one may take sequence numbers for it.

use std::net::IpAddr;
use std::sync::Arc;

use esp::wire::FlowKey;
use esp::{DropReason, IfId};

use super::context::{Context, From, Packet, Transit};
use super::counters::Origin;
use super::held::Goal;
use super::seal::seal_and_send;
use super::sealing::{Leaving, SealList};
use super::shared::{Notice, Work};
use crate::ports::{InterfaceId, PortId, Ports};
use crate::tables::hop::Hop;
use crate::tables::sa::OutboundSa;
use crate::tables::spd::{Action, Direction, Policy};
use crate::tables::topology::Unprotected;

/// Where the route leads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Exit<'a> {
    /// Out of a port, to a next hop.
    Port {
        /// The port.
        port: PortId,
        /// The neighbor on it.
        next_hop: &'a IpAddr,
    },
    /// Into a tunnel interface.
    Interface(InterfaceId),
}

/// What the outbound policy says about a packet.
enum Verdict<'t, 'a, K> {
    /// It is sealed by this SA; the interface it goes by, if it goes by one.
    Seal(&'t OutboundSa<K>, Option<InterfaceId>),
    /// It goes on in clear.
    Clear {
        port: PortId,
        next_hop: &'a IpAddr,
    },
    Drop(DropReason),
}

/// Applies outbound policy to a routed packet; what is to be sealed is added to `sealing`, which is not full.
pub(super) fn protect<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    transit: Transit<'t, '_, P::Buf, K>,
    exit: Exit<'_>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    match verdict(ctx, &transit, exit) {
        Verdict::Seal(sa, interface) => super::size::fit_tunnel(ctx, transit, sa, interface, sealing),
        Verdict::Clear { port, next_hop } => super::size::fit_port(ctx, transit, port, *next_hop),
        Verdict::Drop(reason) => ctx.drop(transit.packet, reason),
    }
}

fn verdict<'t, 'a, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    transit: &Transit<'t, 'a, P::Buf, K>,
    exit: Exit<'a>,
) -> Verdict<'t, 'a, K> {
    let tables = ctx.tables;
    let (if_id, interface) = match exit {
        Exit::Port { .. } => (IfId::POLICY_BASED, None),
        Exit::Interface(id) => match tables.interface(id) {
            Some(interface) => (interface.if_id, Some(id)),
            None => return Verdict::Drop(DropReason::NoInterface),
        },
    };
    let policy = tables.spd.lookup(if_id, Direction::Out, transit.flow);
    match (policy.map(|policy| &policy.action), exit) {
        (Some(Action::Protect(_, sas)), _) => match choose(sas, transit.flow, ctx.now_ns) {
            Some(sa) => Verdict::Seal(sa, interface),
            None => Verdict::Drop(without_sa(ctx, policy, sas, transit.flow)),
        },
        (Some(Action::Discard), _) => Verdict::Drop(DropReason::OutboundBlocked),
        (Some(Action::Pass), Exit::Port { port, next_hop }) => Verdict::Clear { port, next_hop },
        (None, Exit::Port { port, next_hop }) => match transit.from {
            From::Port(_) if tables.topology.unprotected == Unprotected::Drop => {
                Verdict::Drop(DropReason::UnprotectedForwarding)
            }
            From::Port(_) | From::Tunnel(_) | From::Tap(_) | From::Tun(_) | From::Engine => {
                Verdict::Clear { port, next_hop }
            }
        },
        // What is routed into a tunnel never leaves in clear.
        (Some(Action::Pass) | None, Exit::Interface(_)) => Verdict::Drop(DropReason::OutboundNoPolicy),
    }
}

/// Returns the newest SA that may carry the packet.
fn choose<'t, K>(sas: &'t [Arc<OutboundSa<K>>], flow: &FlowKey, now_ns: u64) -> Option<&'t OutboundSa<K>> {
    sas.iter().map(Arc::as_ref).find(|sa| sa.common.hard_deadline_ns > now_ns && sa.common.holds(flow))
}

/// There is a policy and no SA for it: asks the IKE daemon for one.
#[cold]
fn without_sa<P: Ports, K>(
    ctx: &mut Context<'_, P, K>,
    policy: Option<&Arc<Policy<K>>>,
    sas: &[Arc<OutboundSa<K>>],
    flow: &FlowKey,
) -> DropReason {
    if let Some(policy) = policy
        && ctx.limiter.acquires.take(ctx.now_ns)
    {
        ctx.notice(Notice::Acquire { policy: policy.slot, flow: *flow });
    }
    let outlived = sas.iter().any(|sa| sa.common.holds(flow));
    if outlived { DropReason::OutboundExpired } else { DropReason::NoSa }
}

/// Takes a packet that fits to its SA's worker and its next hop. `buf` starts at the inner IP header.
pub(super) fn assign<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    packet: Packet<P::Buf>,
    sa: &'t OutboundSa<K>,
    spread: bool,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    if spread || sa.common.owner(ctx.workers.len()) == ctx.me {
        place(ctx, packet, sa, sealing);
    } else {
        hand_over(ctx, packet.origin, std::iter::once(packet.buf), sa);
    }
}

/// Gives packets of one account to the worker that the SA belongs to.
pub(super) fn hand_over<P: Ports, K>(
    ctx: &Context<'_, P, K>,
    origin: Origin,
    bufs: impl Iterator<Item = P::Buf>,
    sa: &OutboundSa<K>,
) {
    let work = Work::Seal { slot: sa.common.slot, uid: sa.common.uid };
    ctx.hand_off(sa.common.owner(ctx.workers.len()), work, origin, bufs);
}

/// Adds a packet to what will be sealed, once its next hop is known.
pub(super) fn place<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    packet: Packet<P::Buf>,
    sa: &'t OutboundSa<K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    place_all(ctx, packet.origin, std::iter::once(packet.buf), sa, sealing);
}

/// As [`place`], for packets of one account.
pub(super) fn place_all<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    origin: Origin,
    bufs: impl Iterator<Item = P::Buf>,
    sa: &'t OutboundSa<K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    match sa.hop.load() {
        Hop::Resolved(next) => {
            // Whoever comes here need not know; counting as if the SA was shared is right in either case.
            let leaving = Leaving { sa, next, origin, shared: true };
            add(ctx, leaving, bufs, sealing);
        }
        Hop::Unresolved(port) => {
            let goal = Goal::Seal { slot: sa.common.slot, uid: sa.common.uid };
            bufs.for_each(|buf| ctx.hold(Packet { buf, origin }, port, sa.hop.destination, goal));
        }
        Hop::NoRoute => {
            bufs.for_each(|buf| ctx.drop(Packet { buf, origin }, DropReason::NoOuterRoute));
        }
    }
}

/// Adds packets that leave alike to what will be sealed.
#[inline]
pub(super) fn add<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    leaving: Leaving<'t, K>,
    bufs: impl Iterator<Item = P::Buf>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    let mut opened = false;
    for buf in bufs {
        if sealing.is_full() {
            seal_and_send(ctx, sealing);
            opened = false;
        }
        if !opened {
            sealing.open(leaving);
            opened = true;
        }
        sealing.push(buf);
    }
}

/// Looks an SA up again for a packet that was handed over or held.
pub(super) fn by_slot<'t, P: Ports, K>(
    ctx: &Context<'t, P, K>,
    slot: u32,
    uid: u64,
) -> Result<&'t OutboundSa<K>, DropReason> {
    let sa = ctx.tables.outbound.get(slot).map(Arc::as_ref).filter(|sa| sa.common.uid == uid);
    sa.ok_or(DropReason::NoSa)
}
