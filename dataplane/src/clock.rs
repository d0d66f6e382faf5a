//! The clock of everything that outlives a process: CLOCK_BOOTTIME, which also runs while the machine sleeps.

use nix::time::{ClockId, clock_gettime};

/// Returns the time since boot.
/// Units: nanoseconds.
#[must_use]
#[inline]
pub fn boottime_ns() -> u64 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
        let (seconds, rest) = (time.tv_sec().cast_unsigned(), time.tv_nsec().cast_unsigned());
        seconds.wrapping_mul(1_000_000_000).wrapping_add(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward() {
        let first = boottime_ns();
        assert!(first > 0 && boottime_ns() >= first);
    }
}
