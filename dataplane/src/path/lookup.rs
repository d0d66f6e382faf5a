//! Stage lookup: from the SPI to the SA, the outer header against the SA, and the first replay check.
//! All before any cryptography. RFC: 4303 sections 3.4.2 and 3.4.3.

use esp::decap::Arrived;
use esp::{DropReason, Fresh, ReplayWindow};

use super::ahead;
use super::context::Context;
use super::counters::Stage;
use super::opening::{Openings, Positions};
use crate::ports::Ports;
use crate::tables::Tables;
use crate::tables::sa::InboundSa;

/// Finds the SA of each packet.
pub(super) fn lookup<'t, P: Ports, K>(ctx: &mut Context<'t, P, K>, list: &mut Openings<'t, P::Buf, K>) {
    let start = (ctx.cycles)();
    let count = list.len();
    ahead::inbound(ctx.tables, &list.arrived);
    let (mut last, mut refused) = (None, Positions::NONE);
    for (at, (arrived, packet)) in list.arrived.iter().zip(&list.packets).enumerate() {
        match find(ctx.tables, arrived, ctx.now_ns, &mut last) {
            Ok((sa, fresh)) => {
                list.sas.push(sa);
                list.fresh.push(fresh);
            }
            Err(reason) => {
                ctx.counters().dropped(packet.origin, reason);
                refused.add(at);
            }
        }
    }
    list.refuse(refused);
    ctx.spent(Stage::Lookup, count, start);
}

/// An SA with its window.
struct Found<'t, K> {
    sa: &'t InboundSa<K>,
    replay: ReplayWindow<'t>,
}

/// Finds the SA of a packet; `last` is the one found before, which most often it is again.
#[inline]
fn find<'t, K>(
    tables: &'t Tables<K>,
    arrived: &Arrived,
    now_ns: u64,
    last: &mut Option<Found<'t, K>>,
) -> Result<(&'t InboundSa<K>, Fresh), DropReason> {
    let again = last.as_ref().filter(|found| found.sa.is_for(arrived.spi, &arrived.ends));
    let &Found { sa, ref replay } = match again {
        Some(found) => found,
        None => last.insert(look_up(tables, arrived, now_ns)?),
    };
    if sa.common.encap.is_some() != arrived.udp.is_some() {
        return Err(DropReason::SaMismatch);
    }
    //= rfc4303#3.4.3
    match replay.check(arrived.seq_lo) {
        Ok(fresh) => Ok((sa, fresh)),
        Err(reason) => {
            count_refused(sa, reason);
            Err(reason)
        }
    }
}

#[inline]
fn look_up<'t, K>(tables: &'t Tables<K>, arrived: &Arrived, now_ns: u64) -> Result<Found<'t, K>, DropReason> {
    //= rfc4303#3.4.2
    let sa = tables.inbound(arrived.spi, &arrived.ends).ok_or(DropReason::UnknownSpi)?;
    if sa.common.hard_deadline_ns <= now_ns {
        return Err(DropReason::InboundExpired);
    }
    Ok(Found { sa, replay: window(sa) })
}

/// Returns the window of an SA.
#[inline]
pub(super) fn window<K>(sa: &InboundSa<K>) -> ReplayWindow<'_> {
    ReplayWindow::new(&sa.common.live.window_top, &sa.ring, sa.window_pkts, sa.common.esn)
}

/// Counts a packet that the window refused, for its SA.
#[cold]
pub(super) fn count_refused<K>(sa: &InboundSa<K>, reason: DropReason) {
    use std::sync::atomic::Ordering::Relaxed;
    let record = &sa.common.live;
    let counter = if reason == DropReason::Replay { &record.err_replay } else { &record.err_too_old };
    counter.fetch_add(1, Relaxed);
}
