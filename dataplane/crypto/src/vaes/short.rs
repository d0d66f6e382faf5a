//! Packets of one or two quads, several at once: what one waits for, the others fill.

use std::arch::x86_64::{
    __m512i, _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_mask_shuffle_epi8, _mm512_or_si512,
    _mm512_setzero_si512, _mm512_xor_si512,
};

use esp::aead::Job;

use super::aes;
use super::ghash::{self, Product};
use super::icv;
use super::key::Schedule;
use super::shape::{BLOCK, QUAD, Shape};
use super::text::{self, Words};

/// The longest text whose blocks lie in one quad with J0. Units: octets.
pub(super) const ONE_QUAD: usize = 3 * BLOCK;
/// The longest text whose blocks lie in two quads with the AAD and J0. Units: octets.
pub(super) const TWO_QUADS: usize = 6 * BLOCK;

/// Seals or opens packets whose text is of `QUADS` quads; opening sets `verified`.
///
/// # Safety
/// Every text is of [`ONE_QUAD`] octets or less if `QUADS` is 1, and of more, but no more than [`TWO_QUADS`], if it is 2.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) unsafe fn run<K, const QUADS: usize, const PKTS: usize, const ROUNDS: usize, const SEAL: bool>(
    jobs: &mut [Job<'_, K>; PKTS],
    schedules: [&Schedule; PKTS],
) {
    const { assert!(QUADS == 1 || QUADS == 2) };
    let mut quads = [[_mm512_setzero_si512(); QUADS]; PKTS];
    let mut texts = quads;
    for (((quads, text), job), schedule) in quads.iter_mut().zip(&mut texts).zip(&mut *jobs).zip(&schedules) {
        let places = Places::for_text(job.text.len());
        let key = _mm512_broadcast_i32x4(schedule.round_keys[0]);
        let keyed = _mm512_xor_si512(text::nonces(&job.nonce), key);
        for (quad, counters) in quads.iter_mut().zip(&places.counters[2 - QUADS..]) {
            *quad = _mm512_xor_si512(keyed, counters.load());
        }
        let (start, masks) = extent::<QUADS>(job.text);
        // SAFETY: the masks name octets of the text alone, its length being as the contract says.
        *text = unsafe { text::load(start, masks) };
    }
    for round in 1..ROUNDS {
        for (quads, schedule) in quads.iter_mut().zip(&schedules) {
            aes::round(quads, schedule.round_keys[round]);
        }
    }
    for (((quads, text), job), schedule) in quads.iter().zip(&texts).zip(jobs).zip(&schedules) {
        let (start, masks) = extent::<QUADS>(job.text);
        // SAFETY: as above, and the job borrows the text mutably.
        let quads = unsafe { text::last_round(start, masks, *quads, *text, schedule.round_keys[ROUNDS]) };
        let hashed = hash(job, schedule, if SEAL { quads } else { *text });
        icv::settle::<K, SEAL>(job, hashed, quads[QUADS - 1]);
    }
}

/// Returns where the quads of a text begin, and what of them is text.
#[inline]
fn extent<const QUADS: usize>(text: &mut [u8]) -> (*mut u8, [u64; QUADS]) {
    let shape = Shape::of(text.len());
    let mut masks = [shape.last; QUADS];
    // Three blocks of text fill their quad; the AAD lies alone in the quad before.
    let lead = if QUADS == 1 { shape.lead % QUAD } else { shape.lead };
    masks[0] = if QUADS == 1 { shape.last & u64::MAX << lead } else { shape.first };
    (text.as_mut_ptr().wrapping_sub(lead), masks)
}

/// Returns the hash of one packet, a part in each place.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vaes,vpclmulqdq,bmi2")]
fn hash<K, const QUADS: usize>(job: &Job<'_, K>, schedule: &Schedule, cipher: [__m512i; QUADS]) -> __m512i {
    let shape = Shape::of(job.text.len());
    let places = Places::for_text(job.text.len());
    let aad = text::aads(&job.aad);
    let lengths = icv::lengths(job);
    let before = _mm512_and_si512(aad, places.aad[0].load());
    let (first, last);
    if QUADS == 1 {
        let before_text = _mm512_or_si512(lengths, _mm512_and_si512(aad, places.aad[1].load()));
        let mask = shape.last_reversed & u64::MAX << (shape.lead % QUAD);
        first = before;
        last = _mm512_mask_shuffle_epi8(before_text, mask, cipher[0], ghash::reversal());
    } else {
        first = _mm512_mask_shuffle_epi8(before, shape.first, cipher[0], ghash::reversal());
        last = _mm512_mask_shuffle_epi8(lengths, shape.last_reversed, cipher[1], ghash::reversal());
    }
    Product::of(first, schedule.powers[0]).and(last, schedule.powers[1]).reduce()
}

/// What depends on the number of blocks of text alone, in two quads; the last block is that of J0 and the lengths.
struct Places {
    /// The counters, as the last word of each block, in network order.
    counters: [Words; 2],
    /// All bits of the block where the AAD lies.
    aad: [Words; 2],
}

/// By the number of blocks of text.
static PLACES: [Places; 8] = {
    let mut places = [const { Places::with(0) }; 8];
    let mut blocks = 0;
    while blocks <= TWO_QUADS / BLOCK {
        places[blocks] = Places::with(blocks);
        blocks += 1;
    }
    places
};

impl Places {
    #[inline]
    fn for_text(octets: usize) -> &'static Self {
        // Never above six; the mask says so to the compiler.
        &PLACES[octets.div_ceil(BLOCK) & 7]
    }

    const fn with(blocks: usize) -> Self {
        let (mut counters, mut aad) = ([0; 32], [0; 32]);
        let first = 7 - blocks;
        let mut place = first;
        while place < 7 {
            // The first block of text has counter 2.
            #[expect(clippy::cast_possible_truncation, reason = "at most 7")]
            let counter = (place - first + 2) as u32;
            counters[4 * place + 3] = counter.to_be();
            place += 1;
        }
        counters[31] = 1_u32.to_be();
        let mut word = 4 * (first - 1);
        while word < 4 * first {
            aad[word] = u32::MAX;
            word += 1;
        }
        Self { counters: Words::two(counters), aad: Words::two(aad) }
    }
}
