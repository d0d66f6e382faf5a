//! The hint to load a cache line before it is needed.

use std::ops::Range;

/// Asks the CPU to load the first cache line of `value`.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T) {
    prefetch_at(std::ptr::from_ref(value).cast::<u8>());
}

/// Asks the CPU to load the cache lines of a part of `value`. Units of `part`: octets from its beginning.
#[inline]
pub fn prefetch_part<T>(value: &T, part: Range<usize>) {
    let first: *const u8 = std::ptr::from_ref(value).cast();
    for at in part.clone().step_by(LINE_OCTETS) {
        prefetch_at(first.wrapping_add(at));
    }
    // The part may begin in the middle of a line.
    prefetch_at(first.wrapping_add(part.end.saturating_sub(1)));
}

/// Length of a cache line. Units: octets.
const LINE_OCTETS: usize = 64;

/// Asks the CPU to load the cache line at an address, which need not be anybody's.
#[inline]
pub fn prefetch_at<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
