//! Ctrl-C ends a run through every destructor, so that processes and huge pages are given back.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::Result;

static ASKED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Begins to listen for SIGINT and SIGTERM.
///
/// # Errors
/// What the system says.
pub fn listen() -> Result<()> {
    let asked = ASKED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(asked))?;
    }
    Ok(())
}

/// Sleeps. Errors: the run was interrupted.
pub fn sleep(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        if ASKED.get().is_some_and(|asked| asked.load(Ordering::Relaxed)) {
            bail!("interrupted");
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(STEP));
    }
}

/// Repeats `look` until it returns something. Errors: those of `look`; `what` did not happen in `time`; interrupted.
pub fn until<T>(what: &str, time: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + time;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > end {
            bail!("waited {} s for {what}", time.as_secs());
        }
        sleep(STEP)?;
    }
}

const STEP: Duration = Duration::from_millis(50);
