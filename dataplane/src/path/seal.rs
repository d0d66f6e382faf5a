//! Stage seal: the whole burst through the AEAD at once, then out. RFC: 4106.

use esp::DropReason;
use esp::aead::Job;
use esp::wire::eth;

use super::context::{Context, List};
use super::counters::Stage;
use super::encap::encap;
use super::protect::{SealList, Sealing};
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
    for one in sealing.drain(..) {
        if sealed { send(ctx, one) } else { ctx.drop(one.packet, DropReason::NoHeadroom) }
    }
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
    count == sealing.len()
}

fn send<P: Ports, K>(ctx: &mut Context<'_, P, K>, one: Sealing<'_, P::Buf, K>) {
    let Sealing { mut packet, sa, port, .. } = one;
    if let Some(datagram) = packet.buf.data_mut().get_mut(eth::HEADER_OCTETS..) {
        sa.outer.finish(datagram);
    }
    ctx.send(port, packet);
}
