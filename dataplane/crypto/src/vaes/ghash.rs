//! GHASH on 512-bit registers: four carry-less products side by side, summed before one reduction.
//!
//! Blocks are byte-reversed, so that the field's polynomial lies in a register from its highest power down. Powers of
//! the hash key are kept multiplied by x, which saves shifting each product by the one bit that reflection costs.

use std::arch::x86_64::{
    __m128i, __m512i, _mm_and_si128, _mm_or_si128, _mm_set_epi8, _mm_set_epi64x, _mm_shuffle_epi8,
    _mm_shuffle_epi32, _mm_slli_epi64, _mm_srai_epi32, _mm_srli_epi64, _mm_xor_si128, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_xor_si256, _mm512_broadcast_i32x4, _mm512_castsi512_si256,
    _mm512_clmulepi64_epi128, _mm512_extracti64x4_epi64, _mm512_set1_epi64, _mm512_shuffle_epi32,
    _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

/// x^63 + x^62 + x^57: what of the reflected polynomial lies in a product's middle half.
const POLYNOMIAL: i64 = 0xc2_u64.cast_signed() << 56;
/// The truth table of a sum of three.
const XOR: i32 = 0x96;
const SWAP_HALVES: i32 = 0b01_00_11_10;

/// A sum of products of 256 bits, not yet reduced: octets 0 to 15, 8 to 23 and 16 to 31, four times side by side.
#[derive(Clone, Copy)]
pub(super) struct Product {
    low: __m512i,
    middle: __m512i,
    high: __m512i,
}

impl Product {
    /// Multiplies four blocks by four powers of the hash key.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    pub(super) fn of(blocks: __m512i, powers: __m512i) -> Self {
        Self {
            low: _mm512_clmulepi64_epi128::<0x00>(blocks, powers),
            middle: _mm512_xor_si512(
                _mm512_clmulepi64_epi128::<0x01>(blocks, powers),
                _mm512_clmulepi64_epi128::<0x10>(blocks, powers),
            ),
            high: _mm512_clmulepi64_epi128::<0x11>(blocks, powers),
        }
    }

    /// Adds four more products.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    pub(super) fn and(self, blocks: __m512i, powers: __m512i) -> Self {
        Self {
            low: _mm512_xor_si512(self.low, _mm512_clmulepi64_epi128::<0x00>(blocks, powers)),
            middle: sum(
                self.middle,
                _mm512_clmulepi64_epi128::<0x01>(blocks, powers),
                _mm512_clmulepi64_epi128::<0x10>(blocks, powers),
            ),
            high: _mm512_xor_si512(self.high, _mm512_clmulepi64_epi128::<0x11>(blocks, powers)),
        }
    }

    /// Reduces modulo the field's polynomial: a multiple of it clears the lowest 64 bits, another the next.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    pub(super) fn reduce(self) -> __m512i {
        let polynomial = _mm512_set1_epi64(POLYNOMIAL);
        let middle = sum(
            self.middle,
            _mm512_clmulepi64_epi128::<0x00>(self.low, polynomial),
            _mm512_shuffle_epi32::<SWAP_HALVES>(self.low),
        );
        sum(
            self.high,
            _mm512_clmulepi64_epi128::<0x00>(middle, polynomial),
            _mm512_shuffle_epi32::<SWAP_HALVES>(middle),
        )
    }
}

/// Multiplies two powers of the hash key, or four blocks by four powers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn multiply(a: __m512i, b: __m512i) -> __m512i {
    Product::of(a, b).reduce()
}

/// Adds the four blocks of a register.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn fold(quad: __m512i) -> __m128i {
    let pair = _mm256_xor_si256(_mm512_castsi512_si256(quad), _mm512_extracti64x4_epi64::<1>(quad));
    _mm_xor_si128(_mm256_castsi256_si128(pair), _mm256_extracti128_si256::<1>(pair))
}

/// Returns the shuffle that reverses the octets of each block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn reversal() -> __m512i {
    _mm512_broadcast_i32x4(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
}

/// Reverses the octets of one block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn reversed(block: __m128i) -> __m128i {
    _mm_shuffle_epi8(block, _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
fn sum(a: __m512i, b: __m512i, c: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<XOR>(a, b, c)
}

/// Multiplies one block by x.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn times_x(block: __m128i) -> __m128i {
    // A bit that leaves a half goes into the other; out of the upper one it also brings the polynomial with it.
    let carry = _mm_shuffle_epi32::<0b01_00_11_10>(_mm_srli_epi64::<63>(block));
    let shifted = _mm_or_si128(_mm_slli_epi64::<1>(block), carry);
    let leaving = _mm_srai_epi32::<31>(_mm_shuffle_epi32::<0xff>(block));
    _mm_xor_si128(shifted, _mm_and_si128(leaving, _mm_set_epi64x(POLYNOMIAL, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vaes::Cpu;
    use std::arch::x86_64::{
        _mm_cvtsi128_si64, _mm_unpackhi_epi64, _mm512_castsi128_si512, _mm512_castsi512_si128,
    };

    /// NIST SP 800-38D section 6.3, bit by bit; the first bit of a block is the highest one here.
    fn by_the_book(x: u128, y: u128) -> u128 {
        let (mut sum, mut shifted) = (0, y);
        for bit in (0..128).rev() {
            if x >> bit & 1 == 1 {
                sum ^= shifted;
            }
            shifted = (shifted >> 1) ^ ((shifted & 1) * (0xe1 << 120));
        }
        sum
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn by_this_code(x: u128, y: u128) -> u128 {
        let block = |x: u128| {
            let [low, high] = [x << 64, x].map(|half| i64::try_from(half.cast_signed() >> 64).unwrap());
            _mm_set_epi64x(high, low)
        };
        let (x, y) = (_mm512_castsi128_si512(block(x)), _mm512_castsi128_si512(times_x(block(y))));
        let product = _mm512_castsi512_si128(multiply(x, y));
        let [low, high] = [product, _mm_unpackhi_epi64(product, product)]
            .map(|half| u128::from(_mm_cvtsi128_si64(half).cast_unsigned()));
        high << 64 | low
    }

    #[test]
    fn products_are_those_of_the_standard() {
        if Cpu::detect().is_err() {
            return;
        }
        let mut state = 1_u128;
        let mut next = || {
            state = state
                .wrapping_mul(0xda94_2042_e4dd_58b5_0000_0000_0000_0001)
                .wrapping_add(0x1234_5678_9abc_def1);
            state ^ (state >> 61)
        };
        let edges = [0, 1, u128::MAX, 1 << 127, 1 << 63, 1 << 64, 0xe1 << 120];
        let drawn: Vec<_> = (0..200).map(|_| next()).chain(edges).collect();
        for x in &drawn {
            for y in &drawn {
                // SAFETY: the processor has the features, as was looked up above.
                assert_eq!(unsafe { by_this_code(*x, *y) }, by_the_book(*x, *y), "{x:x} {y:x}");
            }
        }
    }
}
