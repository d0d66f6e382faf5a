//! Backend: the distribution's IPSec_MB, called packet by packet; `burst` has the other call form.
//!
//! The library's functions are picked for this processor once and kept as plain function pointers: expanding, sealing
//! and opening single packets touch no manager, so that keys and calls can be shared by all threads.
#![allow(unsafe_code, reason = "calls into a C library")]

mod burst;
mod ffi;

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock};

use esp::aead::{Algorithm, ICV_OCTETS, KeyError, NONCE_OCTETS};

pub(crate) use burst::Manager;

use crate::arena::{Arena, Cell};
use crate::choice::Error;
use ffi::{BurstCall, GcmCall, GcmContext, GcmExpand, GcmKey, Mgr};

const ROUND_KEYS_OCTETS: usize = 240;
const BLOCK_OCTETS: usize = 16;
/// Powers of the hash key that the AVX-512 code keeps, the highest first.
const VAES_POWERS: usize = 48;

/// An expanded key of any length.
pub(crate) struct Schedule {
    key: GcmKey,
}

/// The library's functions for this processor. Arrays by [`Algorithm`], in the order of its declaration.
pub(crate) struct Calls {
    seal: [GcmCall; 3],
    open: [GcmCall; 3],
    expand: [GcmExpand; 3],
    next_burst: BurstCall,
    submit_burst: BurstCall,
    flush_burst: BurstCall,
    vaes_avx512: bool,
}

impl Calls {
    /// Returns the library's functions; the first caller starts the library. Errors: why it does not start.
    pub(crate) fn current() -> Result<&'static Self, Error> {
        static CALLS: OnceLock<Result<Calls, Error>> = OnceLock::new();
        CALLS.get_or_init(Self::load).as_ref().map_err(|error| *error)
    }

    fn load() -> Result<Self, Error> {
        let version = ffi::imb_get_version();
        let (major, minor) = (version >> 16, version >> 8 & 0xff);
        if major != 1 || minor < 3 {
            return Err(Error::Version { major, minor });
        }
        let mgr = OwnedMgr::new()?;
        let mut table = MaybeUninit::uninit();
        // SAFETY: the manager was initialised by `OwnedMgr::new`, and the shim writes the whole table, whose layout
        // is the one declared in `ffi`.
        let table = unsafe {
            ffi::espalier_mb_calls(mgr.0.as_ptr(), table.as_mut_ptr());
            table.assume_init()
        };
        let all = |calls: [Option<GcmCall>; 3]| Some([calls[0]?, calls[1]?, calls[2]?]);
        let vaes = ffi::IMB_FEATURE_AVX512_SKX | ffi::IMB_FEATURE_VAES | ffi::IMB_FEATURE_VPCLMULQDQ;
        let calls = || {
            Some(Self {
                seal: all(table.seal)?,
                open: all(table.open)?,
                expand: [table.expand[0]?, table.expand[1]?, table.expand[2]?],
                next_burst: table.next_burst?,
                submit_burst: table.submit_burst?,
                flush_burst: table.flush_burst?,
                vaes_avx512: table.features & vaes == vaes,
            })
        };
        calls().ok_or(Error::Manager)
    }

    /// Expands a cipher key in place in the arena. Errors: `Length`, `Memory`.
    pub(crate) fn expand(
        &self,
        arena: &Arc<Arena<Schedule>>,
        algorithm: Algorithm,
        key: &[u8],
    ) -> Result<Cell<Schedule>, KeyError> {
        if key.len() != algorithm.key_octets() {
            return Err(KeyError::Length { algorithm, octets: key.len() });
        }
        let mut cell = arena.place(Schedule { key: GcmKey([0; 1024]) })?;
        // SAFETY: the length of `key` was checked against the algorithm, and `GcmKey` is at least as large and as
        // aligned as the library's structure (asserted in the shim).
        unsafe { self.expand[algorithm as usize](key.as_ptr(), &raw mut cell.key) };
        Ok(cell)
    }

    /// Seals one packet in place.
    #[inline]
    pub(crate) fn seal(&self, key: (Algorithm, &Schedule), packet: Packet<'_>) {
        call(self.seal[key.0 as usize], key.1, packet);
    }

    /// Decrypts one packet in place and returns whether its ICV is genuine.
    #[inline]
    pub(crate) fn open(&self, key: (Algorithm, &Schedule), packet: Packet<'_>) -> bool {
        let mut icv = [0; ICV_OCTETS];
        let received = packet.icv;
        call(self.open[key.0 as usize], key.1, Packet { icv: &mut icv, ..packet });
        same_icv(&icv, received)
    }

    /// Returns the parts of a [`Schedule`] that a text of this length needs. Units: octets.
    #[inline]
    pub(crate) fn touched(&self, algorithm: Algorithm, text_octets: usize) -> [Range<usize>; 2] {
        let rounds = BLOCK_OCTETS * (algorithm.key_octets() / 4 + 7);
        // AAD and lengths take a block each.
        let powers = (text_octets.div_ceil(BLOCK_OCTETS) + 2).min(VAES_POWERS);
        let hash_keys = if self.vaes_avx512 {
            let end = ROUND_KEYS_OCTETS + VAES_POWERS * BLOCK_OCTETS;
            end - powers * BLOCK_OCTETS..end
        } else {
            ROUND_KEYS_OCTETS..2 * ROUND_KEYS_OCTETS + BLOCK_OCTETS
        };
        [0..rounds, hash_keys]
    }
}

