//! Stage lookup: from the SPI to the SA, the outer header against the SA, and the first replay check.
//! All before any cryptography. RFC: 4303 sections 3.4.2 and 3.4.3.

use esp::{DropReason, Fresh, ReplayWindow};

use super::classify::EspPacket;
use super::context::{Context, List};
use super::counters::Stage;
use crate::ports::Ports;
use crate::tables::Tables;
use crate::tables::sa::InboundSa;

/// An ESP packet with its SA and a number that was not accepted yet.
pub(super) struct Opening<'t, B, K> {
    pub(super) esp: EspPacket<B>,
    pub(super) sa: &'t InboundSa<K>,
    pub(super) fresh: Fresh,
}

/// Finds the SA of each packet.
pub(super) fn lookup<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    packets: &mut List<EspPacket<P::Buf>>,
    out: &mut List<Opening<'t, P::Buf, K>>,
) {
    let start = (ctx.cycles)();
    let count = packets.len();
    for esp in packets.drain(..) {
        match find(ctx.tables, &esp, ctx.now_ns) {
            Ok((sa, fresh)) => out.push(Opening { esp, sa, fresh }),
            Err(reason) => ctx.drop(esp.packet, reason),
        }
    }
    ctx.spent(Stage::Lookup, count, start);
}

fn find<'t, B, K>(
    tables: &'t Tables<K>,
    esp: &EspPacket<B>,
    now_ns: u64,
) -> Result<(&'t InboundSa<K>, Fresh), DropReason> {
    //= rfc4303#3.4.2
    let arrived = &esp.arrived;
    let sa = tables.inbound(arrived.spi, arrived.dst).ok_or(DropReason::UnknownSpi)?;
    if sa.common.encap.is_some() != arrived.udp.is_some() {
        return Err(DropReason::SaMismatch);
    }
    if sa.common.limits.hard_deadline_ns <= now_ns {
        return Err(DropReason::InboundExpired);
    }
    //= rfc4303#3.4.3
    match window(sa).check(arrived.seq_lo) {
        Ok(fresh) => Ok((sa, fresh)),
        Err(reason) => {
            count_refused(sa, reason);
            Err(reason)
        }
    }
}

/// Returns the window of an SA.
#[inline]
pub(super) fn window<K>(sa: &InboundSa<K>) -> ReplayWindow<'_> {
    let words = sa.common.live.window(sa.ring);
    ReplayWindow::new(words.top, words.ring, sa.window_pkts, sa.common.esn)
}

/// Counts a packet that the window refused, for its SA.
#[cold]
pub(super) fn count_refused<K>(sa: &InboundSa<K>, reason: DropReason) {
    use std::sync::atomic::Ordering::Relaxed;
    let record = sa.common.live.record();
    let counter = if reason == DropReason::Replay { &record.err_replay } else { &record.err_too_old };
    counter.fetch_add(1, Relaxed);
}
