//! The ends of the hash: the block of lengths, and the ICV, written or compared.

use std::arch::x86_64::{
    __m512i, _mm_cmpeq_epi8_mask, _mm_xor_si128, _mm512_extracti32x4_epi32, _mm512_mask_set1_epi64,
    _mm512_set_epi64,
};

use esp::aead::{Aad, Job};

use super::{ghash, text};

/// Returns the lengths of AAD and text in bits, reversed, in the last block of a quad.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn lengths<K>(job: &Job<'_, K>) -> __m512i {
    let aad_bits = match job.aad {
        Aad::Short(_) => 64,
        Aad::Esn(_) => 96,
    };
    let text_bits = 8 * job.text.len() as u64;
    _mm512_mask_set1_epi64(_mm512_set_epi64(aad_bits, 0, 0, 0, 0, 0, 0, 0), 1 << 6, text_bits.cast_signed())
}

/// Writes the ICV of a packet, or compares it and sets `verified`. `hashed` is the hash, a part in each place; the last
/// block of `last` is J0, encrypted.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn settle<K, const SEAL: bool>(job: &mut Job<'_, K>, hashed: __m512i, last: __m512i) {
    let icv = _mm_xor_si128(ghash::reversed(ghash::fold(hashed)), _mm512_extracti32x4_epi32::<3>(last));
    if SEAL {
        text::store_icv(job.icv, icv);
    } else {
        // All octets are compared at once, in a time that does not depend on them.
        job.verified = _mm_cmpeq_epi8_mask(icv, text::load_icv(job.icv)) == u16::MAX;
    }
}