/// What a direct call works on; it writes the ICV it computes to `icv`.
pub(crate) struct Packet<'a> {
    pub(crate) nonce: &'a [u8; NONCE_OCTETS],
    pub(crate) aad: &'a [u8],
    pub(crate) text: &'a mut [u8],
    pub(crate) icv: &'a mut [u8; ICV_OCTETS],
}

#[inline]
fn call(function: GcmCall, schedule: &Schedule, packet: Packet<'_>) {
    let Packet { nonce, aad, text, icv } = packet;
    let mut context = MaybeUninit::<GcmContext>::uninit();
    let start = text.as_mut_ptr();
    // SAFETY: every pointer is valid for the length passed beside it; the nonce is 12 octets as GCM calls want it;
    // source and destination may be equal; the context is scratch that the function initialises itself.
    unsafe {
        function(
            &raw const schedule.key,
            context.as_mut_ptr(),
            start,
            start,
            text.len() as u64,
            nonce.as_ptr(),
            aad.as_ptr(),
            aad.len() as u64,
            icv.as_mut_ptr(),
            ICV_OCTETS as u64,
        );
    }
}

/// Compares in time that does not depend on the octets: all 128 bits are folded before anything is decided.
#[inline]
fn same_icv(computed: &[u8; ICV_OCTETS], received: &[u8; ICV_OCTETS]) -> bool {
    let difference = u128::from_ne_bytes(*computed) ^ u128::from_ne_bytes(*received);
    std::hint::black_box(difference) == 0
}

/// Returns the library's own name of its version, such as `1.3.0`.
pub(crate) fn version() -> &'static str {
    // SAFETY: the library returns a static string that ends in a zero octet.
    unsafe { CStr::from_ptr(ffi::imb_get_version_str()) }.to_str().unwrap_or("of unknown version")
}

/// A manager, initialised for this processor and freed when dropped.
struct OwnedMgr(NonNull<Mgr>);

impl OwnedMgr {
    fn new() -> Result<Self, Error> {
        let mgr = Self(NonNull::new(ffi::alloc_mb_mgr(0)).ok_or(Error::Manager)?);
        let mut arch = 0;
        // SAFETY: the library allocated the manager just now and `mgr` owns it.
        let code = unsafe {
            ffi::init_mb_mgr_auto(mgr.0.as_ptr(), &raw mut arch);
            ffi::imb_get_errno(mgr.0.as_ptr())
        };
        if code == 0 && arch != 0 { Ok(mgr) } else { Err(Error::Start { code }) }
    }
}

impl Drop for OwnedMgr {
    fn drop(&mut self) {
        // SAFETY: `new` got the manager from the library and nothing else frees it.
        unsafe { ffi::free_mb_mgr(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcm_cases;

    fn packet<'a>(
        case: &'a gcm_cases::Case,
        text: &'a mut [u8],
        icv: &'a mut [u8; ICV_OCTETS],
    ) -> Packet<'a> {
        Packet { nonce: &case.nonce, aad: &case.aad, text, icv }
    }

    #[test]
    fn the_cases_of_the_gcm_specification_hold() {
        let calls = Calls::current().unwrap();
        let arena = Arena::new();
        for case in gcm_cases::cases() {
            let schedule = calls.expand(&arena, case.algorithm, &case.key).unwrap();
            let key = (case.algorithm, &*schedule);
            let (mut text, mut icv) = (case.clear.clone(), [0; ICV_OCTETS]);
            calls.seal(key, packet(&case, &mut text, &mut icv));
            assert_eq!((&text, icv), (&case.cipher, case.icv), "{}", case.algorithm);
            assert!(calls.open(key, packet(&case, &mut text, &mut icv)));
            assert_eq!(text, case.clear);
            icv[0] ^= 1;
            assert!(!calls.open(key, packet(&case, &mut text, &mut icv)));
        }
    }

    #[test]
    fn equal_icvs_are_the_same_and_one_bit_makes_them_differ() {
        let icv = [0x6b; ICV_OCTETS];
        assert!(same_icv(&icv, &icv.clone()));
        for bit in 0..128 {
            let mut other = icv;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!same_icv(&icv, &other), "bit {bit}");
        }
    }

    #[test]
    fn what_is_prefetched_grows_with_the_text_up_to_the_whole_key() {
        let calls = Calls::current().unwrap();
        let octets = |text_octets| calls.touched(Algorithm::Aes256Gcm16, text_octets).map(|part| part.len());
        assert_eq!(octets(0)[0], 240);
        assert!(octets(0)[1] <= octets(64)[1] && octets(64)[1] <= octets(1400)[1]);
        assert!(calls.touched(Algorithm::Aes128Gcm16, usize::MAX)[1].end <= size_of::<Schedule>());
    }
}
