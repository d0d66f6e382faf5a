//! Stage decap: the window decides once more, now that the ICV has matched; then lifetimes, then the tunnel is
//! taken off. Nothing is delivered before all three. RFC: 4303 sections 3.4.3 and 3.4.4, 6040 section 4.2.

use std::sync::atomic::Ordering::Relaxed;

use esp::decap::{Modes, finish};
use esp::wire::FlowKey;
use esp::{DropReason, Fresh};

use super::context::{Context, From, List, Packet, Transits};
use super::counters::Stage;
use super::lookup::{Opening, count_refused, window};
use super::shared::Notice;
use super::usage::{self, Usage};
use crate::ports::{Buffer, Ports};
use crate::tables::sa::InboundSa;

/// An inner packet and the SA it came by; its `buf` starts at its IP header and ends with it.
pub(super) type Inner<'t, B, K> = (Packet<B>, &'t InboundSa<K>);

/// Turns genuine packets into inner ones.
pub(super) fn decap<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    packets: &mut List<Opening<'t, P::Buf, K>>,
    out: &mut List<Inner<'t, P::Buf, K>>,
) {
    let start = (ctx.cycles)();
    let count = packets.len();
    let verdicts = advance(packets);
    let mut usage = Usage::default();
    for (opening, verdict) in packets.drain(..).zip(verdicts) {
        let sa = opening.sa;
        if let Err(reason) = verdict {
            count_refused(sa, reason);
            ctx.drop(opening.esp.packet, reason);
            continue;
        }
        let octets = opening.esp.arrived.text_octets() as u64;
        if let Err(limit) = usage.take(usage::Side::In, &sa.common, octets, ctx.now_ns) {
            ctx.notice_once(Notice::Limit { slot: sa.common.slot, uid: sa.common.uid, limit });
            ctx.drop(opening.esp.packet, DropReason::InboundExpired);
            continue;
        }
        notice_mapping(ctx, &opening);
        match strip(opening) {
            Ok(packet) => out.push((packet, sa)),
            Err((opening, reason)) => {
                sa.common.live.record().err_inner.fetch_add(1, Relaxed);
                ctx.drop(opening.esp.packet, reason);
            }
        }
    }
    for (slot, uid, limit) in usage.finish() {
        ctx.notice_once(Notice::Limit { slot, uid, limit });
    }
    ctx.spent(Stage::Decap, count, start);
}

/// Advances the windows: packets in a row that share an SA share its words' updates.
fn advance<B, K>(packets: &List<Opening<'_, B, K>>) -> List<Result<(), DropReason>> {
    let mut verdicts: List<Result<(), DropReason>> = List::new();
    for run in packets.chunk_by(|a, b| std::ptr::eq(a.sa, b.sa)) {
        let Some(first) = run.first() else { continue };
        let fresh: List<Fresh> = run.iter().map(|opening| opening.fresh).collect();
        let mut run_verdicts: List<Result<(), DropReason>> = run.iter().map(|_| Ok(())).collect();
        window(first.sa).advance_burst(&fresh, &mut run_verdicts);
        verdicts.extend(run_verdicts);
    }
    verdicts
}

type Refused<'t, B, K> = (Opening<'t, B, K>, DropReason);

fn strip<B: Buffer, K>(mut opening: Opening<'_, B, K>) -> Result<Packet<B>, Refused<'_, B, K>> {
    let sa = opening.sa;
    let modes = Modes { ecn: sa.ecn, dscp: sa.copy_dscp };
    let buf = &mut opening.esp.packet.buf;
    let inner = match finish(buf.data_mut(), &opening.esp.arrived, modes) {
        Ok(inner) => inner,
        Err(reason) => return Err((opening, reason)),
    };
    buf.adj(inner.at);
    let behind = buf.data().len().saturating_sub(inner.octets);
    buf.trim(behind);
    Ok(opening.esp.packet)
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
fn notice_mapping<P: Ports, K>(ctx: &mut Context<'_, P, K>, opening: &Opening<'_, P::Buf, K>) {
    let (common, arrived) = (&opening.sa.common, &opening.esp.arrived);
    if let (Some(known), Some(seen)) = (common.encap, arrived.udp)
        && (known.src != seen.src || common.src != arrived.src)
    {
        let (slot, uid) = (common.slot, common.uid);
        ctx.notice_once(Notice::Mapping { slot, uid, address: arrived.src, port: seen.src });
    }
}
