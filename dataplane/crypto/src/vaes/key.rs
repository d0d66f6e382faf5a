//! An expanded key: round keys and eight powers of the hash key, five or six cache lines in use.

use std::arch::x86_64::{
    __m512i, _mm_set_epi32, _mm_setzero_si128, _mm512_broadcast_i32x4, _mm512_castsi128_si512,
    _mm512_castsi512_si128, _mm512_inserti32x4, _mm512_setzero_si512,
};
use std::ops::Range;
use std::sync::Arc;

use esp::aead::{Algorithm, KeyError};
use zeroize::Zeroize as _;

use super::aes::{self, MAX_ROUND_KEYS, RoundKeys};
use super::{Cpu, ghash};
use crate::arena::{Arena, Cell};

const BLOCK_OCTETS: usize = 16;
/// Where the powers of the hash key begin.
const POWERS_AT: usize = 256;

/// An expanded key of any length. One exists only where the processor has what the code here needs: see [`Cpu`].
#[repr(C, align(64))]
pub(crate) struct Schedule {
    pub(super) round_keys: RoundKeys,
    /// The hash key to the powers of 8 to 5, and of 4 to 1, each multiplied by x.
    pub(super) powers: [__m512i; 2],
    /// Whoever has a schedule may run the code that uses it.
    cpu: Cpu,
}

const _: () = assert!(std::mem::offset_of!(Schedule, powers) == POWERS_AT && size_of::<Schedule>() == 384);

impl Schedule {
    /// Expands a cipher key in place in the arena. Errors: `Length`, `Memory`.
    /// The caller overwrites what is left of it on the stack.
    #[inline(never)]
    pub(crate) fn expand(
        cpu: Cpu,
        arena: &Arc<Arena<Self>>,
        algorithm: Algorithm,
        key: &[u8],
    ) -> Result<Cell<Self>, KeyError> {
        if key.len() != algorithm.key_octets() {
            return Err(KeyError::Length { algorithm, octets: key.len() });
        }
        // SAFETY: `cpu` is the witness that the processor has these features.
        let empty = unsafe { Self::empty(cpu) };
        let mut cell = arena.place(empty)?;
        // SAFETY: as above.
        unsafe { cell.fill(algorithm, key) };
        Ok(cell)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn empty(cpu: Cpu) -> Self {
        let round_keys = [_mm_setzero_si128(); MAX_ROUND_KEYS];
        Self { round_keys, powers: [_mm512_setzero_si512(); 2], cpu }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2,aes")]
    fn fill(&mut self, algorithm: Algorithm, key: &[u8]) {
        let rounds = rounds(algorithm);
        let mut words = [0_u32; 4 * MAX_ROUND_KEYS];
        for (word, octets) in words.iter_mut().zip(key.as_chunks().0) {
            *word = u32::from_le_bytes(*octets);
        }
        aes::expand(&mut words, key.len() / 4, rounds);
        for (key, words) in self.round_keys.iter_mut().zip(words.as_chunks().0) {
            let [a, b, c, d] = words.map(u32::cast_signed);
            *key = _mm_set_epi32(d, c, b, a);
        }
        words.zeroize();
        let zero = _mm_setzero_si128();
        let hash_key = ghash::reversed(aes::encrypt_block(zero, &self.round_keys, rounds));
        let first = _mm512_castsi128_si512(ghash::times_x(hash_key));
        let mut power = first;
        // From the last place to the first.
        for place in 0..4 {
            self.powers[1] = insert(self.powers[1], power, 3 - place);
            power = ghash::multiply(power, first);
        }
        for place in 0..4 {
            self.powers[0] = insert(self.powers[0], power, 3 - place);
            power = ghash::multiply(power, first);
        }
    }

    /// Returns the hash key to the power of 4 in every place.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    pub(super) fn fourth_power(&self) -> __m512i {
        _mm512_broadcast_i32x4(_mm512_castsi512_si128(self.powers[1]))
    }

    /// Returns the hash key to the power of 8 in every place.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    pub(super) fn eighth_power(&self) -> __m512i {
        _mm512_broadcast_i32x4(_mm512_castsi512_si128(self.powers[0]))
    }

    /// Returns the parts that a packet of any length needs. Units: octets.
    #[inline]
    pub(crate) fn touched(algorithm: Algorithm) -> [Range<usize>; 2] {
        [0..BLOCK_OCTETS * (rounds(algorithm) + 1), POWERS_AT..size_of::<Self>()]
    }
}

/// Returns the number of AES rounds. RFC: FIPS 197 section 5.
#[inline]
pub(super) const fn rounds(algorithm: Algorithm) -> usize {
    algorithm.key_octets() / 4 + 6
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
fn insert(quad: __m512i, block: __m512i, place: usize) -> __m512i {
    let block = _mm512_castsi512_si128(block);
    match place {
        0 => _mm512_inserti32x4::<0>(quad, block),
        1 => _mm512_inserti32x4::<1>(quad, block),
        2 => _mm512_inserti32x4::<2>(quad, block),
        _ => _mm512_inserti32x4::<3>(quad, block),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197 appendix A: cipher key and the last word of its schedule, in the byte order of memory.
    const LAST_WORDS: [(Algorithm, &[u8], [u8; 4]); 3] = [
        (
            Algorithm::Aes128Gcm16,
            &[0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6, 0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c],
            [0xb6, 0x63, 0x0c, 0xa6],
        ),
        (
            Algorithm::Aes192Gcm16,
            &[
                0x8e, 0x73, 0xb0, 0xf7, 0xda, 0x0e, 0x64, 0x52, 0xc8, 0x10, 0xf3, 0x2b, 0x80, 0x90, 0x79,
                0xe5, 0x62, 0xf8, 0xea, 0xd2, 0x52, 0x2c, 0x6b, 0x7b,
            ],
            [0x01, 0x00, 0x22, 0x02],
        ),
        (
            Algorithm::Aes256Gcm16,
            &[
                0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77,
                0x81, 0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14,
                0xdf, 0xf4,
            ],
            [0x70, 0x6c, 0x63, 0x1e],
        ),
    ];

    #[test]
    fn round_keys_are_those_of_the_standard() {
        let Ok(cpu) = Cpu::detect() else { return };
        let arena = Arena::new();
        for (algorithm, key, last) in LAST_WORDS {
            let schedule = Schedule::expand(cpu, &arena, algorithm, key).unwrap();
            let octets = schedule.round_keys.map(|key| format!("{key:?}"));
            // SAFETY: the processor has SSE4.1, as the witness says.
            let word =
                unsafe { std::arch::x86_64::_mm_extract_epi32::<3>(schedule.round_keys[rounds(algorithm)]) };
            assert_eq!(word.to_le_bytes(), last, "{algorithm} {octets:?}");
        }
    }

    #[test]
    fn what_a_packet_needs_are_five_cache_lines_or_six() {
        let lines = |algorithm| {
            Schedule::touched(algorithm)
                .map(|part| part.end.div_ceil(64) - part.start / 64)
                .iter()
                .sum::<usize>()
        };
        assert_eq!(Algorithm::ALL.map(lines), [5, 6, 6]);
    }
}
