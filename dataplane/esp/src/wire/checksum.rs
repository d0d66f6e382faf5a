//! The Internet checksum, whole and by difference. RFC: 1071, 1624.

use core::net::IpAddr;

use super::ip::Proto;

/// Adds `octets` to a one's complement sum; an odd last octet counts as the high half of a word.
#[must_use]
#[inline]
pub fn sum(octets: &[u8], start: u64) -> u64 {
    let (words, rest) = octets.as_chunks::<4>();
    let mut total = start;
    for word in words {
        total += u64::from(u32::from_be_bytes(*word));
    }
    match *rest {
        [] => total,
        [a] => total + (u64::from(a) << 24),
        [a, b] => total + (u64::from(a) << 24) + (u64::from(b) << 16),
        [a, b, c, ..] => total + (u64::from(a) << 24) + (u64::from(b) << 16) + (u64::from(c) << 8),
    }
}

/// Folds a sum into 16 bits.
#[must_use]
#[inline]
pub const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    low(sum)
}

/// Folds a sum of up to 34 bits into 16.
#[must_use]
#[inline]
pub const fn fold34(sum: u64) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    low(sum + (sum >> 16))
}

/// Returns the checksum of `octets`, ready for the field when that was 0 in them; 0 when the field was right.
#[must_use]
#[inline]
pub fn of(octets: &[u8]) -> u16 {
    !fold(sum(octets, 0))
}

/// Tells whether the checksum in an IPv4 header without options is right. RFC: 1071.
#[must_use]
#[inline]
pub fn is_right(header: &[u8; 20]) -> bool {
    let (words, _) = header.as_chunks::<4>();
    // A one's complement sum is 0 when the number is a multiple of 0xffff, in either order of the octets.
    let sum: u64 = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
    sum != 0 && sum.is_multiple_of(0xffff)
}

/// Returns the checksum after one word under it changed from `old` to `new`.
#[must_use]
#[inline]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    //= rfc1624#3
    !fold(!checksum as u64 + !old as u64 + new as u64)
}

/// Returns the sum of the pseudo header of a transport protocol. Units of `octets`: octets, transport header included.
/// RFC: 768, 8200 section 8.1.
#[must_use]
#[inline]
pub fn pseudo_header(src: &IpAddr, dst: &IpAddr, proto: Proto, octets: u32) -> u64 {
    let add = |total, addr: &IpAddr| match addr {
        IpAddr::V4(addr) => sum(&addr.octets(), total),
        IpAddr::V6(addr) => sum(&addr.octets(), total),
    };
    add(add(u64::from(octets) + u64::from(proto.get()), src), dst)
}

#[allow(clippy::cast_possible_truncation, reason = "the caller folded the sum into 16 bits")]
const fn low(sum: u64) -> u16 {
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_right_when_its_sum_is() {
        let mut header =
            [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert!(is_right(&header) && of(&header) == 0);
        for at in 0..20 {
            for bit in 0..8 {
                header[at] ^= 1 << bit;
                assert_eq!(is_right(&header), of(&header) == 0);
                assert!(!is_right(&header));
                header[at] ^= 1 << bit;
            }
        }
    }

    #[test]
    fn a_short_sum_folds_as_a_long_one() {
        let most = (1 << 34) - 1;
        for sum in
            [0, 1, 0xffff, 0x1_0000, 0x1_ffff, 0xffff_ffff, 0x1_0000_0000, 0xfffe_0001, most - 0xffff, most]
        {
            assert_eq!(fold34(sum), fold(sum), "{sum:x}");
        }
    }
    use proptest::prelude::*;

    fn naive(octets: &[u8]) -> u16 {
        let mut total = 0u32;
        for word in octets.chunks(2) {
            total += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
            total = (total & 0xffff) + (total >> 16);
        }
        !u16::try_from(total).unwrap()
    }

    #[test]
    fn the_example_of_rfc_1071_sums_as_it_says() {
        let octets = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&octets, 0)), 0xddf2);
    }

    proptest! {
        #[test]
        fn any_octets_sum_as_the_naive_way(octets in prop::collection::vec(any::<u8>(), 0..1600)) {
            prop_assert_eq!(of(&octets), naive(&octets));
        }

        #[test]
        fn an_update_equals_a_new_sum(mut octets in prop::collection::vec(any::<u8>(), 20), new: u16, at in 0usize..10) {
            octets[0] = 0x45;
            let before = of(&octets);
            let old = u16::from_be_bytes([octets[2 * at], octets[2 * at + 1]]);
            octets[2 * at..2 * at + 2].copy_from_slice(&new.to_be_bytes());
            prop_assume!(octets.iter().any(|octet| *octet != 0));
            prop_assert_eq!(update(before, old, new), of(&octets));
        }
    }
}
