//! Packets of three quads and more, one at a time: AES of four quads while the four before are hashed, with one
//! reduction for the four.
//!
//! Until the last two quads the hash is kept in four sums, one for each place in a quad, which grow by whole quads:
//! every place is multiplied by the same power of the hash key.

use std::arch::x86_64::{
    __m512i, _mm_set_epi32, _mm512_add_epi32, _mm512_broadcast_i32x4, _mm512_mask_mov_epi32,
    _mm512_mask_shuffle_epi8, _mm512_maskz_mov_epi32, _mm512_maskz_set1_epi32, _mm512_or_si512,
    _mm512_set_epi32, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_slli_epi32, _mm512_xor_si512,
};

use esp::aead::Job;

use super::ghash::{self, Product};
use super::key::Schedule;
use super::shape::{BLOCK, QUAD, Shape};
use super::{aes, icv, text};

/// Up to this length the counter changes in its last octet alone. Units: octets.
pub(super) const NARROW: usize = 250 * BLOCK;
/// The last word of each block of a quad, and the last block of a quad: masks of words.
const COUNTERS: u16 = 0x8888;
const LAST_BLOCK: u16 = 0xf000;

/// Seals or opens one packet; opening sets `verified`. `WIDE` is for texts of more than [`NARROW`] octets.
///
/// # Safety
/// The text takes three quads or more.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) unsafe fn run<K, const ROUNDS: usize, const SEAL: bool, const WIDE: bool>(
    job: &mut Job<'_, K>,
    schedule: &Schedule,
    powers: &mut Powers,
) {
    let shape = Shape::of(job.text.len());
    let mut stream = Stream::<ROUNDS, SEAL, WIDE>::new(job, schedule, &shape, powers.of(schedule));
    // The words of the block before the text.
    let before_text = LAST_BLOCK >> ((QUAD - shape.lead) / 4);
    let aad = _mm512_maskz_mov_epi32(before_text, text::aads(&job.aad));
    let steps = (shape.quads - 3) / 4;
    // SAFETY: `shape` names octets of the text alone, and the quads between the first and the last are text throughout.
    // The front takes the remainder and one, each step takes four and the tail two: as many as there are.
    let (cipher, quads) = unsafe {
        match (shape.quads - 3) % 4 {
            0 => stream.front::<1>(shape.first, aad),
            1 => stream.front::<2>(shape.first, aad),
            2 => stream.front::<3>(shape.first, aad),
            _ => stream.front::<4>(shape.first, aad),
        }
        if steps == 0 {
            stream.tail::<false>(shape.last, [_mm512_setzero_si512(); 4])
        } else {
            let mut before = stream.step::<4, false>([u64::MAX; 4], None, [_mm512_setzero_si512(); 4]).0;
            for _ in 1..steps {
                before = stream.step::<4, true>([u64::MAX; 4], None, before).0;
            }
            stream.tail::<true>(shape.last, before)
        }
    };
    let first = _mm512_xor_si512(_mm512_shuffle_epi8(cipher[0], ghash::reversal()), stream.sums);
    let last = _mm512_mask_shuffle_epi8(icv::lengths(job), shape.last_reversed, cipher[1], ghash::reversal());
    let hashed = Product::of(last, schedule.powers[1]).and(first, schedule.powers[0]).reduce();
    icv::settle::<K, SEAL>(job, hashed, quads[1]);
}

/// One packet, in quads from the front.
struct Stream<'a, const ROUNDS: usize, const SEAL: bool, const WIDE: bool> {
    schedule: &'a Schedule,
    powers: &'a [__m512i; 4],
    /// Where the next quad of text lies.
    at: *mut u8,
    /// The counter blocks of the next quad; with `WIDE` their counters are in host order.
    counters: __m512i,
    j0: __m512i,
    /// The hash of what was hashed so far.
    sums: __m512i,
}

