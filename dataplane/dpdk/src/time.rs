//! The time stamp counter.

/// Returns the time stamp counter of this CPU. Units: ticks, [`tsc_hz`] a second.
#[inline]
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: reads a register; no precondition.
    unsafe { dpdk_sys::dpdk_shim_tsc() }
}

/// Returns the measured frequency of the time stamp counter, 0 before [`crate::Eal::init`]. Units: ticks a second.
#[must_use]
pub fn tsc_hz() -> u64 {
    // SAFETY: reads a static; no precondition.
    unsafe { dpdk_sys::rte_get_tsc_hz() }
}
