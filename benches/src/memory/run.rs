//! A window: workers poll, each on a thread and a CPU of its own, beginning together.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crypto::Engine;
use dataplane::clock::boottime_ns;
use dataplane::path::Path;

use super::line::{Line, Watch};
use crate::{Result, cpu, interrupt};

/// One worker's path, with the engine's AEAD.
pub type Worker<W> = Path<Line<W>, Engine>;

/// What a worker did in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ran {
    /// Packets handed to transmit queues.
    pub sent: u64,
    /// By the clock.
    pub wall: Duration,
    /// For as long it had its CPU.
    pub cpu: Duration,
}

impl std::ops::AddAssign for Ran {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.wall += other.wall;
        self.cpu += other.cpu;
    }
}

impl Ran {
    /// Returns the rate by the clock. Units: millions a second.
    #[must_use]
    pub fn mpps(&self) -> f64 {
        self.sent as f64 / self.wall.as_secs_f64().max(f64::MIN_POSITIVE) / 1e6
    }

    /// Returns the part of the window in which it had its CPU.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.wall.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Returns the smallest part of a window in which a worker had its CPU.
#[must_use]
pub fn share(ran: &[Ran]) -> f64 {
    ran.iter().map(Ran::share).fold(1.0, f64::min)
}

/// Takes a window again, a few times at the most, in which somebody else had a worker's CPU, as `share` says; the least
/// disturbed counts.
///
/// # Errors
/// Those of `window`.
pub fn undisturbed<T>(mut window: impl FnMut() -> Result<T>, share: impl Fn(&T) -> f64) -> Result<T> {
    let mut best = window()?;
    for _ in 0..AGAIN {
        if share(&best) >= FULL_SHARE {
            break;
        }
        let again = window()?;
        if share(&again) > share(&best) {
            best = again;
        }
    }
    Ok(best)
}

/// Lets workers poll, the first on the first of `cpus` and so on, until `limit` is over or nothing more arrives.
///
/// # Errors
/// Those of [`together`].
pub fn window<'a, W: Watch + 'a>(
    workers: impl IntoIterator<Item = &'a mut Worker<W>>,
    cpus: &[usize],
    limit: Duration,
) -> Result<Vec<Ran>> {
    together(workers.into_iter().map(|worker| move || poll(worker, limit)), cpus)
}

/// Does jobs at a time, each on a thread and a CPU of its own; they begin together.
///
/// # Errors
/// Those of a job; it has no CPU, or cannot have it; the run was interrupted.
pub fn together<J>(jobs: impl IntoIterator<Item = J>, cpus: &[usize]) -> Result<Vec<Ran>>
where
    J: FnOnce() -> Result<Ran> + Send,
{
    interrupt::sleep(Duration::ZERO)?;
    let jobs: Vec<_> = jobs.into_iter().collect();
    anyhow::ensure!(jobs.len() <= cpus.len(), "{} threads on the CPUs {cpus:?}", jobs.len());
    let barrier = &Barrier::new(jobs.len());
    std::thread::scope(|scope| {
        let start = |(job, cpu): (J, &usize)| {
            let cpu = *cpu;
            scope.spawn(move || {
                // Whoever fails lets the others go on.
                let pinned = cpu::pin(&[cpu]);
                barrier.wait();
                pinned?;
                job()
            })
        };
        let threads: Vec<_> = jobs.into_iter().zip(cpus).map(start).collect();
        threads.into_iter().map(|thread| thread.join().ok().context("a thread panicked")?).collect()
    })
}

/// Polls on this thread, as a worker of the engine does.
fn poll<W: Watch>(worker: &mut Worker<W>, limit: Duration) -> Result<Ran> {
    let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
    let before = worker.ports_mut().sent();
    let (start, on_cpu, start_ns) = (Instant::now(), cpu::thread_time()?, boottime_ns());
    loop {
        let now_ns = boottime_ns();
        let taken = worker.poll(now_ns);
        if now_ns - start_ns > limit_ns || taken == 0 && worker.ports_mut().is_done() {
            break;
        }
    }
    let cpu = cpu::thread_time()?.saturating_sub(on_cpu);
    Ok(Ran { sent: worker.ports_mut().sent() - before, wall: start.elapsed(), cpu })
}

const AGAIN: usize = 8;
/// What a worker has of its CPU where nobody else wants it.
const FULL_SHARE: f64 = 0.98;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disturbed_window_is_taken_again_and_the_least_disturbed_counts() {
        let take = |shares: &[f64]| {
            let mut shares = shares.iter().copied();
            let took = undisturbed(|| shares.next().context("a window"), |share| *share).unwrap();
            (took, shares.len())
        };
        assert_eq!(take(&[1.0, 0.5]), (1.0, 1));
        assert_eq!(take(&[0.5, 0.4, 0.99, 1.0]), (0.99, 1));
        assert_eq!(take(&[0.5, 0.9, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4, 1.0]), (0.9, 1));
    }

    #[test]
    fn threads_begin_together_and_one_that_fails_fails_the_window() {
        let cpu = cpu::last(1).unwrap()[0];
        let job = |sent: u64| move || Ok(Ran { sent, ..Ran::default() });
        let ran = together([job(1), job(2)], &[cpu, cpu]).unwrap();
        assert_eq!(ran.iter().map(|ran| ran.sent).collect::<Vec<_>>(), [1, 2]);
        assert!(together([job(1), job(2)], &[cpu]).is_err());
        let fails = |sent: u64| move || if sent == 1 { Ok(Ran::default()) } else { anyhow::bail!("no") };
        assert!(together([fails(1), fails(2)], &[cpu, cpu]).is_err());
    }
}
