//! Stage open: the whole burst through the AEAD at once, each packet with its own key.
//! What does not verify ends here and nobody reads a single octet of it. RFC: 4303 section 3.4.4.

use std::sync::atomic::Ordering::Relaxed;

use esp::aead::{Job, MAX_BURST};
use esp::decap::Arrived;
use esp::encap::{aad, nonce};
use esp::{DropReason, Fresh};

use super::context::{Context, List};
use super::counters::Stage;
use super::opening::{Openings, Positions};
use crate::ports::{Buffer, Ports};
use crate::tables::sa::InboundSa;

/// Opens every packet in place; those that are not genuine are dropped, the others stay in order.
pub(super) fn open<P: Ports, K: Send + Sync>(
    ctx: &mut Context<'_, P, K>,
    list: &mut Openings<'_, P::Buf, K>,
) {
    let start = (ctx.cycles)();
    let count = list.len();
    let genuine = verify(ctx, list);
    let mut refused = Positions::NONE;
    for (index, (packet, sa)) in list.packets.iter().zip(&list.sas).enumerate() {
        if genuine.get(index) == Some(&true) {
            continue;
        }
        sa.common.live.err_integrity.fetch_add(1, Relaxed);
        ctx.counters().dropped(packet.origin, DropReason::Integrity);
        refused.add(index);
    }
    list.refuse(refused);
    ctx.spent(Stage::Open, count, start);
}

/// Runs the AEAD; says of each position whether the packet there is genuine.
fn verify<P: Ports, K: Send + Sync>(
    ctx: &mut Context<'_, P, K>,
    list: &mut Openings<'_, P::Buf, K>,
) -> [bool; MAX_BURST] {
    let mut genuine = [false; MAX_BURST];
    let mut jobs: List<Job<'_, K>> = List::new();
    let found = list.sas.iter().zip(&list.fresh);
    for ((packet, arrived), (sa, fresh)) in list.packets.iter_mut().zip(&list.arrived).zip(found) {
        let Some(job) = job(sa, arrived, *fresh, &mut packet.buf) else { break };
        jobs.push(job);
    }
    // Classification bounds-checked every packet, so each has a job and positions agree.
    if jobs.len() == list.sas.len() {
        ctx.aead.open(&mut jobs);
        for (genuine, job) in genuine.iter_mut().zip(&jobs) {
            *genuine = job.verified;
        }
    }
    genuine
}

/// Returns what the AEAD needs of a packet; `None` where it is shorter than it was.
#[inline]
pub(super) fn job<'a, B: Buffer, K>(
    sa: &'a InboundSa<K>,
    arrived: &Arrived,
    fresh: Fresh,
    buf: &'a mut B,
) -> Option<Job<'a, K>> {
    let (text, icv) = arrived.split(buf.data_mut())?;
    let aad = aad(sa.common.spi, fresh.seq(), sa.common.esn);
    Some(Job::new(&sa.key, nonce(sa.common.salt, arrived.iv), aad, text, icv))
}
