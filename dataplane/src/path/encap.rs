//! Stage encap: room, lifetime, sequence number, headers and trailer. RFC: 4303 section 3.3.
//!
//! Numbers are taken for a whole run of packets at once and only for packets that have their lifetime; a number that was
//! taken is used once or lost, never returned.

use std::sync::atomic::Ordering::Relaxed;

use esp::DropReason;
use esp::aead::Job;
use esp::encap::{Layout, Room, aad, nonce};
use esp::seq::{self, SeqLimit};
use esp::wire::eth::{self, Mac};
use shm_protocol::sa::TfcPad;

use super::context::{Context, List};
use super::counters::Stage;
use super::forward::ethertype;
use super::sealing::{Leaving, Run, SealList};
use super::shared::{Limit, Notice};
use super::usage::{self, Side};
use crate::ports::{Buffer, Ports};
use crate::tables::sa::{Common, OutboundSa};

/// Builds every packet of a burst up to its ICV, as a whole frame, and adds its job to the empty `jobs`. Packets without a
/// lifetime or a number are dropped; those that have no room are left empty, with the reason in `sealing`.
pub(super) fn encap<'a, 't, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    sealing: &'a mut SealList<'t, P::Buf, K>,
    jobs: &mut List<Job<'a, K>>,
) {
    let start = (ctx.cycles)();
    let count = sealing.bufs.len();
    let SealList { bufs, runs, spoilt } = sealing;
    let mut before = 0;
    for run in runs.iter_mut() {
        if run.leaving.sa.common.volume.is_some() {
            admit(ctx, bufs, run, before);
        }
        number(ctx, bufs, run, before);
        before += run.packets;
    }
    let mut bufs = bufs.as_mut_slice();
    for run in runs {
        let Some(of_run) = bufs.split_off_mut(..run.packets) else { break };
        build_run(ctx, of_run, run, jobs, spoilt);
    }
    ctx.spent(Stage::Encap, count, start);
}

/// Builds the packets of a run, which have their numbers, and accounts them to their SA.
#[inline(always)]
#[allow(clippy::inline_always, reason = "a run is often one packet")]
fn build_run<'a, 't, P: Ports, K>(
    ctx: &Context<'t, P, K>,
    bufs: &'a mut [P::Buf],
    run: &mut Run<'t, K>,
    jobs: &mut List<Job<'a, K>>,
    spoilt: &mut List<DropReason>,
) where
    't: 'a,
    P::Buf: 'a,
{
    let Leaving { sa, next, shared, .. } = run.leaving;
    let (mtu, own) =
        ctx.tables.port(next.port()).map_or((0, Mac::BROADCAST), |port| (port.mtu, Mac(port.mac)));
    let frame = Frame {
        sa,
        header: eth::header(Mac(next.mac()), own, ethertype(sa.outer.family())),
        room: sa.outer.room(),
        pad_to: tfc_octets(sa, mtu),
    };
    let (mut octets, mut packets, mut longest) = (0, 0, 0);
    for (buf, after) in bufs.iter_mut().zip(0..) {
        match frame.make_room(buf) {
            Ok(layout) => {
                octets += layout.text_octets() as u64;
                packets += 1;
                longest = longest.max(layout.total_octets());
                if let Some(job) = frame.build(buf, &layout, run.first_seq.wrapping_add(after)) {
                    jobs.push(job);
                }
            }
            Err(reason) => {
                run.unfinished = true;
                spoilt.push(reason);
                buf.narrow(0, 0);
            }
        }
    }
    run.unfinished |= sa.outer.is_finished_later() || longest > usize::from(mtu);
    if packets > 0 && sa.common.volume.is_none() {
        usage::add(Side::Out, &sa.common.live, octets, packets, ctx.now_ns, !shared);
    }
}

/// What the frames of a run share.
struct Frame<'t, K> {
    sa: &'t OutboundSa<K>,
    header: [u8; eth::HEADER_OCTETS],
    room: Room,
    /// Units: octets.
    pad_to: usize,
}

