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
use shm_protocol::live::LiveRecord;
use shm_protocol::sa::TfcPad;

use super::context::{Context, List};
use super::counters::Stage;
use super::forward::ethertype;
use super::sealing::{Leaving, Run, SealList};
use super::shared::{Limit, Notice};
use super::usage::{Side, Usage};
use crate::ports::{Buffer, Ports};
use crate::tables::sa::{Common, OutboundSa};

/// Builds every packet of a burst up to its ICV, as a whole frame, and adds its job to the empty `jobs`; packets that cannot
/// be built are dropped. Afterwards there is a job for each packet, or for none that is to be sent.
pub(super) fn encap<'a, 't, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    sealing: &'a mut SealList<'t, P::Buf, K>,
    jobs: &mut List<Job<'a, K>>,
) {
    let start = (ctx.cycles)();
    let count = sealing.bufs.len();
    let mut layouts = List::new();
    for run in &mut sealing.runs {
        let (from, record) = (layouts.len(), run.leaving.sa.common.live.record());
        admit(ctx, &mut sealing.bufs, run, record, &mut layouts);
        number(ctx, &mut sealing.bufs, run, record, from, &mut layouts);
    }
    let (mut bufs, mut layouts) = (sealing.bufs.as_mut_slice(), layouts.as_slice());
    for run in &sealing.runs {
        let (Some(bufs), Some(layouts)) =
            (bufs.split_off_mut(..run.packets), layouts.split_off(..run.packets))
        else {
            break;
        };
        let Leaving { sa, next, .. } = run.leaving;
        let own = ctx.tables.port(next.port()).map_or(Mac::BROADCAST, |port| Mac(port.mac));
        let header = eth::header(next.mac(), own, ethertype(sa.outer.family()));
        for ((buf, layout), after) in bufs.iter_mut().zip(layouts).zip(0..) {
            if let Some(job) = build(buf, sa, &header, layout, run.first_seq.wrapping_add(after)) {
                jobs.push(job);
            }
        }
    }
    ctx.spent(Stage::Encap, count, start);
}

/// Writes headers and trailer round the inner packet.
#[inline(always)]
#[allow(clippy::inline_always, reason = "the job stays where it is written")]
fn build<'a, B: Buffer, K>(
    buf: &'a mut B,
    sa: &'a OutboundSa<K>,
    header: &[u8; eth::HEADER_OCTETS],
    layout: &Layout,
    seq: u64,
) -> Option<Job<'a, K>> {
    let (place, datagram) = buf.data_mut().split_first_chunk_mut()?;
    *place = *header;
    let (text, icv) = sa.outer.encap(datagram, layout, sa.common.spi, seq).ok()?;
    // The IV is the number itself, 64 bits also without ESN, so it never repeats under a key. RFC 4106 section 3.1.
    let nonce = nonce(sa.common.salt, seq.to_be_bytes());
    Some(Job::new(&sa.key, nonce, aad(sa.common.spi, seq, sa.common.esn), text, icv))
}

/// Makes room in the packets of a run and accounts them to their SA; what fails either is dropped. Adds the layouts of the
/// others to those of the packets before.
fn admit<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    bufs: &mut List<P::Buf>,
    run: &mut Run<'t, K>,
    record: &LiveRecord,
    layouts: &mut List<Layout>,
) {
    let Leaving { sa, next, shared, .. } = run.leaving;
    let mtu = ctx.tables.port(next.port()).map_or(0, |port| port.mtu);
    let common = &sa.common;
    let (room, pad_to) = (sa.outer.room(), tfc_octets(sa, mtu));
    let mut usage = common.limits.counts().then(Usage::default);
    let (mut octets, mut longest) = (0, 0);
    let from = layouts.len();
    for _ in 0..run.packets {
        let at = layouts.len();
        let Some(buf) = bufs.get_mut(at) else { break };
        let layout = match room.layout(buf.data().len(), pad_to) {
            Ok(layout) => layout,
            Err(reason) => {
                end(ctx, bufs, run, at, reason);
                continue;
            }
        };
        if !buf.grow(eth::HEADER_OCTETS + layout.front_octets(), layout.tail_octets()) {
            end(ctx, bufs, run, at, DropReason::NoHeadroom);
            continue;
        }
        let text_octets = layout.text_octets() as u64;
        if let Some(usage) = &mut usage
            && let Err(limit) = usage.take(Side::Out, common, text_octets, ctx.now_ns)
        {
            let reason = spent(ctx, common, limit);
            end(ctx, bufs, run, at, reason);
            continue;
        }
        octets += text_octets;
        longest = longest.max(layout.total_octets());
        layouts.push(layout);
    }
    run.unfinished = sa.outer.is_finished_later() || longest > usize::from(mtu);
    let packets = (layouts.len() - from) as u64;
    match usage {
        Some(usage) => usage
            .finish()
            .into_iter()
            .for_each(|(slot, uid, limit)| ctx.notice_once(Notice::Limit { slot, uid, limit })),
        None if shared => Usage::add(Side::Out, record, octets, packets, ctx.now_ns),
        None => Usage::add_alone(Side::Out, record, octets, packets, ctx.now_ns),
    }
}

/// Tells that an SA has come to a limit.
#[cold]
fn spent<P: Ports, K>(ctx: &mut Context<'_, P, K>, sa: &Common, limit: Limit) -> DropReason {
    sa.live.record().out_exhausted.fetch_add(1, Relaxed);
    ctx.notice_once(Notice::Limit { slot: sa.slot, uid: sa.uid, limit });
    DropReason::OutboundExpired
}

/// Drops the packet at `at`, which is one of `run`.
#[cold]
fn end<P: Ports, K>(
    ctx: &Context<'_, P, K>,
    bufs: &mut List<P::Buf>,
    run: &mut Run<'_, K>,
    at: usize,
    reason: DropReason,
) {
    if let Some(packet) = run.take(bufs, at) {
        ctx.drop(packet, reason);
    }
}

/// Length that the SA wants inner packets padded to, as far as a port of this MTU carries it; 0 for none. Units: octets.
#[inline]
fn tfc_octets<K>(sa: &OutboundSa<K>, mtu: u16) -> usize {
    let wanted = match sa.tfc_pad {
        TfcPad::Off => return 0,
        TfcPad::Octets(octets) => octets,
        TfcPad::Mtu => u16::MAX,
    };
    usize::from(wanted.min(sa.outer.inner_mtu(mtu)))
}

/// Takes sequence numbers: one addition for the packets of a run, whose layouts begin at `from`; what gets none is dropped.
fn number<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    bufs: &mut List<P::Buf>,
    run: &mut Run<'t, K>,
    record: &LiveRecord,
    from: usize,
    layouts: &mut List<Layout>,
) {
    let wanted = u32::try_from(layouts.len() - from).unwrap_or(u32::MAX);
    if wanted == 0 {
        return;
    }
    let taken = take(ctx, &run.leaving.sa.common, record, wanted);
    run.first_seq = taken.first;
    for _ in taken.usable..wanted {
        layouts.pop();
        end(ctx, bufs, run, layouts.len(), DropReason::SequenceExhausted);
    }
}

fn take<P: Ports, K>(
    ctx: &mut Context<'_, P, K>,
    sa: &Common,
    record: &LiveRecord,
    wanted: u32,
) -> seq::Taken {
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
