//! The AEAD alone on one CPU and on several: what they could give at most to somebody who does nothing else.

use std::time::{Duration, Instant};

use crypto::Crypto;
use esp::aead::{Aead as _, Algorithm, KeySchedule as _};

use crate::memory::run::{self, Ran};
use crate::opening::{BUFFERS, BURST_PKTS, jobs, stride};
use crate::{Result, cpu};

/// Seals texts of that length for `limit` on each of `cpus`, every thread with a key and buffers of its own.
///
/// # Errors
/// Those of the AEAD and of [`run::together`].
pub fn window(crypto: &Crypto, text_octets: usize, cpus: &[usize], limit: Duration) -> Result<Vec<Ran>> {
    run::together(cpus.iter().map(|_| move || seal(crypto, text_octets, limit)), cpus)
}

fn seal(crypto: &Crypto, text_octets: usize, limit: Duration) -> Result<Ran> {
    let (mut engine, stride) = (crypto.engine()?, stride(text_octets));
    let key = crypto.expand(Algorithm::Aes128Gcm16, &[0x5a; 16])?;
    let mut memory = vec![0; BUFFERS * stride];
    let mut jobs = jobs(&key, &mut memory, stride, text_octets);
    let (start, on_cpu, mut sent) = (Instant::now(), cpu::thread_time()?, 0);
    while start.elapsed() < limit {
        jobs.chunks_mut(BURST_PKTS).for_each(|burst| engine.seal(burst));
        sent += jobs.len() as u64;
    }
    let cpu = cpu::thread_time()?.saturating_sub(on_cpu);
    Ok(Ran { sent, wall: start.elapsed(), cpu })
}