impl<'t, K> Frame<'t, K> {
    /// Makes room round an inner packet.
    /// Errors: `TooLong`, `NoHeadroom`.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the layout stays where it is made")]
    fn make_room<B: Buffer>(&self, buf: &mut B) -> Result<Layout, DropReason> {
        let layout = self.room.layout(buf.data().len(), self.pad_to)?;
        let grown = buf.grow(eth::HEADER_OCTETS + layout.front_octets(), layout.tail_octets());
        if grown { Ok(layout) } else { Err(DropReason::NoHeadroom) }
    }

    /// Writes headers and trailer round the inner packet.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the job stays where it is written")]
    fn build<'a, B: Buffer>(&self, buf: &'a mut B, layout: &Layout, seq: u64) -> Option<Job<'a, K>>
    where
        't: 'a,
    {
        let (sa, (place, datagram)) = (self.sa, buf.data_mut().split_first_chunk_mut()?);
        *place = self.header;
        let (text, icv) = sa.outer.encap(datagram, layout, sa.common.spi, seq).ok()?;
        // The IV is the number itself, 64 bits also without ESN, so it never repeats under a key. RFC 4106 section 3.1.
        let nonce = nonce(sa.common.salt, seq.to_be_bytes());
        Some(Job::new(&sa.key, nonce, aad(sa.common.spi, seq, sa.common.esn), text, icv))
    }
}

/// Accounts the packets of a run, from the one at `before` on, to an SA that has limits of octets or packets. What would
/// pass one is dropped.
#[inline(never)]
fn admit<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    bufs: &mut List<P::Buf>,
    run: &mut Run<'t, K>,
    before: usize,
) {
    let Leaving { sa, next, .. } = run.leaving;
    let mtu = ctx.tables.port(next.port()).map_or(0, |port| port.mtu);
    let (common, room, pad_to) = (&sa.common, sa.outer.room(), tfc_octets(sa, mtu));
    let mut at = before;
    for _ in 0..run.packets {
        let Some(buf) = bufs.get(at) else { break };
        let text_octets = room.layout(buf.data().len(), pad_to).map_or(0, |layout| layout.text_octets());
        let now_ns = ctx.now_ns;
        let tell = |limit| ctx.notice_once(Notice::Limit { slot: common.slot, uid: common.uid, limit });
        match usage::take(Side::Out, common, text_octets as u64, now_ns, tell) {
            Ok(()) => at += 1,
            Err(limit) => {
                let reason = spent(ctx, common, limit);
                end(ctx, bufs, run, at, reason);
            }
        }
    }
}

/// Tells that an SA has come to a limit.
#[cold]
fn spent<P: Ports, K>(ctx: &mut Context<'_, P, K>, sa: &Common, limit: Limit) -> DropReason {
    sa.live.out_exhausted.fetch_add(1, Relaxed);
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

/// Takes sequence numbers: one addition for the packets of a run, of which the first stands at `before`; what gets none is
/// dropped.
#[inline]
fn number<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    bufs: &mut List<P::Buf>,
    run: &mut Run<'t, K>,
    before: usize,
) {
    let wanted = u32::try_from(run.packets).unwrap_or(u32::MAX);
    if wanted == 0 {
        return;
    }
    let taken = take(ctx, &run.leaving.sa.common, wanted);
    run.first_seq = taken.first;
    for _ in taken.usable..wanted {
        end(ctx, bufs, run, before + run.packets - 1, DropReason::SequenceExhausted);
    }
}

fn take<P: Ports, K>(ctx: &mut Context<'_, P, K>, sa: &Common, wanted: u32) -> seq::Taken {
    let limit = SeqLimit::of_width(sa.esn);
    //= rfc4303#3.3.3
    let taken = seq::take(&sa.live.next_seq, wanted, limit);
    let (slot, uid) = (sa.slot, sa.uid);
    if taken.usable < wanted {
        sa.live.out_exhausted.fetch_add(u64::from(wanted - taken.usable), Relaxed);
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
