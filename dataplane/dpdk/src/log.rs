//! Where DPDK's log goes: to the caller's sink, and into the reason of an operation that fails.

use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use crate::error::{Errno, Reason};

/// How grave a line of DPDK's log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Errors and worse.
    Error,
    /// Warnings.
    Warning,
    /// What is normal but worth a line.
    Notice,
    /// Information.
    Info,
    /// For developers.
    Debug,
}

impl Level {
    fn of(level: u32) -> Self {
        match level {
            0..=4 => Self::Error,
            5 => Self::Warning,
            6 => Self::Notice,
            7 => Self::Info,
            _ => Self::Debug,
        }
    }
}

/// Takes the lines of DPDK's log, one at a time, from any thread.
pub type Sink = fn(Level, &str);

/// Writes warnings and errors to the standard error output.
pub fn to_stderr(level: Level, line: &str) {
    if level <= Level::Warning {
        eprintln!("{line}");
    }
}

/// Writes nothing.
pub fn silent(_: Level, _: &str) {}

/// One line of the log.
type Line = (Level, Box<str>);

static SINK: RwLock<Sink> = RwLock::new(silent);
/// Lines of the operation under way, if one is.
static CAPTURED: Mutex<Option<Vec<Line>>> = Mutex::new(None);
/// Held for the length of an operation whose lines are wanted: one at a time.
static OPERATION: Mutex<()> = Mutex::new(());

/// Sends DPDK's log to `sink` from now on.
pub(crate) fn install(sink: Sink) -> Result<(), Errno> {
    *SINK.write().unwrap_or_else(PoisonError::into_inner) = sink;
    // SAFETY: `write` may be called from any thread at any time: it touches only the statics above.
    let rc = unsafe { dpdk_sys::dpdk_shim_log_to(Some(write)) };
    if rc == 0 { Ok(()) } else { Err(Errno::of(rc)) }
}

/// Runs a DPDK call that returns 0 or more on success. Lines logged meanwhile become the reason of a failure, or go to
/// the sink after a success.
pub(crate) fn reasoned(operation: impl FnOnce() -> i32) -> Result<i32, Reason> {
    let _one = OPERATION.lock().unwrap_or_else(PoisonError::into_inner);
    *captured() = Some(Vec::new());
    let returned = operation();
    let last = Errno::of(returned);
    let lines = captured().take().unwrap_or_default();
    if returned < 0 {
        let lines = gravest(&lines);
        // Beside a bare -1 DPDK's error number may be an older one: lines say more than it does.
        let errno = if returned == -1 && !lines.is_empty() { Errno(0) } else { last };
        return Err(Reason::new(errno, &lines));
    }
    let sink = *SINK.read().unwrap_or_else(PoisonError::into_inner);
    for (level, line) in &lines {
        sink(*level, line);
    }
    Ok(returned)
}

/// Joins the lines of the gravest level present, down to `Notice`; those in which the EAL only passes a failure on
/// count where nothing else was said.
fn gravest(lines: &[Line]) -> String {
    let level = lines.iter().map(|(level, _)| *level).min().unwrap_or(Level::Debug);
    let mut said: Vec<&str> = Vec::new();
    for (_, line) in lines.iter().filter(|line| line.0 == level && level <= Level::Notice) {
        if !said.contains(&&**line) {
            said.push(line);
        }
    }
    if said.iter().any(|line| !passes_on(line)) {
        said.retain(|line| !passes_on(line));
    }
    said.join("; ")
}

fn passes_on(line: &str) -> bool {
    ["EAL: Driver cannot attach the device", "EAL: Failed to attach device on primary process"]
        .iter()
        .any(|known| line.starts_with(known))
}

fn captured() -> MutexGuard<'static, Option<Vec<Line>>> {
    CAPTURED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes what DPDK logs.
///
/// # Safety
/// `text` is readable for `len` octets during the call.
unsafe extern "C" fn write(level: u32, text: *const c_char, len: usize) {
    // SAFETY: the caller's promise.
    let text = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) };
    for line in String::from_utf8_lossy(text).lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        // DPDK warns of this in every process that is not one of its own legacy examples.
        let level =
            if line.starts_with("TELEMETRY: No legacy callbacks") { Level::Debug } else { Level::of(level) };
        if let Some(lines) = captured().as_mut() {
            lines.push((level, line.into()));
            continue;
        }
        let sink = *SINK.read().unwrap_or_else(PoisonError::into_inner);
        sink(level, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_the_gravest_lines_without_repetition() {
        let lines =
            [(Level::Info, "probing"), (Level::Error, "no such device"), (Level::Error, "no such device")]
                .map(|(level, line)| (level, Box::from(line)));
        assert_eq!(gravest(&lines), "no such device");
        assert_eq!(gravest(&lines[..1]), "");
    }

    #[test]
    fn a_failure_the_eal_passes_on_gives_way_to_the_drivers_words() {
        let lines = ["no such device", "EAL: Driver cannot attach the device (net_x0)"]
            .map(|line| (Level::Error, Box::from(line)));
        assert_eq!(gravest(&lines), "no such device");
        assert_eq!(gravest(&lines[1..]), &*lines[1].1);
    }

    #[test]
    fn dpdks_numbers_become_levels_in_order() {
        let levels: Vec<Level> = (1..=8).map(Level::of).collect();
        assert!(levels.is_sorted());
        assert_eq!(levels[3], Level::Error);
        assert_eq!(levels[7], Level::Debug);
    }
}
