//! Stage encap: room, lifetime, sequence number, headers and trailer. RFC: 4303 section 3.3.
//!
//! Numbers are taken for a whole run of packets at once and only for packets that have their room and their lifetime;
//! a number that was taken is used once or lost, never returned.

use std::sync::atomic::Ordering::Relaxed;

use esp::DropReason;
use esp::encap::Layout;
use esp::seq::{self, SeqLimit};
use esp::wire::eth;
use shm_protocol::sa::TfcPad;

use super::context::{Context, List, Packet};
use super::counters::Stage;
use super::protect::{SealList, Sealing};
use super::shared::{Limit, Notice};
use super::usage::{Side, Usage};
use crate::ports::{Buffer, Ports};
use crate::tables::sa::OutboundSa;

/// A packet with all its headers, not sealed yet. `buf` starts at the Ethernet header, which is not written yet.
pub(super) struct Built<'t, B, K> {
    pub(super) sealing: Sealing<'t, B, K>,
    pub(super) layout: Layout,
    pub(super) seq: u64,
}

/// Builds every packet of a burst; those that cannot be built are dropped, the others are added to the empty `built`.
pub(super) fn encap<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
    built: &mut List<Built<'t, P::Buf, K>>,
) {
    let start = (ctx.cycles)();
    let count = sealing.len();
    admit(ctx, sealing, built);
    number(ctx, built);
    let mut index = 0;
    while let Some(one) = built.get_mut(index) {
        match write(one) {
            Ok(()) => index += 1,
            Err(reason) => {
                if let Some(one) = built.pop_at(index) {
                    ctx.drop(one.sealing.packet, reason);
                }
            }
        }
    }
    ctx.spent(Stage::Encap, count, start);
}

/// Writes headers and trailer round the inner packet.
fn write<B: Buffer, K>(one: &mut Built<'_, B, K>) -> Result<(), DropReason> {
    if one.seq == UNNUMBERED {
        return Err(DropReason::SequenceExhausted);
    }
    let sa = one.sealing.sa;
    let packet = one.sealing.packet.buf.data_mut().get_mut(eth::HEADER_OCTETS..).unwrap_or_default();
    sa.outer.encap(packet, &one.layout, sa.common.spi, one.seq)
}

/// No packet carries the number 0.
const UNNUMBERED: u64 = 0;

/// Makes room in every packet and accounts it to its SA; what fails either is dropped.
fn admit<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
    built: &mut List<Built<'t, P::Buf, K>>,
) {
    let mut usage = Usage::default();
    for mut one in sealing.drain(..) {
        let common = &one.sa.common;
        let pad_to = tfc_octets(ctx, &one);
        let layout = match room(&mut one.packet, one.sa, pad_to) {
            Ok(layout) => layout,
            Err(reason) => {
                ctx.drop(one.packet, reason);
                continue;
            }
        };
        match usage.take(Side::Out, common, layout.text_octets() as u64, ctx.now_ns) {
            Ok(()) => built.push(Built { sealing: one, layout, seq: UNNUMBERED }),
            Err(limit) => {
                common.live.record().out_exhausted.fetch_add(1, Relaxed);
                ctx.notice_once(Notice::Limit { slot: common.slot, uid: common.uid, limit });
                ctx.drop(one.packet, DropReason::OutboundExpired);
            }
        }
    }
    for (slot, uid, limit) in usage.finish() {
        ctx.notice_once(Notice::Limit { slot, uid, limit });
    }
}

/// Length that the SA wants the inner packet padded to, as far as the port carries it; 0 for none.
#[inline]
fn tfc_octets<P: Ports, K>(ctx: &Context<'_, P, K>, one: &Sealing<'_, P::Buf, K>) -> usize {
    let wanted = match one.sa.tfc_pad {
        TfcPad::Off => return 0,
        TfcPad::Octets(octets) => octets,
        TfcPad::Mtu => u16::MAX,
    };
    let mtu = ctx.tables.port(one.port).map_or(0, |port| port.mtu);
    usize::from(wanted.min(one.sa.outer.inner_mtu(mtu)))
}

/// Grows a packet to its protected length and an Ethernet header. Units of `pad_to`: octets.
fn room<B: Buffer, K>(
    packet: &mut Packet<B>,
    sa: &OutboundSa<K>,
    pad_to: usize,
) -> Result<Layout, DropReason> {
    let layout = sa.outer.layout(packet.buf.data().len(), pad_to)?;
    if packet.buf.prepend(eth::HEADER_OCTETS + layout.front_octets) && packet.buf.append(layout.tail_octets())
    {
        Ok(layout)
    } else {
        Err(DropReason::NoHeadroom)
    }
}

/// Takes sequence numbers: one addition for packets in a row that share an SA.
fn number<P: Ports, K>(ctx: &mut Context<'_, P, K>, built: &mut [Built<'_, P::Buf, K>]) {
    for run in built.chunk_by_mut(|a, b| std::ptr::eq(a.sealing.sa, b.sealing.sa)) {
        let Some(sa) = run.first().map(|first| &first.sealing.sa.common) else { continue };
        let record = sa.live.record();
        let limit = SeqLimit::of_width(sa.esn);
        let wanted = u32::try_from(run.len()).unwrap_or(u32::MAX);
        //= rfc4303#3.3.3
        let taken = seq::take(&record.next_seq, wanted, limit);
        for (one, after) in run.iter_mut().zip(0..u64::from(taken.usable)) {
            one.seq = taken.first + after;
        }
        let (slot, uid) = (sa.slot, sa.uid);
        if taken.usable < wanted {
            record.out_exhausted.fetch_add(u64::from(wanted - taken.usable), Relaxed);
            ctx.notice_once(Notice::Limit { slot, uid, limit: Limit::HardSequence });
        } else if taken.first.saturating_add(u64::from(wanted)) > soft(limit) {
            ctx.notice_once(Notice::Limit { slot, uid, limit: Limit::SoftSequence });
        }
    }
}

/// The number at which the IKE daemon is asked for a new SA: a sixteenth before the end.
const fn soft(limit: SeqLimit) -> u64 {
    limit.0 - limit.0 / 16
}
