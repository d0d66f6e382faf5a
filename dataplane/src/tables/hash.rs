//! Hashes of what packets carry: quick, and the same in every process.

use std::net::IpAddr;

pub(super) use esp::wire::plain::mix;

/// Numbers without a pattern, the digits of pi.
pub(super) const SEEDS: [u64; 5] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
];

/// Returns an address as a number.
#[inline]
pub(super) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Hashes a number of 128 bits.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "the two halves of a number")]
pub(super) const fn fold(number: u128, one: u64, other: u64) -> u64 {
    mix(number as u64 ^ one, (number >> 64) as u64 ^ other)
}

/// Hashes a small number; no two have the same.
#[inline]
pub(super) const fn spread(number: u32) -> u64 {
    let product = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}
