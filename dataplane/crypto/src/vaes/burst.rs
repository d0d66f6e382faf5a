//! A burst: which packets are worked on together, and by which code each.

use std::array::from_mut;

use esp::aead::{Algorithm, Job};
use zeroize::Zeroize as _;

use super::key::Schedule;
use super::long::{self, Powers};
use super::short;
use crate::key::Key;

/// The longest text that GCM takes. Units: octets. RFC: NIST SP 800-38D section 5.2.1.1.
const MAX_TEXT: usize = (1 << 36) - 32;

/// Seals or opens the packets of a burst; opening sets each `verified`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn run<const SEAL: bool>(jobs: &mut [Job<'_, Key>]) {
    let mut powers = Powers::none();
    let mut next = 0;
    prefetch(jobs);
    while let Some(rest) = jobs.get_mut(next..) {
        if let Some(pair) = rest.first_chunk_mut()
            && together::<SEAL>(pair)
        {
            next += 2;
            continue;
        }
        let Some(job) = rest.first_mut() else { return };
        let key: &Key = job.key;
        match key.vaes() {
            Some(key) => one::<_, SEAL>(key, job, &mut powers),
            None if SEAL => Key::seal_one(job),
            None => Key::open_one(job),
        }
        next += 1;
    }
}

/// Starts loading every key of the burst: all at once, so that the fetches overlap each other and the first packets.
#[inline]
fn prefetch(jobs: &[Job<'_, Key>]) {
    let mut before = std::ptr::null();
    for job in jobs {
        if !std::ptr::eq(job.key, before) {
            job.key.prefetch_for(job.text.len());
        }
        before = job.key;
    }
}

/// Seals or opens one packet; opening sets `verified`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn alone<K, const SEAL: bool>(key: (Algorithm, &Schedule), job: &mut Job<'_, K>) {
    one::<K, SEAL>(key, job, &mut Powers::none());
}

/// The code that a text takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    OneQuad,
    TwoQuads,
    Long,
}

impl Length {
    #[inline]
    const fn of(text: &[u8]) -> Self {
        if text.len() <= short::ONE_QUAD {
            Self::OneQuad
        } else if text.len() <= short::TWO_QUADS {
            Self::TwoQuads
        } else {
            Self::Long
        }
    }
}

/// Works on two packets at once and returns true, if they are short, take the same code, and both keys are of this
/// backend. Two keep the processor busy; four need more registers than there are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
fn together<const SEAL: bool>(jobs: &mut [Job<'_, Key>; 2]) -> bool {
    let [first, second] = &*jobs;
    let length = Length::of(first.text);
    if length == Length::Long || Length::of(second.text) != length {
        return false;
    }
    let (Some((algorithm, first)), Some((other, second))) = (first.key.vaes(), second.key.vaes()) else {
        return false;
    };
    if algorithm != other {
        return false;
    }
    let schedules = [first, second];
    // SAFETY: both texts have the length that was looked at.
    unsafe {
        match (algorithm, length) {
            (Algorithm::Aes128Gcm16, Length::OneQuad) => short::run::<_, 1, _, 10, SEAL>(jobs, schedules),
            (Algorithm::Aes192Gcm16, Length::OneQuad) => short::run::<_, 1, _, 12, SEAL>(jobs, schedules),
            (Algorithm::Aes256Gcm16, Length::OneQuad) => short::run::<_, 1, _, 14, SEAL>(jobs, schedules),
            (Algorithm::Aes128Gcm16, _) => short::run::<_, 2, _, 10, SEAL>(jobs, schedules),
            (Algorithm::Aes192Gcm16, _) => short::run::<_, 2, _, 12, SEAL>(jobs, schedules),
            (Algorithm::Aes256Gcm16, _) => short::run::<_, 2, _, 14, SEAL>(jobs, schedules),
        }
    }
    true
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
fn one<K, const SEAL: bool>(
    (algorithm, schedule): (Algorithm, &Schedule),
    job: &mut Job<'_, K>,
    powers: &mut Powers,
) {
    match algorithm {
        Algorithm::Aes128Gcm16 => by_length::<_, 10, SEAL>(schedule, job, powers),
        Algorithm::Aes192Gcm16 => by_length::<_, 12, SEAL>(schedule, job, powers),
        Algorithm::Aes256Gcm16 => by_length::<_, 14, SEAL>(schedule, job, powers),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
fn by_length<K, const ROUNDS: usize, const SEAL: bool>(
    schedule: &Schedule,
    job: &mut Job<'_, K>,
    powers: &mut Powers,
) {
    // SAFETY: each call is for the lengths that it asks for.
    unsafe {
        match (Length::of(job.text), job.text.len()) {
            (Length::OneQuad, _) => short::run::<K, 1, 1, ROUNDS, SEAL>(from_mut(job), [schedule]),
            (Length::TwoQuads, _) => short::run::<K, 2, 1, ROUNDS, SEAL>(from_mut(job), [schedule]),
            (Length::Long, ..=long::NARROW) => long::run::<K, ROUNDS, SEAL, false>(job, schedule, powers),
            (Length::Long, ..=MAX_TEXT) => long::run::<K, ROUNDS, SEAL, true>(job, schedule, powers),
            // Nothing of it may leave in clear.
            (Length::Long, _) if SEAL => job.text.zeroize(),
            (Length::Long, _) => job.verified = false,
        }
    }
}
