//! What opening one packet costs by a method of the AEAD, alone.
//!
//! Opening in place turns cipher text into clear text, so each pass opens fresh copies; only the calls that open are
//! timed, not the copying, which leaves the buffers as warm as sealing in place does.

use std::time::{Duration, Instant};

use anyhow::bail;
use crypto::{Crypto, Method};
use esp::aead::{Aad, Aead as _, Algorithm, ICV_OCTETS, Job, KeySchedule as _};

use crate::Result;

/// Returns the least disturbed sixteenth of a measurement of `each`: bursts of 32, 512 buffers, one key, every ICV genuine.
/// Units: nanoseconds a packet.
///
/// # Errors
/// The method does not run here; it does not open what it sealed.
pub fn measure(method: Method, algorithm: Algorithm, text_octets: usize, each: Duration) -> Result<f64> {
    let crypto = Crypto::with_method(method)?;
    let mut engine = crypto.engine()?;
    let key = crypto.expand(algorithm, &[0x5a; 32][..algorithm.key_octets()])?;
    let stride = stride(text_octets);
    let mut sealed = vec![0_u8; BUFFERS * stride];
    for burst in jobs(&key, &mut sealed, stride, text_octets).chunks_mut(BURST_PKTS) {
        engine.seal(burst);
    }
    let mut work = sealed.clone();
    let mut pass = || {
        work.copy_from_slice(&sealed);
        let mut jobs = jobs(&key, &mut work, stride, text_octets);
        let start = Instant::now();
        jobs.chunks_mut(BURST_PKTS).for_each(|burst| engine.open(burst));
        let taken = start.elapsed();
        jobs.iter().all(|job| job.verified).then_some(taken)
    };
    let (begin, mut least) = (Instant::now(), Duration::MAX);
    while begin.elapsed() < each {
        let (part, mut time, mut passes) = (Instant::now(), Duration::ZERO, 0_u32);
        while passes == 0 || part.elapsed() < each / 16 {
            let Some(taken) = pass() else { bail!("{method} does not open what it sealed") };
            time += taken;
            passes += 1;
        }
        least = least.min(time / passes);
    }
    Ok(least.as_secs_f64() * 1e9 / BUFFERS as f64)
}

/// Returns how far buffers lie apart: an odd number of cache lines, so that they spread over all cache sets.
pub(crate) fn stride(text_octets: usize) -> usize {
    ((text_octets + ICV_OCTETS).div_ceil(64) | 1) * 64
}

/// Makes a job of each buffer of `memory`.
pub(crate) fn jobs<'a>(
    key: &'a crypto::Key,
    memory: &'a mut [u8],
    stride: usize,
    text_octets: usize,
) -> Vec<Job<'a, crypto::Key>> {
    let job = |(n, buffer): (usize, &'a mut [u8])| {
        let (text, icv) = buffer[..text_octets + ICV_OCTETS].split_last_chunk_mut()?;
        Some(Job::new(key, [n.to_le_bytes()[0]; 12], Aad::Short([0; 8]), text, icv))
    };
    memory.chunks_exact_mut(stride).enumerate().filter_map(job).collect()
}

/// Packets of a call.
pub(crate) const BURST_PKTS: usize = 32;
/// Packets that are worked on in turns.
pub(crate) const BUFFERS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pass_opens_genuine_packets() {
        let each = Duration::from_millis(2);
        let ns = measure(Method::RustCrypto, Algorithm::Aes128Gcm16, 68, each).unwrap();
        assert!(ns > 1.0 && ns < 1e6, "{ns}");
    }
}
