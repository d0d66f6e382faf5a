//! AES on 512-bit registers: four blocks of one packet in each, several registers in flight.

use std::arch::x86_64::{
    __m128i, __m512i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128, _mm_cvtsi128_si32,
    _mm_set1_epi32, _mm_xor_si128, _mm512_aesenc_epi128, _mm512_broadcast_i32x4,
};

/// Round keys of the longest cipher key.
pub(super) const MAX_ROUND_KEYS: usize = 15;
const WORDS: usize = 4 * MAX_ROUND_KEYS;

/// Round keys in the order of encryption; a shorter key leaves the last ones zero.
pub(super) type RoundKeys = [__m128i; MAX_ROUND_KEYS];

/// Does one round of some quads of a packet, other than the first and the last.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn round<const QUADS: usize>(quads: &mut [__m512i; QUADS], key: __m128i) {
    let key = _mm512_broadcast_i32x4(key);
    for quad in quads {
        *quad = _mm512_aesenc_epi128(*quad, key);
    }
}

/// Encrypts one block.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2,aes")]
pub(super) fn encrypt_block(block: __m128i, keys: &RoundKeys, rounds: usize) -> __m128i {
    let mut block = _mm_xor_si128(block, keys[0]);
    for key in &keys[1..rounds] {
        block = _mm_aesenc_si128(block, *key);
    }
    _mm_aesenclast_si128(block, keys[rounds])
}

/// Writes the words of the key schedule: FIPS 197 section 5.2, in the byte order of memory.
/// `words` begins with the `key_words` words of the cipher key.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2,aes")]
pub(super) fn expand(words: &mut [u32; WORDS], key_words: usize, rounds: usize) {
    let mut round_constant = 1_u8;
    for at in key_words..4 * (rounds + 1) {
        let mut word = words[at - 1];
        if at % key_words == 0 {
            word = sub_word(word).rotate_right(8) ^ u32::from(round_constant);
            round_constant = (round_constant << 1) ^ ((round_constant >> 7) * 0x1b);
        } else if key_words > 6 && at % key_words == 4 {
            word = sub_word(word);
        }
        words[at] = words[at - key_words] ^ word;
    }
}

/// Applies the S-box to each octet of a word, in time that does not depend on it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2,aes")]
fn sub_word(word: u32) -> u32 {
    let substituted = _mm_aeskeygenassist_si128::<0>(_mm_set1_epi32(word.cast_signed()));
    _mm_cvtsi128_si32(substituted).cast_unsigned()
}
