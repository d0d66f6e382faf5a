//! What the AEAD alone costs on this machine: the floor under the whole engine, and the base of the choice at start.

use std::time::{Duration, Instant};

use esp::aead::{Aad, Aead as _, Algorithm, ICV_OCTETS, Job, KeySchedule as _};

use crate::Crypto;
use crate::choice::{Error, Method};
use crate::engine::Engine;
use crate::key::Key;

const BURST_PKTS: usize = 32;
const BUFFERS: usize = 512;
/// Fewest windows of a measurement, so that one interruption does not decide.
const MIN_WINDOWS: usize = 3;
/// How often each candidate has its turn at start.
const ROUNDS: u32 = 4;
/// What is tried at start: a small packet, a middle one and a full one. Units: octets of text.
const TRIAL_TEXTS: [usize; 3] = [64, 512, 1408];

/// The cost of sealing one packet, over several windows of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// What was measured.
    pub method: Method,
    /// With which algorithm.
    pub algorithm: Algorithm,
    /// Length of the text of a packet, without AAD and ICV. Units: octets.
    pub text_octets: usize,
    /// The fastest window. Units: nanoseconds per packet.
    pub min_ns: f64,
    /// The middle window. Units: nanoseconds per packet.
    pub median_ns: f64,
    /// The slowest window. Units: nanoseconds per packet.
    pub max_ns: f64,
}

/// Measures sealing alone: in place, bursts of 32, 512 distinct buffers, one key; every method that this build
/// contains and that runs here, for about `each` per method. The fastest method is the first.
/// Errors: what kept the last method from running, if none runs.
pub fn measure_floor(algorithm: Algorithm, text_octets: usize, each: Duration) -> Result<Vec<Floor>, Error> {
    let mut floors = Vec::new();
    let mut absent = Error::NotBuilt;
    for method in Method::built() {
        match measure(method, algorithm, text_octets, each) {
            Ok(floor) => floors.push(floor),
            Err(error) => absent = error,
        }
    }
    floors.sort_by(|a, b| a.min_ns.total_cmp(&b.min_ns));
    if floors.is_empty() { Err(absent) } else { Ok(floors) }
}

/// What the trial at start found.
pub(crate) struct Trial {
    pub(crate) best: Method,
    pub(crate) floors: Vec<Floor>,
    /// Why candidates did not take part, each reason once.
    pub(crate) absent: Vec<Error>,
}

/// Measures the candidates with AES-128-GCM, `each` per candidate and length, and picks the one with the lowest product, so
/// that each length has the same weight. They take turns, so that a slow spell of the machine meets all of them.
/// Errors: what kept the last candidate from running, if none runs.
pub(crate) fn trial(candidates: &[Method], each: Duration) -> Result<Trial, Error> {
    let mut tried: Vec<Vec<Floor>> = Vec::new();
    let mut absent = Vec::new();
    for method in candidates {
        match once(*method, each / ROUNDS) {
            Ok(floors) => tried.push(floors),
            Err(error) if absent.contains(&error) => {}
            Err(error) => absent.push(error),
        }
    }
    for _ in 1..ROUNDS {
        for known in &mut tried {
            let Some(method) = known.first().map(|floor| floor.method) else { continue };
            for (known, again) in known.iter_mut().zip(once(method, each / ROUNDS)?) {
                if again.min_ns < known.min_ns {
                    *known = again;
                }
            }
        }
    }
    let product = |floors: &[Floor]| floors.iter().map(|floor| floor.min_ns).product::<f64>();
    let best = tried.iter().min_by(|a, b| product(a).total_cmp(&product(b)));
    match best.and_then(|floors| floors.first()) {
        Some(best) => Ok(Trial { best: best.method, floors: tried.concat(), absent }),
        None => Err(absent.pop().unwrap_or(Error::NotBuilt)),
    }
}

/// Measures a method at every length of the trial.
fn once(method: Method, each: Duration) -> Result<Vec<Floor>, Error> {
    let floors = TRIAL_TEXTS.into_iter();
    floors.map(|text_octets| measure(method, Algorithm::Aes128Gcm16, text_octets, each)).collect()
}

fn measure(method: Method, algorithm: Algorithm, text_octets: usize, each: Duration) -> Result<Floor, Error> {
    let crypto = Crypto::with_method(method)?;
    let mut engine = crypto.engine()?;
    let key = crypto.expand(algorithm, &[0x5a; 32][..algorithm.key_octets()])?;
    // An odd number of cache lines, so that the buffers spread over all cache sets.
    let stride_octets = ((text_octets + ICV_OCTETS).div_ceil(64) | 1) * 64;
    let mut memory = vec![0_u8; BUFFERS * stride_octets];
    let mut jobs = Vec::with_capacity(BUFFERS);
    for (n, buffer) in memory.chunks_exact_mut(stride_octets).enumerate() {
        if let Some((text, icv)) = buffer[..text_octets + ICV_OCTETS].split_last_chunk_mut() {
            jobs.push(Job::new(&key, [n.to_le_bytes()[0]; 12], Aad::Short([0; 8]), text, icv));
        }
    }
    let windows = windows_ns(&mut engine, &mut jobs, each);
    Ok(Floor {
        method,
        algorithm,
        text_octets,
        min_ns: windows.first().copied().unwrap_or(f64::NAN),
        median_ns: windows.get(windows.len() / 2).copied().unwrap_or(f64::NAN),
        max_ns: windows.last().copied().unwrap_or(f64::NAN),
    })
}

/// Seals the jobs over and over. Returns nanoseconds per packet of each window, the fastest first.
fn windows_ns(engine: &mut Engine, jobs: &mut [Job<'_, Key>], each: Duration) -> Vec<f64> {
    let mut pass = |passes: u32| {
        let start = Instant::now();
        for _ in 0..passes {
            jobs.chunks_mut(BURST_PKTS).for_each(|burst| engine.seal(burst));
        }
        start.elapsed().as_secs_f64() * 1e9
    };
    // The first pass faults pages in and fills caches; the second is the yardstick.
    pass(1);
    let pass_ns = pass(1).max(1.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is at least 1"
    )]
    let passes = ((each.as_secs_f64() * 1e9 / pass_ns / 16.0) as u32).max(1);
    let packets = f64::from(passes) * BUFFERS as f64;
    let begin = Instant::now();
    let mut windows = Vec::new();
    while windows.len() < MIN_WINDOWS || begin.elapsed() < each {
        windows.push(pass(passes) / packets);
    }
    windows.sort_by(f64::total_cmp);
    windows
}
