//! Waiting for a condition with a generous deadline.
//!
//! The machines that run these tests are shared and noisy, so no test asserts how long something takes:
//! it states what must become true, and the deadline only bounds a failure.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::Result;

/// Deadline for one step of a daemon: a start, an exchange, a command.
pub const STEP: Duration = Duration::from_secs(20);

/// Deadline for what includes retransmissions or a grace time.
pub const LONG: Duration = Duration::from_secs(60);

/// Polls `ready` until it yields a value.
///
/// Errors: when `deadline` passes, naming `what`; the error of `ready` itself ends the wait at once.
pub fn until<T>(what: &str, deadline: Duration, mut ready: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if started.elapsed() > deadline {
            bail!("{what}: not within {deadline:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Polls a plain condition.
///
/// Errors: when `deadline` passes, naming `what`.
pub fn until_true(what: &str, deadline: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
    until(what, deadline, || Ok(ready().then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_holds_is_named_in_the_error() {
        let error = until_true("the moon is cheese", Duration::from_millis(1), || false).unwrap_err();
        assert!(error.to_string().contains("the moon is cheese"));
    }
}
