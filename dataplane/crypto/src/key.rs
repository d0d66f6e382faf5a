//! An expanded key: a handle to a cell of the arena, zeroized when it is dropped.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use esp::aead::{Algorithm, Job, KeyError};
use zeroize::Zeroize as _;

use crate::arena::{Arena, Cell};
#[cfg(ipsec_mb)]
use crate::ipsec_mb;
use crate::rustcrypto;
#[cfg(target_arch = "x86_64")]
use crate::vaes;

/// An expanded key of one SA and direction, shared by all workers. Dropping it zeroizes it and takes the arena's lock,
/// so the control thread is the one to do it.
pub struct Key {
    algorithm: Algorithm,
    state: State,
}

/// Every key knows its backend, so that an engine of another backend still seals and opens with it.
enum State {
    #[cfg(target_arch = "x86_64")]
    Vaes(Cell<vaes::Schedule>),
    #[cfg(ipsec_mb)]
    IpsecMb {
        schedule: Cell<ipsec_mb::Schedule>,
        calls: &'static ipsec_mb::Calls,
    },
    RustCrypto(Cell<rustcrypto::Schedule>),
}

impl Key {
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn for_vaes(
        cpu: vaes::Cpu,
        arena: &Arc<Arena<vaes::Schedule>>,
        algorithm: Algorithm,
        key: &[u8],
    ) -> Result<Self, KeyError> {
        let schedule = vaes::Schedule::expand(cpu, arena, algorithm, key);
        scrub_stack();
        Ok(Self { algorithm, state: State::Vaes(schedule?) })
    }

    #[cfg(ipsec_mb)]
    pub(crate) fn for_ipsec_mb(
        calls: &'static ipsec_mb::Calls,
        arena: &Arc<Arena<ipsec_mb::Schedule>>,
        algorithm: Algorithm,
        key: &[u8],
    ) -> Result<Self, KeyError> {
        let schedule = calls.expand(arena, algorithm, key)?;
        Ok(Self { algorithm, state: State::IpsecMb { schedule, calls } })
    }

    pub(crate) fn for_rustcrypto(
        arena: &Arc<Arena<rustcrypto::Schedule>>,
        algorithm: Algorithm,
        key: &[u8],
    ) -> Result<Self, KeyError> {
        let expanded = Self::expand_rustcrypto(arena, algorithm, key);
        scrub_stack();
        expanded
    }

    #[inline(never)]
    fn expand_rustcrypto(
        arena: &Arc<Arena<rustcrypto::Schedule>>,
        algorithm: Algorithm,
        key: &[u8],
    ) -> Result<Self, KeyError> {
        let schedule = arena.place(rustcrypto::Schedule::expand(algorithm, key)?)?;
        Ok(Self { algorithm, state: State::RustCrypto(schedule) })
    }

    /// Returns the algorithm the key is for.
    #[must_use]
    #[inline]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Starts loading the parts of the key that a packet of any length needs. Waits for nothing.
    #[inline]
    pub fn prefetch(&self) {
        self.prefetch_for(0);
    }

    /// Starts loading the parts of the key that a packet with `text_octets` of text needs. Waits for nothing.
    #[inline]
    pub fn prefetch_for(&self, text_octets: usize) {
        #[cfg(not(ipsec_mb))]
        let _ = text_octets;
        match &self.state {
            #[cfg(target_arch = "x86_64")]
            State::Vaes(schedule) => {
                for part in vaes::Schedule::touched(self.algorithm) {
                    schedule.prefetch(part);
                }
            }
            #[cfg(ipsec_mb)]
            State::IpsecMb { schedule, calls } => {
                for part in calls.touched(self.algorithm, text_octets) {
                    schedule.prefetch(part);
                }
            }
            State::RustCrypto(schedule) => schedule.prefetch(WHOLE_RUSTCRYPTO),
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(crate) fn vaes(&self) -> Option<(Algorithm, &vaes::Schedule)> {
        match &self.state {
            State::Vaes(schedule) => Some((self.algorithm, schedule)),
            #[cfg(ipsec_mb)]
            State::IpsecMb { .. } => None,
            State::RustCrypto(_) => None,
        }
    }

    #[cfg(ipsec_mb)]
    #[inline]
    pub(crate) fn ipsec_mb(&self) -> Option<(Algorithm, &ipsec_mb::Schedule)> {
        match &self.state {
            State::IpsecMb { schedule, .. } => Some((self.algorithm, schedule)),
            #[cfg(target_arch = "x86_64")]
            State::Vaes(_) => None,
            State::RustCrypto(_) => None,
        }
    }

    /// Seals one packet in place.
    #[inline]
    pub(crate) fn seal_one(job: &mut Job<'_, Self>) {
        match &job.key.state {
            #[cfg(target_arch = "x86_64")]
            State::Vaes(schedule) => vaes::seal_one((job.key.algorithm, schedule), job),
            #[cfg(ipsec_mb)]
            State::IpsecMb { schedule, calls } => {
                calls.seal((job.key.algorithm, schedule), packet(&job.nonce, &job.aad, job.text, job.icv));
            }
            State::RustCrypto(schedule) => {
                schedule.seal(&job.nonce, job.aad.as_slice(), job.text, job.icv);
            }
        }
    }

    /// Opens one packet in place and sets `verified`.
    #[inline]
    pub(crate) fn open_one(job: &mut Job<'_, Self>) {
        job.verified = match &job.key.state {
            #[cfg(target_arch = "x86_64")]
            State::Vaes(schedule) => vaes::open_one((job.key.algorithm, schedule), job),
            #[cfg(ipsec_mb)]
            State::IpsecMb { schedule, calls } => {
                calls.open((job.key.algorithm, schedule), packet(&job.nonce, &job.aad, job.text, job.icv))
            }
            State::RustCrypto(schedule) => schedule.open(&job.nonce, job.aad.as_slice(), job.text, job.icv),
        };
    }
}

/// Overwrites what the calls before left below the caller's frame: RustCrypto returns its schedule by value, so that
/// copies of it pass over the stack.
#[inline(never)]
fn scrub_stack() {
    // By words: each is a store of its own, and an SA that is adopted waits for all of them.
    [0_u64; 2 << 10].zeroize();
}

const WHOLE_RUSTCRYPTO: Range<usize> = 0..size_of::<rustcrypto::Schedule>();

#[cfg(ipsec_mb)]
#[inline]
fn packet<'a>(
    nonce: &'a [u8; esp::aead::NONCE_OCTETS],
    aad: &'a esp::aead::Aad,
    text: &'a mut [u8],
    icv: &'a mut [u8; esp::aead::ICV_OCTETS],
) -> ipsec_mb::Packet<'a> {
    ipsec_mb::Packet { nonce, aad: aad.as_slice(), text, icv }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::tests::{address, free_octets};
    use crate::{Crypto, Method};
    use esp::aead::KeySchedule as _;

