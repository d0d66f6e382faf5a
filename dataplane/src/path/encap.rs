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
use crate::tables::topology::Port;

/// Builds every packet of a burst up to its ICV, as a whole frame, and adds its job to the empty `jobs`; packets that cannot
/// be built are dropped. Afterwards there is a job for each packet, or for none that is to be sent.
pub(super) fn encap<'a, 't, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    sealing: &'a mut SealList<'t, P::Buf, K>,
    jobs: &mut List<Job<'a, K>>,
) {
    let start = (ctx.cycles)();
    let count = sealing.len();
    let (mut layouts, mut numbers) = (List::new(), List::new());
    admit(ctx, sealing, &mut layouts);
    number(ctx, sealing, &mut layouts, &mut numbers);
    let tables = ctx.tables;
    for ((one, layout), seq) in sealing.iter_mut().zip(&layouts).zip(&numbers) {
        let port = tables.port(one.port);
        jobs.extend(port.and_then(|port| build(one, port, layout, *seq)));
    }
    ctx.spent(Stage::Encap, count, start);
}

/// Writes headers and trailer round the inner packet.
#[inline]
fn build<'a, B: Buffer, K>(
    one: &'a mut Sealing<'_, B, K>,
    port: &Port,
    layout: &Layout,
    seq: u64,
) -> Option<Job<'a, K>> {
    let Sealing { packet, sa, mac, .. } = one;
    let frame = packet.buf.data_mut();
    let (header, datagram) = frame.split_first_chunk_mut()?;
    *header = eth::header(*mac, Mac(port.mac), ethertype(sa.outer.family()));
    sa.outer.encap(datagram, layout, sa.common.spi, seq).ok()?;
    let (text, icv) = layout.split(datagram)?;
    // The IV is the number itself, 64 bits also without ESN, so it never repeats under a key. RFC 4106 section 3.1.
    let nonce = nonce(sa.common.salt, seq.to_be_bytes());
    Some(Job::new(&sa.key, nonce, aad(sa.common.spi, seq, sa.common.esn), text, icv))
}

/// Makes room in every packet and accounts it to its SA; what fails either is dropped.
fn admit<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
    layouts: &mut List<Layout>,
) {
    let mut usage = Usage::default();
    let mut at = 0;
    while let Some(one) = sealing.get_mut(at) {
        let common = &one.sa.common;
        let pad_to = tfc_octets(ctx, one);
        let admitted = room(&mut one.packet, one.sa, pad_to).and_then(|layout| {
            let octets = layout.text_octets() as u64;
            usage.take(Side::Out, common, octets, ctx.now_ns).map_err(|limit| spent(ctx, common, limit))?;
            Ok(layout)
        });
        match admitted {
            Ok(layout) => {
                layouts.push(layout);
                at += 1;
            }
            Err(reason) => end(ctx, sealing, at, reason),
        }
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

/// Grows a packet to its protected length and an Ethernet header. Units of `pad_to`: octets.
fn room<B: Buffer, K>(
    packet: &mut Packet<B>,
    sa: &OutboundSa<K>,
    pad_to: usize,
) -> Result<Layout, DropReason> {
    let layout = sa.outer.layout(packet.buf.data().len(), pad_to)?;
    if packet.buf.prepend(eth::HEADER_OCTETS + layout.front_octets())
        && packet.buf.append(layout.tail_octets())
    {
        Ok(layout)
    } else {
        Err(DropReason::NoHeadroom)
    }
}

/// Takes sequence numbers: one addition for packets in a row that share an SA; what gets none is dropped.
fn number<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
    layouts: &mut List<Layout>,
    numbers: &mut List<u64>,
) {
    while let Some(first) = sealing.get(numbers.len()) {
        let sa = first.sa;
        let run = sealing.iter().skip(numbers.len()).take_while(|one| std::ptr::eq(one.sa, sa)).count();
        let taken = take(ctx, &sa.common, u32::try_from(run).unwrap_or(u32::MAX));
        numbers.extend((0..u64::from(taken.usable)).map(|after| taken.first + after));
        for _ in taken.usable as usize..run {
            layouts.pop_at(numbers.len());
            end(ctx, sealing, numbers.len(), DropReason::SequenceExhausted);
        }
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
