//! The high half of an extended sequence number, which is not sent. RFC: 4303 appendix A2.

/// Returns the number whose low half is `seq_lo`, given the highest number accepted and the window's size.
///
/// `None` when it would lie before the first or behind the last number there is. The result is at least
/// `top - window_pkts + 1`, so with ESN an older number never looks old: it is taken for one far ahead and fails its ICV.
/// Units of `window_pkts`: packets, 1 to 2^31.
#[must_use]
#[inline]
pub fn infer(top: u64, seq_lo: u32, window_pkts: u32) -> Option<u64> {
    //= rfc4303#A2.2
    let (top_hi, top_lo) = (top >> 32, low(top));
    let bottom_lo = top_lo.wrapping_sub(window_pkts.saturating_sub(1));
    let in_one_subspace = top_lo >= window_pkts.saturating_sub(1);
    let high = match (in_one_subspace, seq_lo >= bottom_lo) {
        (true, true) | (false, false) => top_hi,
        (true, false) => top_hi.checked_add(1).filter(|high| *high <= u64::from(u32::MAX))?,
        (false, true) => top_hi.checked_sub(1)?,
    };
    Some(high << 32 | u64::from(seq_lo))
}

#[allow(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
const fn low(seq: u64) -> u32 {
    seq as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEAM: u64 = 1 << 32;

    /// The one number with this low half in the 2^32 numbers that begin at the window's bottom.
    fn naive(top: u64, seq_lo: u32, window_pkts: u32) -> Option<u64> {
        let bottom = i128::from(top) - i128::from(window_pkts) + 1;
        let seq = (-1..=1)
            .map(|step| ((i128::from(top >> 32) + step) << 32) + i128::from(seq_lo))
            .find(|seq| (bottom..bottom + i128::from(SEAM)).contains(seq));
        u64::try_from(seq.unwrap()).ok()
    }

    #[test]
    fn numbers_round_the_seam_get_the_right_half() {
        for (top, seq, window) in [
            (SEAM - 1, SEAM, 64),
            (SEAM - 1, SEAM - 64, 64),
            (SEAM, SEAM - 63, 64),
            (SEAM + 62, SEAM - 1, 64),
            (SEAM + 63, SEAM, 64),
            (SEAM + 5, SEAM + 1_000_000, 64),
            (SEAM - 2, SEAM + 1_000_000, 1024),
        ] {
            let seq_lo = u32::try_from(seq % SEAM).unwrap();
            assert_eq!(infer(top, seq_lo, window), Some(seq), "top {top:#x} seq {seq:#x}");
        }
    }

    #[test]
    fn nothing_lies_before_the_first_or_behind_the_last_number() {
        assert_eq!(infer(0, u32::MAX, 64), None);
        assert_eq!(infer(u64::MAX, 0, 64), None);
        assert_eq!(infer(u64::MAX - 1, u32::MAX, 64), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn the_high_half_is_that_of_the_naive_model(
            high in prop::sample::select(vec![0u64, 1, 2, 77, 0xffff_fffe, 0xffff_ffff]),
            low in prop_oneof![any::<u32>(), 0u32..4096, u32::MAX - 4096..=u32::MAX],
            seq_lo in prop_oneof![any::<u32>(), 0u32..4096, u32::MAX - 4096..=u32::MAX],
            window in prop::sample::select(vec![1u32, 32, 33, 64, 1024, 1 << 20]),
        ) {
            let top = high << 32 | u64::from(low);
            prop_assert_eq!(infer(top, seq_lo, window), naive(top, seq_lo, window));
        }
    }
}
