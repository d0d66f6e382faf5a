//! One core for what is measured, the others for everything else.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::Result;

/// The CPUs of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpus {
    /// The one that is measured.
    pub measured: usize,
    /// All others that may be used.
    pub others: Vec<usize>,
}

impl Cpus {
    /// Chooses among those this process may use: `wanted`, else the last, which takes fewest interrupts.
    ///
    /// # Errors
    /// When there are fewer than two, or `wanted` is not among them.
    pub fn choose(wanted: Option<usize>) -> Result<Self> {
        let mut others = allowed()?;
        let at = match wanted {
            Some(wanted) => others.iter().position(|cpu| *cpu == wanted),
            None => others.len().checked_sub(1),
        };
        let at = at.with_context(|| format!("CPU {wanted:?} is not one of {others:?}"))?;
        let measured = others.remove(at);
        if others.is_empty() {
            bail!("a bench needs two CPUs: one is measured, the other does the rest");
        }
        Ok(Self { measured, others })
    }
}

/// Chooses CPUs for `count` workers: the last, which takes fewest interrupts, then the others backwards.
///
/// # Errors
/// This process may not use so many.
pub fn last(count: usize) -> Result<Vec<usize>> {
    let all = allowed()?;
    let cpus: Vec<usize> = all.iter().rev().take(count).copied().collect();
    (cpus.len() == count).then_some(cpus).with_context(|| format!("{count} workers, and the CPUs {all:?}"))
}

/// Lets the calling thread, and what it starts from now on, use these CPUs only.
///
/// # Errors
/// What the system says.
pub fn pin(cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pin to {cpus:?}"))
}

/// Returns for how long the calling thread has had a CPU: what it costs where others take their share away.
///
/// # Errors
/// What the system says.
pub fn thread_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// Returns how fast the time stamp counter runs. Units: ticks a nanosecond.
///
/// # Errors
/// The run was interrupted.
pub fn tsc_ghz() -> Result<f64> {
    let (start, from) = (Instant::now(), dpdk::tsc());
    crate::interrupt::sleep(CALIBRATION)?;
    let (ticks, time) = (dpdk::tsc().wrapping_sub(from), start.elapsed());
    Ok(ticks as f64 / (time.as_secs_f64() * 1e9))
}

fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

const CALIBRATION: Duration = Duration::from_millis(100);