impl<'a, const ROUNDS: usize, const SEAL: bool, const WIDE: bool> Stream<'a, ROUNDS, SEAL, WIDE> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn new<K>(job: &mut Job<'_, K>, schedule: &'a Schedule, shape: &Shape, powers: &'a [__m512i; 4]) -> Self {
        let nonces = text::nonces(&job.nonce);
        // The first block of text has counter 2; what comes before it in its quad is not used.
        let first = match shape.lead / BLOCK {
            1 => 1,
            2 => 0,
            3 => -1,
            _ => -2,
        };
        let places = _mm512_set_epi32(3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0);
        let mut counters = _mm512_add_epi32(places, _mm512_maskz_set1_epi32(COUNTERS, first));
        if !WIDE {
            counters = _mm512_slli_epi32::<24>(counters);
        }
        Self {
            schedule,
            powers,
            at: job.text.as_mut_ptr().wrapping_sub(shape.lead),
            counters: _mm512_or_si512(nonces, counters),
            j0: _mm512_or_si512(nonces, _mm512_maskz_set1_epi32(COUNTERS, 1_i32.to_be())),
            sums: _mm512_setzero_si512(),
        }
    }

    /// Returns the counter blocks of the next quad.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn next_counters(&mut self) -> __m512i {
        let counters = self.counters;
        let four = if WIDE { 4 } else { 4_i32.to_be() };
        self.counters = _mm512_add_epi32(counters, _mm512_maskz_set1_epi32(COUNTERS, four));
        if WIDE {
            let to_network = _mm_set_epi32(0x0c0d_0e0f, 0x0b0a_0908, 0x0706_0504, 0x0302_0100);
            _mm512_shuffle_epi8(counters, _mm512_broadcast_i32x4(to_network))
        } else {
            counters
        }
    }

    /// Works on the next quads of text and meanwhile hashes four quads of cipher text from before, if there are any;
    /// `last` takes the place of the last quad's last counter block. Returns the cipher text of the quads and what AES
    /// made of them; outside the masks both are without meaning.
    ///
    /// # Safety
    /// The next quads are text where the masks name it.
    #[expect(
        clippy::needless_range_loop,
        reason = "the compiler unrolls what counts, and the hash goes by the count"
    )]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    unsafe fn step<const QUADS: usize, const HASH: bool>(
        &mut self,
        masks: [u64; QUADS],
        last: Option<__m512i>,
        before: [__m512i; 4],
    ) -> ([__m512i; QUADS], [__m512i; QUADS]) {
        let keys = &self.schedule.round_keys;
        let mut quads = [_mm512_setzero_si512(); QUADS];
        for quad in &mut quads {
            *quad = self.next_counters();
        }
        if let Some(j0) = last {
            quads[QUADS - 1] = _mm512_mask_mov_epi32(quads[QUADS - 1], LAST_BLOCK, j0);
        }
        let key = _mm512_broadcast_i32x4(keys[0]);
        for quad in &mut quads {
            *quad = _mm512_xor_si512(*quad, key);
        }
        // SAFETY: by the contract above.
        let text = unsafe { text::load(self.at, masks) };
        let block = |n: usize| _mm512_shuffle_epi8(before[n], ghash::reversal());
        let mut product = Product::of(block(3), self.powers[3]);
        for round in 1..ROUNDS {
            aes::round(&mut quads, keys[round]);
            // One by one between the rounds, since no processor looks far enough ahead to mix them itself.
            match round {
                1 if HASH => product = product.and(block(2), self.powers[2]),
                3 if HASH => product = product.and(block(1), self.powers[1]),
                5 if HASH => product = product.and(_mm512_xor_si512(block(0), self.sums), self.powers[0]),
                7 if HASH => self.sums = product.reduce(),
                _ => {}
            }
        }
        // SAFETY: by the contract above.
        let quads = unsafe { text::last_round(self.at, masks, quads, text, keys[ROUNDS]) };
        self.at = self.at.wrapping_add(QUAD * QUADS);
        (if SEAL { quads } else { text }, quads)
    }

    /// Works on the first quads and hashes them with the AAD.
    ///
    /// # Safety
    /// The first quad is text where the mask names it, the others are text throughout.
    #[expect(clippy::needless_range_loop, reason = "an iterator that skips keeps the quads in memory")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    unsafe fn front<const QUADS: usize>(&mut self, first: u64, aad: __m512i) {
        let mut masks = [u64::MAX; QUADS];
        masks[0] = first;
        // SAFETY: by the contract above.
        let (cipher, _) = unsafe { self.step::<QUADS, false>(masks, None, [_mm512_setzero_si512(); 4]) };
        let block = _mm512_mask_shuffle_epi8(aad, first, cipher[0], ghash::reversal());
        let mut product = Product::of(block, self.powers[4 - QUADS]);
        for n in 1..QUADS {
            let block = _mm512_shuffle_epi8(cipher[n], ghash::reversal());
            product = product.and(block, self.powers[4 - QUADS + n]);
        }
        self.sums = product.reduce();
    }

    /// Works on the last two quads of text.
    ///
    /// # Safety
    /// The last quad is text where the mask names it, the other is text throughout.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    unsafe fn tail<const HASH: bool>(
        &mut self,
        last: u64,
        before: [__m512i; 4],
    ) -> ([__m512i; 2], [__m512i; 2]) {
        // SAFETY: by the contract above.
        unsafe { self.step::<2, HASH>([u64::MAX, last], Some(self.j0), before) }
    }
}

/// The hash key of the last long packet to the powers of 16, 12, 8 and 4, each in every place; a burst often has but
/// one key.
pub(super) struct Powers {
    of: *const Schedule,
    quads: [__m512i; 4],
}

impl Powers {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    pub(super) fn none() -> Self {
        Self { of: std::ptr::null(), quads: [_mm512_setzero_si512(); 4] }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn of(&mut self, schedule: &Schedule) -> &[__m512i; 4] {
        if !std::ptr::eq(self.of, schedule) {
            let (fourth, eighth) = (schedule.fourth_power(), schedule.eighth_power());
            let (twelfth, sixteenth) = (ghash::multiply(eighth, fourth), ghash::multiply(eighth, eighth));
            *self = Self { of: schedule, quads: [sixteenth, twelfth, eighth, fourth] };
        }
        &self.quads
    }
}
