//! Prints what sealing costs when each packet has another key: `aead_keys [KEYS] [MILLISECONDS per figure] [METHOD]`.
//!
//! Keys at random from all, bursts of 64, 512 distinct buffers in place; the keys of a burst are prefetched just
//! before it is sealed, or not. Nanoseconds per packet: minimum, median and maximum over the windows of one run.

use std::time::{Duration, Instant};

use crypto::{Crypto, Engine, Key, Method};
use esp::aead::{Aad, Aead as _, Algorithm, ICV_OCTETS, Job, KeySchedule as _, MAX_BURST};

const BUFFERS: usize = 512;
const PASSES_PER_WINDOW: usize = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let keys = words.next().map_or(Ok(100_000), |word| word.parse())?;
    let each = Duration::from_millis(words.next().map_or(Ok(200), |word| word.parse())?);
    let wanted = words.next().unwrap_or_default();
    println!(
        "{:<16}{:<26}{:>6}  {:<11}{:>8}{:>8}{:>8}",
        "algorithm", "method", "octets", "prefetch", "min", "median", "max"
    );
    for algorithm in [Algorithm::Aes128Gcm16, Algorithm::Aes256Gcm16] {
        for method in Method::built().filter(|method| method.to_string().contains(&wanted)) {
            let crypto = Crypto::with_method(method)?;
            let keys = (0..keys).map(|n| crypto.expand(algorithm, &cipher_key(n)[..algorithm.key_octets()]));
            let keys = keys.collect::<Result<Vec<_>, _>>()?;
            let mut engine = crypto.engine()?;
            for text_octets in [68, 516, 1404] {
                for prefetch in [false, true] {
                    let windows = windows_ns(&mut engine, &keys, text_octets, prefetch, each);
                    println!(
                        "{:<16}{:<26}{:>6}  {:<11}{:>8.1}{:>8.1}{:>8.1}",
                        algorithm.to_string(),
                        method.to_string(),
                        text_octets,
                        if prefetch { "burst-wide" } else { "none" },
                        windows[0],
                        windows[windows.len() / 2],
                        windows[windows.len() - 1]
                    );
                }
            }
        }
    }
    Ok(())
}

fn cipher_key(n: usize) -> [u8; 32] {
    let mut key = [0x5a; 32];
    key[..8].copy_from_slice(&n.to_le_bytes());
    key
}

/// Seals over and over. Returns nanoseconds per packet of each window, the fastest first.
fn windows_ns(
    engine: &mut Engine,
    keys: &[Key],
    text_octets: usize,
    prefetch: bool,
    each: Duration,
) -> Vec<f64> {
    // An odd number of cache lines, so that the buffers spread over all cache sets.
    let stride_octets = ((text_octets + ICV_OCTETS).div_ceil(64) | 1) * 64;
    let mut memory = vec![0_u8; BUFFERS * stride_octets];
    let mut jobs = Vec::with_capacity(BUFFERS);
    for buffer in memory.chunks_exact_mut(stride_octets) {
        if let Some((text, icv)) = buffer[..text_octets + ICV_OCTETS].split_last_chunk_mut() {
            jobs.push(Job::new(&keys[0], [7; 12], Aad::Short([0; 8]), text, icv));
        }
    }
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut pass = || {
        for burst in jobs.chunks_mut(MAX_BURST) {
            for job in &mut *burst {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                job.key = &keys[usize::try_from(state >> 32).unwrap_or(0) % keys.len()];
            }
            if prefetch {
                burst.iter().for_each(|job| job.key.prefetch_for(text_octets));
            }
            engine.seal(burst);
        }
    };
    pass();
    let begin = Instant::now();
    let mut windows = Vec::new();
    while windows.len() < 3 || begin.elapsed() < each {
        let start = Instant::now();
        (0..PASSES_PER_WINDOW).for_each(|_| pass());
        windows.push(start.elapsed().as_secs_f64() * 1e9 / (PASSES_PER_WINDOW * BUFFERS) as f64);
    }
    windows.sort_by(f64::total_cmp);
    windows
}
