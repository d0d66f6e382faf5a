//! Stage seal: the whole burst through the AEAD at once, then out. RFC: 4106.

use esp::DropReason;
use esp::aead::Job;
use esp::wire::esp::Esp;
use esp::wire::eth::{self, Mac};

use super::context::{Context, List, Packet};
use super::counters::Stage;
use super::encap::encap;
use super::fragment::fragment_own;
use super::sealing::{Leaving, Run, SealList};
use super::size::emit_clear;
use crate::ports::{Buffer, Ports};

/// Builds, seals and sends everything in `sealing` and leaves it empty.
pub(super) fn seal_and_send<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    if sealing.is_empty() {
        return;
    }
    let sealed = seal(ctx, sealing);
    let SealList { bufs, runs, spoilt } = sealing;
    let (mut bufs, mut spoilt) = (bufs.drain(..), spoilt.drain(..));
    for runs in runs.chunk_by(Run::is_sent_with) {
        let Some(&Run { leaving, unfinished, .. }) = runs.first() else { continue };
        let mut frames = bufs.by_ref().take(runs.iter().map(|run| run.packets).sum());
        if !sealed {
            frames.for_each(|buf| ctx.drop(Packet { buf, origin: leaving.origin }, DropReason::NoHeadroom));
        } else if unfinished {
            frames.for_each(|buf| match buf.data() {
                [] => ctx.drop(
                    Packet { buf, origin: leaving.origin },
                    spoilt.next().unwrap_or(DropReason::NoHeadroom),
                ),
                _ => finish(ctx, buf, leaving),
            });
        } else {
            ctx.send_all(leaving.next.port(), leaving.origin, &mut frames);
        }
    }
    drop(bufs);
    runs.clear();
}

/// Builds and seals every packet in place; false, and nothing is sent, unless every one had its job.
fn seal<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) -> bool {
    let mut jobs: List<Job<'_, K>> = List::new();
    encap(ctx, sealing, &mut jobs);
    let start = (ctx.cycles)();
    let count = jobs.len();
    ctx.aead.seal(&mut jobs);
    drop(jobs);
    ctx.spent(Stage::Seal, count, start);
    count + sealing.spoilt.len() == sealing.bufs.len()
}

/// Does what is left to do with a sealed frame, and sends it.
#[inline(never)]
fn finish<P: Ports, K>(ctx: &mut Context<'_, P, K>, mut buf: P::Buf, leaving: Leaving<'_, K>) {
    let Leaving { sa, next, origin, .. } = leaving;
    let port = next.port();
    let mtu = ctx.tables.port(port).map_or(0, |port| usize::from(port.mtu));
    if let Some(datagram) = buf.data_mut().get_mut(eth::HEADER_OCTETS..) {
        sa.outer.finish(datagram);
        if datagram.len() > mtu {
            return send_in_pieces(ctx, buf, leaving);
        }
    }
    ctx.send(port, Packet { buf, origin });
}

/// Cuts a sealed packet that its path does not carry whole: IPv6 inside that every link must carry.
/// RFC: 4301 section 8.2.1, 8200 section 5.
#[cold]
fn send_in_pieces<P: Ports, K>(ctx: &mut Context<'_, P, K>, buf: P::Buf, leaving: Leaving<'_, K>) {
    let Leaving { sa, next, origin, .. } = leaving;
    let (port, mac) = (next.port(), Mac(next.mac()));
    let mut packet = Packet { buf, origin };
    packet.buf.adj(eth::HEADER_OCTETS);
    let esp = packet.buf.data().get(sa.outer.header_octets()..).unwrap_or_default();
    let (ident, mtu) = match (Esp::parse(esp), ctx.tables.port(port)) {
        // No two packets to a peer share it for long. RFC: 8200 section 4.5.
        (Ok(esp), Some(port)) => (esp.spi().get() ^ esp.seq_lo(), port.mtu),
        (Err(reason), _) => return ctx.drop(packet, reason),
        (_, None) => return ctx.drop(packet, DropReason::PortUnknown),
    };
    fragment_own(ctx, packet, mtu, ident, |ctx, piece| emit_clear(ctx, piece, port, mac));
}
