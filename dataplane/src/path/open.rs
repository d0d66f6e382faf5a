//! Stage open: the whole burst through the AEAD at once, each packet with its own key.
//! What does not verify ends here and nobody reads a single octet of it. RFC: 4303 section 3.4.4.

use std::sync::atomic::Ordering::Relaxed;

use esp::DropReason;
use esp::aead::Job;
use esp::encap::{aad, nonce};

use super::context::{Context, List};
use super::counters::Stage;
use super::lookup::Opening;
use crate::ports::{Buffer, Ports};

/// Opens every packet in place; returns those that are genuine.
pub(super) fn open<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    mut packets: List<Opening<'t, P::Buf, K>>,
) -> List<Opening<'t, P::Buf, K>> {
    let start = (ctx.cycles)();
    let count = packets.len();
    let mut genuine = [false; esp::aead::MAX_BURST];
    {
        let mut jobs: List<Job<'_, K>> = packets.iter_mut().filter_map(job).collect();
        // Classification bounds-checked every packet, so each has a job and positions agree.
        if jobs.len() == count {
            ctx.aead.open(&mut jobs);
            for (genuine, job) in genuine.iter_mut().zip(&jobs) {
                *genuine = job.verified;
            }
        }
    }
    let mut out = List::new();
    for (opening, genuine) in packets.into_iter().zip(genuine) {
        if genuine {
            out.push(opening);
        } else {
            opening.sa.common.live.record().err_integrity.fetch_add(1, Relaxed);
            ctx.drop(opening.esp.packet, DropReason::Integrity);
        }
    }
    ctx.spent(Stage::Open, count, start);
    out
}

fn job<'a, B: Buffer, K>(opening: &'a mut Opening<'_, B, K>) -> Option<Job<'a, K>> {
    let Opening { esp, sa, fresh } = opening;
    let arrived = esp.arrived;
    let (text, icv) = arrived.split(esp.packet.buf.data_mut())?;
    let aad = aad(sa.common.spi, fresh.seq(), sa.common.esn);
    Some(Job::new(&sa.key, nonce(sa.common.salt, arrived.iv), aad, text, icv))
}
