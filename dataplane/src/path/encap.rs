//! Stage encap: room, lifetime, sequence number, headers and trailer. RFC: 4303 section 3.3.
//!
//! Numbers are taken for a whole run of packets at once and only for packets that have their room and their lifetime;
//! a number that was taken is used once or lost, never returned.

use std::sync::atomic::Ordering::Relaxed;

use esp::DropReason;
use esp::aead::Job;
use esp::encap::{Layout, aad, nonce};
use esp::seq::{self, SeqLimit};
use esp::wire::eth::{self, Mac};
use shm_protocol::sa::TfcPad;

use super::context::{Context, List, Packet};
use super::counters::Stage;
use super::forward::ethertype;
use super::protect::{SealList, Sealing};
use super::shared::{Limit, Notice};
use super::usage::{Side, Usage};
use crate::ports::{Buffer, Ports};
use crate::tables::sa::{Common, OutboundSa};

/// What is decided about a packet before it is written.
struct Plan {
    layout: Layout,
    seq: u64,
}

/// Builds every packet of a burst up to its ICV, as a whole frame, and adds its job to the empty `jobs`; packets that cannot
/// be built are dropped. Afterwards there is a job for each packet, or for none that is to be sent.
pub(super) fn encap<'a, 't, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    sealing: &'a mut SealList<'t, P::Buf, K>,
    jobs: &mut List<Job<'a, K>>,
) {
    let start = (ctx.cycles)();
    let count = sealing.len();
    let mut plans = List::new();
    while let Some(first) = sealing.get(plans.len()) {
        let sa = first.sa;
        let run = sealing.iter().skip(plans.len()).take_while(|one| std::ptr::eq(one.sa, sa)).count();
        let from = plans.len();
        admit(ctx, sealing, sa, run, &mut plans);
        number(ctx, sealing, sa, from, &mut plans);
    }
    let tables = ctx.tables;
    let mut plans = plans.iter();
    let alike = |a: &Sealing<'_, P::Buf, K>, b: &Sealing<'_, P::Buf, K>| {
        std::ptr::eq(a.sa, b.sa) && a.port == b.port && a.mac == b.mac
    };
    for run in sealing.chunk_by_mut(alike) {
        let Some((first, port)) = run.first().and_then(|one| Some((one, tables.port(one.port)?))) else {
            break;
        };
        let header = eth::header(first.mac, Mac(port.mac), ethertype(first.sa.outer.family()));
        for (one, plan) in run.iter_mut().zip(&mut plans) {
            jobs.extend(build(one, &header, plan));
        }
    }
    ctx.spent(Stage::Encap, count, start);
}

/// Writes headers and trailer round the inner packet.
#[inline(always)]
#[allow(clippy::inline_always, reason = "the job stays where it is written")]
fn build<'a, B: Buffer, K>(
    one: &'a mut Sealing<'_, B, K>,
    header: &[u8; eth::HEADER_OCTETS],
    plan: &Plan,
) -> Option<Job<'a, K>> {
    let (sa, seq) = (one.sa, plan.seq);
    let (place, datagram) = one.packet.buf.data_mut().split_first_chunk_mut()?;
    *place = *header;
    sa.outer.encap(datagram, &plan.layout, sa.common.spi, seq).ok()?;
    let (text, icv) = plan.layout.split(datagram)?;
    // The IV is the number itself, 64 bits also without ESN, so it never repeats under a key. RFC 4106 section 3.1.
    let nonce = nonce(sa.common.salt, seq.to_be_bytes());
    Some(Job::new(&sa.key, nonce, aad(sa.common.spi, seq, sa.common.esn), text, icv))
}