    #[test]
    fn a_key_never_prints_its_octets() {
        for method in Method::built() {
            let key =
                Crypto::with_method(method).unwrap().expand(Algorithm::Aes128Gcm16, &[0xab; 16]).unwrap();
            let printed = format!("{key:?}");
            assert!(!printed.contains("171") && !printed.to_lowercase().contains("ab, "), "{printed}");
        }
    }

    #[test]
    fn a_dropped_key_leaves_only_zeros_in_its_cell() {
        for algorithm in Algorithm::ALL {
            let octets = &[0x3c; 32][..algorithm.key_octets()];
            let arena = Arena::new();
            let key = Key::for_rustcrypto(&arena, algorithm, octets).unwrap();
            let at = match &key.state {
                State::RustCrypto(cell) => address(cell),
                #[cfg(target_arch = "x86_64")]
                State::Vaes(_) => panic!("asked for RustCrypto"),
                #[cfg(ipsec_mb)]
                State::IpsecMb { .. } => panic!("asked for RustCrypto"),
            };
            drop(key);
            assert!(free_octets(&arena, at).iter().all(|octet| *octet == 0));
        }
    }

    #[cfg(ipsec_mb)]
    #[test]
    fn a_dropped_key_of_ipsec_mb_leaves_only_zeros_in_its_cell() {
        for algorithm in Algorithm::ALL {
            let octets = &[0x3c; 32][..algorithm.key_octets()];
            let arena = Arena::new();
            let key =
                Key::for_ipsec_mb(ipsec_mb::Calls::current().unwrap(), &arena, algorithm, octets).unwrap();
            let State::IpsecMb { schedule, .. } = &key.state else { panic!("a key of IPSec_MB") };
            let at = address(schedule);
            drop(key);
            assert!(free_octets(&arena, at).iter().all(|octet| *octet == 0));
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_dropped_key_of_vaes_leaves_only_zeros_in_its_cell() {
        let Ok(cpu) = vaes::Cpu::detect() else { return };
        for algorithm in Algorithm::ALL {
            let octets = &[0x3c; 32][..algorithm.key_octets()];
            let arena = Arena::new();
            let key = Key::for_vaes(cpu, &arena, algorithm, octets).unwrap();
            let State::Vaes(schedule) = &key.state else { panic!("a key of the VAES code") };
            let at = address(schedule);
            drop(key);
            assert!(free_octets(&arena, at).iter().all(|octet| *octet == 0));
        }
    }

    #[test]
    fn a_key_of_a_wrong_length_is_refused() {
        for method in Method::built() {
            let crypto = Crypto::with_method(method).unwrap();
            for (algorithm, octets) in Algorithm::ALL.into_iter().flat_map(|a| (0..=36).map(move |n| (a, n)))
            {
                let expanded = crypto.expand(algorithm, &[7; 36][..octets]);
                if octets == algorithm.key_octets() {
                    assert!(expanded.is_ok(), "{method} {algorithm} {octets}");
                } else {
                    assert_eq!(expanded.err(), Some(KeyError::Length { algorithm, octets }));
                }
            }
        }
    }

    #[test]
    fn prefetching_any_length_stays_inside_the_cell() {
        for method in Method::built() {
            let crypto = Crypto::with_method(method).unwrap();
            for algorithm in Algorithm::ALL {
                let key = crypto.expand(algorithm, &[1; 32][..algorithm.key_octets()]).unwrap();
                key.prefetch();
                for text_octets in [0, 1, 16, 64, 700, 1400, 9000, usize::MAX] {
                    key.prefetch_for(text_octets);
                }
            }
        }
    }
}
