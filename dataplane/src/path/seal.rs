//! Stage seal: the whole burst through the AEAD at once, then out. RFC: 4106.

use esp::DropReason;
use esp::aead::Job;
use esp::encap::{aad, nonce};
use esp::wire::eth::{self, Mac};

use super::context::{Context, List};
use super::counters::Stage;
use super::encap::{Built, encap};
use super::forward::ethertype;
use super::protect::SealList;
use crate::ports::{Buffer, Ports};

/// Builds, seals and sends everything in `sealing` and leaves it empty.
pub(super) fn seal_and_send<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    if sealing.is_empty() {
        return;
    }
    let mut built = List::new();
    encap(ctx, sealing, &mut built);
    let sealed = seal(ctx, &mut built);
    for one in built.drain(..) {
        if sealed { send(ctx, one) } else { ctx.drop(one.sealing.packet, DropReason::NoHeadroom) }
    }
}

/// Seals every packet in place; false, and nothing is sent, unless every one has its job.
fn seal<P: Ports, K: Send + Sync>(
    ctx: &mut Context<'_, P, K>,
    built: &mut List<Built<'_, P::Buf, K>>,
) -> bool {
    let start = (ctx.cycles)();
    let count = built.len();
    let mut jobs: List<Job<'_, K>> = List::new();
    for one in built.iter_mut() {
        jobs.extend(job(one));
    }
    let complete = jobs.len() == count;
    if complete {
        ctx.aead.seal(&mut jobs);
    }
    drop(jobs);
    ctx.spent(Stage::Seal, count, start);
    complete
}

#[inline]
fn job<'a, B: Buffer, K>(built: &'a mut Built<'_, B, K>) -> Option<Job<'a, K>> {
    let Built { sealing, layout, seq } = built;
    let sa = sealing.sa;
    let packet = sealing.packet.buf.data_mut().get_mut(eth::HEADER_OCTETS..)?;
    let (text, icv) = layout.split(packet)?;
    // The IV is the number itself, 64 bits also without ESN, so it never repeats under a key. RFC 4106 section 3.1.
    let nonce = nonce(sa.common.salt, seq.to_be_bytes());
    Some(Job::new(&sa.key, nonce, aad(sa.common.spi, *seq, sa.common.esn), text, icv))
}

fn send<P: Ports, K>(ctx: &mut Context<'_, P, K>, built: Built<'_, P::Buf, K>) {
    let Built { sealing, .. } = built;
    let (mut packet, port, sa) = (sealing.packet, sealing.port, sealing.sa);
    let Some(own) = ctx.tables.port(port).map(|port| Mac(port.mac)) else {
        return ctx.drop(packet, DropReason::PortUnknown);
    };
    let frame = packet.buf.data_mut();
    if let Some(datagram) = frame.get_mut(eth::HEADER_OCTETS..) {
        sa.outer.finish(datagram);
    }
    match eth::emit(frame, sealing.mac, own, ethertype(sa.outer.family())) {
        Ok(()) => ctx.send(port, packet),
        Err(reason) => ctx.drop(packet, reason),
    }
}
