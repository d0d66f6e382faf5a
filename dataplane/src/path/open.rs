//! Stage open: the whole burst through the AEAD at once, each packet with its own key.
//! What does not verify ends here and nobody reads a single octet of it. RFC: 4303 section 3.4.4.

use std::sync::atomic::Ordering::Relaxed;

use esp::DropReason;
use esp::aead::{Job, MAX_BURST};
use esp::encap::{aad, nonce};

use super::context::{Context, List};
use super::counters::Stage;
use super::lookup::Opening;
use crate::ports::{Buffer, Ports};

/// Opens every packet in place; those that are not genuine are dropped, the others stay in order.
pub(super) fn open<P: Ports, K: Send + Sync>(
    ctx: &mut Context<'_, P, K>,
    packets: &mut List<Opening<'_, P::Buf, K>>,
) {
    let start = (ctx.cycles)();
    let count = packets.len();
    let genuine = verify(ctx, packets);
    for index in (0..count).rev() {
        if genuine.get(index) == Some(&true) {
            continue;
        }
        let Some(opening) = packets.pop_at(index) else { continue };
        opening.sa.common.live.record().err_integrity.fetch_add(1, Relaxed);
        ctx.drop(opening.esp.packet, DropReason::Integrity);
    }
    ctx.spent(Stage::Open, count, start);
}

/// Runs the AEAD; says of each position whether the packet there is genuine.
fn verify<P: Ports, K: Send + Sync>(
    ctx: &mut Context<'_, P, K>,
    packets: &mut List<Opening<'_, P::Buf, K>>,
) -> [bool; MAX_BURST] {
    let mut genuine = [false; MAX_BURST];
    let count = packets.len();
    let mut jobs: List<Job<'_, K>> = List::new();
    for one in packets.iter_mut() {
        jobs.extend(job(one));
    }
    // Classification bounds-checked every packet, so each has a job and positions agree.
    if jobs.len() == count {
        ctx.aead.open(&mut jobs);
        for (genuine, job) in genuine.iter_mut().zip(&jobs) {
            *genuine = job.verified;
        }
    }
    genuine
}

#[inline]
fn job<'a, B: Buffer, K>(opening: &'a mut Opening<'_, B, K>) -> Option<Job<'a, K>> {
    let Opening { esp, sa, fresh } = opening;
    let arrived = esp.arrived;
    let (text, icv) = arrived.split(esp.packet.buf.data_mut())?;
    let aad = aad(sa.common.spi, fresh.seq(), sa.common.esn);
    Some(Job::new(&sa.key, nonce(sa.common.salt, arrived.iv), aad, text, icv))
}
