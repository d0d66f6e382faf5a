//! Stage decap: the window decides once more, now that the ICV has matched; then lifetimes, then the tunnel is
//! taken off. Nothing is delivered before all three. RFC: 4303 sections 3.4.3 and 3.4.4, 6040 section 4.2.

use std::sync::atomic::Ordering::Relaxed;

use esp::DropReason;
use esp::decap::{Arrived, Modes, finish_and_look};
use esp::wire::FlowKey;

use super::context::{Context, From, List, Packet, Transits};
use super::counters::Stage;
use super::known::{Look, entry, look};
use super::lookup::{count_refused, window};
use super::opening::Openings;
use super::shared::Notice;
use super::usage::{self, Usage};
use crate::ports::{Buffer, Ports};
use crate::tables::sa::InboundSa;

/// An inner packet and the SA it came by; its `buf` starts at its IP header and ends with it.
pub(super) type Inner<'t, B, K> = (Packet<B>, &'t InboundSa<K>);

/// Turns genuine packets into inner ones; `looks` gets what the first look at each of them tells.
pub(super) fn decap<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    list: &mut Openings<'t, P::Buf, K>,
    out: &mut List<Inner<'t, P::Buf, K>>,
    looks: &mut List<Look>,
) {
    let start = (ctx.cycles)();
    let count = list.len();
    let verdicts = advance(list);
    let (mut usage, places) = (Usage::default(), ctx.flows.places());
    let found = list.arrived.iter().zip(list.sas.drain(..));
    for ((mut packet, (arrived, sa)), verdict) in list.packets.drain(..).zip(found).zip(verdicts) {
        if let Err(reason) = verdict {
            count_refused(sa, reason);
            ctx.drop(packet, reason);
            continue;
        }
        let octets = arrived.text_octets() as u64;
        if let Err(limit) = usage.take(usage::Side::In, &sa.common, octets, ctx.now_ns) {
            ctx.notice_once(Notice::Limit { slot: sa.common.slot, uid: sa.common.uid, limit });
            ctx.drop(packet, DropReason::InboundExpired);
            continue;
        }
        notice_mapping(ctx, sa, arrived);
        let modes = Modes { ecn: sa.ecn, dscp: sa.copy_dscp };
        match finish_and_look(packet.buf.data_mut(), arrived, modes, entry(&From::Tunnel(sa))) {
            Ok((inner, plain)) => {
                packet.buf.narrow(inner.at, inner.octets);
                out.push((packet, sa));
                looks.push(look(places, plain));
            }
            Err(reason) => {
                sa.common.live.record().err_inner.fetch_add(1, Relaxed);
                ctx.drop(packet, reason);
            }
        }
    }
    for (slot, uid, limit) in usage.finish() {
        ctx.notice_once(Notice::Limit { slot, uid, limit });
    }
    ctx.spent(Stage::Decap, count, start);
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
        && (known.src != seen.src || common.src != arrived.src)
    {
        let (slot, uid) = (common.slot, common.uid);
        ctx.notice_once(Notice::Mapping { slot, uid, address: arrived.src, port: seen.src });
    }
}