/// Makes room in the next `run` packets, which share an SA, and accounts them to it; what fails either is dropped.
fn admit<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
    sa: &'t OutboundSa<K>,
    run: usize,
    plans: &mut List<Plan>,
) {
    let common = &sa.common;
    let (from, limited) = (plans.len(), common.limits.counts());
    let mut usage = Usage::default();
    let mut octets = 0;
    for _ in 0..run {
        let at = plans.len();
        let Some(one) = sealing.get_mut(at) else { break };
        let pad_to = tfc_octets(ctx, one);
        let layout = match sa.outer.layout(one.packet.buf.data().len(), pad_to) {
            Ok(layout) => layout,
            Err(reason) => {
                end(ctx, sealing, at, reason);
                continue;
            }
        };
        if !make_room(&mut one.packet, &layout) {
            end(ctx, sealing, at, DropReason::NoHeadroom);
            continue;
        }
        let text_octets = layout.text_octets() as u64;
        if limited && let Err(limit) = usage.take(Side::Out, common, text_octets, ctx.now_ns) {
            let reason = spent(ctx, common, limit);
            end(ctx, sealing, at, reason);
            continue;
        }
        octets += text_octets;
        plans.push(Plan { layout, seq: 0 });
    }
    if !limited {
        Usage::add(Side::Out, common, octets, (plans.len() - from) as u64, ctx.now_ns);
    }
    for (slot, uid, limit) in usage.finish() {
        ctx.notice_once(Notice::Limit { slot, uid, limit });
    }
}

/// Tells that an SA has come to a limit.
#[cold]
fn spent<P: Ports, K>(ctx: &mut Context<'_, P, K>, sa: &Common, limit: Limit) -> DropReason {
    sa.live.record().out_exhausted.fetch_add(1, Relaxed);
    ctx.notice_once(Notice::Limit { slot: sa.slot, uid: sa.uid, limit });
    DropReason::OutboundExpired
}

/// Drops one packet out of a list.
#[cold]
fn end<P: Ports, K>(
    ctx: &Context<'_, P, K>,
    sealing: &mut SealList<'_, P::Buf, K>,
    at: usize,
    reason: DropReason,
) {
    if let Some(one) = sealing.pop_at(at) {
        ctx.drop(one.packet, reason);
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

/// Grows a packet to its protected length and an Ethernet header; reports whether there was room.
#[inline]
fn make_room<B: Buffer>(packet: &mut Packet<B>, layout: &Layout) -> bool {
    packet.buf.prepend(eth::HEADER_OCTETS + layout.front_octets()) && packet.buf.append(layout.tail_octets())
}

/// Takes sequence numbers: one addition for the packets of a run, whose plans begin at `from`; what gets none is dropped.
fn number<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
    sa: &OutboundSa<K>,
    from: usize,
    plans: &mut List<Plan>,
) {
    let run = plans.get_mut(from..).unwrap_or_default();
    let wanted = u32::try_from(run.len()).unwrap_or(u32::MAX);
    if wanted == 0 {
        return;
    }
    let taken = take(ctx, &sa.common, wanted);
    for (plan, after) in run.iter_mut().zip(0..u64::from(taken.usable)) {
        plan.seq = taken.first + after;
    }
    for _ in taken.usable..wanted {
        plans.pop();
        end(ctx, sealing, plans.len(), DropReason::SequenceExhausted);
    }
}

fn take<P: Ports, K>(ctx: &mut Context<'_, P, K>, sa: &Common, wanted: u32) -> seq::Taken {
    let record = sa.live.record();
    let limit = SeqLimit::of_width(sa.esn);
    //= rfc4303#3.3.3
    let taken = seq::take(&record.next_seq, wanted, limit);
    let (slot, uid) = (sa.slot, sa.uid);
    if taken.usable < wanted {
        record.out_exhausted.fetch_add(u64::from(wanted - taken.usable), Relaxed);
        ctx.notice_once(Notice::Limit { slot, uid, limit: Limit::HardSequence });
    } else if taken.first.saturating_add(u64::from(wanted)) > soft(limit) {
        ctx.notice_once(Notice::Limit { slot, uid, limit: Limit::SoftSequence });
    }
    taken
}

/// The number at which the IKE daemon is asked for a new SA: a sixteenth before the end.
const fn soft(limit: SeqLimit) -> u64 {
    limit.0 - limit.0 / 16
}
