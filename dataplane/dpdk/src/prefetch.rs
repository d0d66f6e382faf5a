//! The hint to load a cache line before it is needed.

/// Asks the CPU to load the first cache line of `value`.
#[inline]
pub fn prefetch<T: ?Sized>(value: &T) {
    address(std::ptr::from_ref(value).cast());
}

/// Asks the CPU to load the cache line at an address.
#[inline]
pub(crate) fn address(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint and faults on no address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
