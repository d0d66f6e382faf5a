//! Stage decap: the window decides once more, now that the ICV has matched; then lifetimes, then the tunnel is
//! taken off. Nothing is delivered before all three. RFC: 4303 sections 3.4.3 and 3.4.4, 6040 section 4.2.

use std::sync::atomic::Ordering::Relaxed;

use esp::DropReason;
use esp::decap::{Arrived, Modes, finish_and_look};
use esp::wire::FlowKey;
use esp::wire::plain::Plain;

use super::context::{Context, From, List, Packet, Transits};
use super::counters::Stage;
use super::known::{entry, look};
use super::lookup::{count_refused, window};
use super::opening::{Openings, Positions};
use super::shared::Notice;
use super::usage::{self, Usage};
use crate::ports::{Buffer, Ports};
use crate::tables::sa::InboundSa;

/// An inner packet and the SA it came by; its `buf` starts at its IP header and ends with it.
pub(super) type Inner<'t, B, K> = (Packet<B>, &'t InboundSa<K>);

/// Turns genuine packets into inner ones and takes the first look at each of them; what may not be delivered is dropped.
pub(super) fn decap<'t, P: Ports, K>(ctx: &mut Context<'t, P, K>, list: &mut Openings<'t, P::Buf, K>) {
    let start = (ctx.cycles)();
    let count = list.len();
    let verdicts = advance(list);
    let (mut usage, mut refused, places) = (Usage::default(), Positions::NONE, ctx.flows.places());
    let Openings { packets, arrived, sas, looks, .. } = list;
    let found = arrived.iter().zip(sas.iter()).zip(verdicts);
    for ((packet, ((arrived, sa), verdict)), at) in packets.iter_mut().zip(found).zip(0..) {
        let taken_off = match verdict {
            Ok(()) => take_off(ctx, &mut usage, &mut packet.buf, arrived, sa),
            Err(reason) => {
                count_refused(sa, reason);
                Err(reason)
            }
        };
        match taken_off {
            Ok(plain) => looks.push(look(places, plain)),
            Err(reason) => {
                ctx.counters().dropped(packet.origin, reason);
                looks.push(None);
                refused.add(at);
            }
        }
    }
    list.refuse(refused);
    for (slot, uid, limit) in usage.finish() {
        ctx.notice_once(Notice::Limit { slot, uid, limit });
    }
    ctx.spent(Stage::Decap, count, start);
}

/// Accounts a packet to its SA and leaves the inner one in `buf`.
/// Errors: `InboundExpired`, and why what was inside is not delivered.
#[inline(always)]
#[allow(clippy::inline_always, reason = "what is found stays where it is written")]
fn take_off<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    usage: &mut Usage<'t>,
    buf: &mut P::Buf,
    arrived: &Arrived,
    sa: &'t InboundSa<K>,
) -> Result<Option<Plain>, DropReason> {
    let octets = arrived.text_octets() as u64;
    if let Err(limit) = usage.take(usage::Side::In, &sa.common, octets, ctx.now_ns) {
        ctx.notice_once(Notice::Limit { slot: sa.common.slot, uid: sa.common.uid, limit });
        return Err(DropReason::InboundExpired);
    }
    notice_mapping(ctx, sa, arrived);
    let modes = Modes { ecn: sa.ecn, dscp: sa.copy_dscp };
    match finish_and_look(buf.data_mut(), arrived, modes, entry(&From::Tunnel(sa))) {
        Ok((inner, plain)) => {
            buf.narrow(inner.at, inner.octets);
            Ok(plain)
        }
        Err(reason) => {
            sa.common.live.record().err_inner.fetch_add(1, Relaxed);
            Err(reason)
        }
    }
}

/// Advances the windows: packets in a row that share an SA share its words' updates.
fn advance<B, K>(list: &Openings<'_, B, K>) -> List<Result<(), DropReason>> {
    let mut verdicts: List<Result<(), DropReason>> = list.fresh.iter().map(|_| Ok(())).collect();
    let (mut fresh, mut left) = (list.fresh.as_slice(), verdicts.as_mut_slice());
    for run in list.sas.chunk_by(|a, b| std::ptr::eq(*a, *b)) {
        let (Some(sa), Some(fresh), Some(verdicts)) =
            (run.first(), fresh.split_off(..run.len()), left.split_off_mut(..run.len()))
        else {
            break;
        };
        window(sa).advance_burst(fresh, verdicts);
    }
    verdicts
}

/// Reads the flows of inner packets that go the long way.
pub(super) fn read<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    packets: &mut List<Inner<'t, P::Buf, K>>,
    out: &mut Transits<'t, P::Buf, K>,
) {
    for (packet, sa) in packets.drain(..) {
        match FlowKey::parse(packet.buf.data()) {
            Ok(flow) => out.push(packet, flow, From::Tunnel(sa)),
            Err(_) => {
                sa.common.live.record().err_inner.fetch_add(1, Relaxed);
                ctx.drop(packet, DropReason::BadInner);
            }
        }
    }
}

/// An authentic packet from elsewhere: the peer's NAT has moved it. RFC: 7296 section 2.23.
#[inline]
fn notice_mapping<P: Ports, K>(ctx: &mut Context<'_, P, K>, sa: &InboundSa<K>, arrived: &Arrived) {
    let common = &sa.common;
    if let (Some(known), Some(seen)) = (common.encap, arrived.udp)
        && (known.src != seen.src || !arrived.ends.is_from(common.src))
    {
        let (slot, uid) = (common.slot, common.uid);
        ctx.notice_once(Notice::Mapping { slot, uid, address: arrived.ends.src(), port: seen.src });
    }
}
