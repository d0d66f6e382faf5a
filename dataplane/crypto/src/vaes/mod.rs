//! Backend: AES-GCM of our own for VAES, VPCLMULQDQ and AVX-512, many packets a call.
//!
//! Made for ESP: AAD of 8 or 12 octets, text in place, an ICV of 16 octets. Short packets are worked on several at a
//! time; a key takes five or six cache lines, since with many SAs fetching keys costs more than using them.
//! Nothing here branches on or indexes by an octet of key or text.
#![allow(
    unsafe_code,
    reason = "loads and stores of parts of registers, and code for features found at run time"
)]

mod aes;
mod burst;
mod ghash;
mod icv;
mod key;
mod long;
mod shape;
mod short;
mod text;

use esp::aead::{Algorithm, Job};

pub(crate) use key::Schedule;

use crate::choice::Error;
use crate::key::Key;

/// A witness that the processor has every feature that this module is compiled for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu(());

impl Cpu {
    /// Looks whether this processor will do. Errors: `Feature`, with the first one it lacks.
    pub(crate) fn detect() -> Result<Self, Error> {
        let features = [
            ("AVX512F", is_x86_feature_detected!("avx512f")),
            ("AVX512BW", is_x86_feature_detected!("avx512bw")),
            ("AVX512VL", is_x86_feature_detected!("avx512vl")),
            ("VAES", is_x86_feature_detected!("vaes")),
            ("VPCLMULQDQ", is_x86_feature_detected!("vpclmulqdq")),
            ("BMI2", is_x86_feature_detected!("bmi2")),
            ("AES", is_x86_feature_detected!("aes")),
        ];
        match features.into_iter().find(|(_, there)| !there) {
            Some((name, _)) => Err(Error::Feature { name }),
            None => Ok(Self(())),
        }
    }
}

/// Seals every packet in place.
pub(crate) fn seal(_: Cpu, jobs: &mut [Job<'_, Key>]) {
    // SAFETY: the witness says that the processor has the features.
    unsafe { burst::run::<true>(jobs) }
}

/// Opens every packet in place and sets each `verified`.
pub(crate) fn open(_: Cpu, jobs: &mut [Job<'_, Key>]) {
    // SAFETY: as in `seal`.
    unsafe { burst::run::<false>(jobs) }
}

/// Seals one packet in place.
pub(crate) fn seal_one<K>(key: (Algorithm, &Schedule), job: &mut Job<'_, K>) {
    // SAFETY: a schedule exists only where a witness did.
    unsafe { burst::alone::<K, true>(key, job) }
}

/// Opens one packet in place and returns whether its ICV is genuine.
pub(crate) fn open_one<K>(key: (Algorithm, &Schedule), job: &mut Job<'_, K>) -> bool {
    // SAFETY: as in `seal_one`.
    unsafe { burst::alone::<K, false>(key, job) }
    job.verified
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_will_not_do_is_told_by_the_feature_it_lacks() {
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let has = |flag| flags.split_whitespace().any(|found| found == flag);
        let all = ["avx512f", "avx512bw", "avx512vl", "vaes", "vpclmulqdq", "bmi2", "aes"];
        match Cpu::detect() {
            Ok(_) => assert!(all.into_iter().all(has)),
            Err(Error::Feature { name }) => assert!(!has(&name.to_lowercase())),
            Err(error) => panic!("{error}"),
        }
    }
}
