//! Loads and stores of a packet's text, quad by quad. Octets outside a mask are not touched, mapped or not.

use std::arch::x86_64::{
    __m128i, __m512i, _mm_loadl_epi64, _mm_loadu_si128, _mm_maskz_loadu_epi32, _mm_storeu_si128,
    _mm512_aesenclast_epi128, _mm512_broadcast_i32x4, _mm512_load_si512, _mm512_mask_storeu_epi8,
    _mm512_maskz_loadu_epi8, _mm512_setzero_si512, _mm512_xor_si512,
};

use esp::aead::{Aad, ICV_OCTETS, NONCE_OCTETS};

use super::ghash;
use super::shape::QUAD;

/// Loads what the masks name of some quads, and zeros for the rest.
///
/// # Safety
/// The named octets are readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) unsafe fn load<const QUADS: usize>(at: *const u8, masks: [u64; QUADS]) -> [__m512i; QUADS] {
    let mut quads = [_mm512_setzero_si512(); QUADS];
    for (n, (quad, mask)) in quads.iter_mut().zip(&masks).enumerate() {
        // SAFETY: by the contract above; a masked load touches no other octet.
        *quad = unsafe { _mm512_maskz_loadu_epi8(*mask, at.wrapping_add(QUAD * n).cast()) };
    }
    quads
}

/// Does the last round of AES of some quads, adds it to the text and stores what the masks name. Returns what AES made
/// of the quads; outside the masks it is without meaning.
///
/// # Safety
/// The named octets are writable and nobody else's.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) unsafe fn last_round<const QUADS: usize>(
    at: *mut u8,
    masks: [u64; QUADS],
    mut quads: [__m512i; QUADS],
    text: [__m512i; QUADS],
    key: __m128i,
) -> [__m512i; QUADS] {
    let key = _mm512_broadcast_i32x4(key);
    for (n, (quad, (text, mask))) in quads.iter_mut().zip(text.iter().zip(&masks)).enumerate() {
        // The last round ends with an addition, so the text may join its key: one step less to wait for.
        *quad = _mm512_aesenclast_epi128(*quad, _mm512_xor_si512(key, *text));
        // SAFETY: by the contract above; a masked store touches no other octet.
        unsafe { _mm512_mask_storeu_epi8(at.wrapping_add(QUAD * n).cast(), *mask, *quad) };
    }
    quads
}

/// Returns the nonce in each block of a quad, with a counter of 0.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn nonces(nonce: &[u8; NONCE_OCTETS]) -> __m512i {
    // SAFETY: the mask leaves the three words that the nonce is.
    _mm512_broadcast_i32x4(unsafe { _mm_maskz_loadu_epi32(0b0111, nonce.as_ptr().cast()) })
}

/// Returns the AAD, followed by zeros and reversed, in each block of a quad.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn aads(aad: &Aad) -> __m512i {
    let block = match aad {
        // SAFETY: this load is of 8 octets.
        Aad::Short(octets) => unsafe { _mm_loadl_epi64(octets.as_ptr().cast()) },
        // SAFETY: the mask leaves the three words that the AAD is.
        Aad::Esn(octets) => unsafe { _mm_maskz_loadu_epi32(0b0111, octets.as_ptr().cast()) },
    };
    _mm512_broadcast_i32x4(ghash::reversed(block))
}

/// Loads an ICV.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn load_icv(icv: &[u8; ICV_OCTETS]) -> __m128i {
    // SAFETY: an ICV is as long as the register.
    unsafe { _mm_loadu_si128(icv.as_ptr().cast()) }
}

/// Stores an ICV.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn store_icv(icv: &mut [u8; ICV_OCTETS], block: __m128i) {
    // SAFETY: an ICV is as long as the register.
    unsafe { _mm_storeu_si128(icv.as_mut_ptr().cast(), block) }
}

/// The words of a quad, in memory.
#[repr(C, align(64))]
pub(super) struct Words([u32; 16]);

impl Words {
    /// Divides the words of two quads.
    pub(super) const fn two(words: [u32; 32]) -> [Self; 2] {
        let mut two = [[0; 16]; 2];
        let mut word = 0;
        while word < words.len() {
            two[word / 16][word % 16] = words[word];
            word += 1;
        }
        let [first, second] = two;
        [Self(first), Self(second)]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    pub(super) fn load(&self) -> __m512i {
        // SAFETY: the array is as long and as aligned as the register.
        unsafe { _mm512_load_si512(self.0.as_ptr().cast()) }
    }
}
