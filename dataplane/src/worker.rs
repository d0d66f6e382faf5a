//! The thread round a packet path: pinned, registered with DPDK, polling until it is told to stop.
//!
//! It reads the clock once a poll, wakes the control thread when packets wait for it, and sleeps at most 50 us at a
//! time when the configuration lets it and there were no packets for 1 ms. It holds no lock and never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use dpdk::{Eal, Lcore};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bell::Bell;
use crate::clock::boottime_ns;
use crate::config::Idle;

/// What a worker thread is made from.
pub struct Worker {
    /// Its position among the workers.
    pub index: usize,
    /// The CPU it is pinned to.
    pub cpu: u16,
    /// What it does without packets.
    pub idle: Idle,
    /// Proof that DPDK is up.
    pub eal: Eal,
    /// Tells it to stop.
    pub stop: Arc<AtomicBool>,
    /// Wakes the control thread.
    pub bell: Arc<Bell>,
    /// How busy it is.
    pub pulse: Arc<Pulse>,
}

/// How busy a worker is; it writes, anybody reads.
#[derive(Debug, Default)]
pub struct Pulse {
    started_ns: AtomicU64,
    seen_ns: AtomicU64,
    busy_ns: AtomicU64,
}

impl Pulse {
    /// Returns the time spent with packets and the time since the start.
    /// Units: nanoseconds.
    #[must_use]
    pub fn busy_of_ns(&self) -> (u64, u64) {
        let seen = self.seen_ns.load(Ordering::Relaxed);
        let started = self.started_ns.load(Ordering::Relaxed);
        (self.busy_ns.load(Ordering::Relaxed), seen.saturating_sub(started))
    }
}

/// What a worker polls.
pub trait Poll {
    /// Makes one pass over all queues and rings; returns how many packets there were.
    fn poll(&mut self, now_ns: u64) -> usize;
    /// Whether something waits for the control thread.
    fn waits_for_control(&self) -> bool;
}

impl Worker {
    /// Starts the thread; `make` builds what it polls, on the thread itself.
    ///
    /// # Errors
    /// What the system says.
    pub fn spawn<P: Poll>(
        self,
        make: impl FnOnce() -> P + Send + 'static,
    ) -> std::io::Result<JoinHandle<Result<(), dpdk::Error>>> {
        let name = format!("worker-{}", self.index);
        std::thread::Builder::new().name(name).spawn(move || {
            let ended = self.enter(make);
            if ended.is_err() {
                // The main thread waits for a signal; it finds the error when it joins this thread.
                let _ = kill(Pid::this(), Signal::SIGTERM);
            }
            ended
        })
    }

    fn enter<P: Poll>(&self, make: impl FnOnce() -> P) -> Result<(), dpdk::Error> {
        dpdk::pin_thread(self.eal, self.cpu.into())?;
        let _lcore = Lcore::register(self.eal)?;
        self.run(&mut make());
        Ok(())
    }

    fn run(&self, path: &mut impl Poll) {
        if self.idle == Idle::Sleep {
            // The default slack of 50 us would double the longest sleep.
            let _ = nix::sys::prctl::set_timerslack(1);
        }
        let mut last_ns = boottime_ns();
        let mut packets_ns = last_ns;
        let mut busy_ns = 0;
        self.pulse.started_ns.store(last_ns, Ordering::Relaxed);
        while !self.stop.load(Ordering::Relaxed) {
            let now_ns = boottime_ns();
            let packets = path.poll(now_ns);
            if path.waits_for_control() {
                self.bell.ring();
            }
            self.pulse.seen_ns.store(now_ns, Ordering::Relaxed);
            if packets_ns == last_ns {
                // The poll before this one had packets, and took from then to now.
                busy_ns += now_ns.saturating_sub(last_ns);
                self.pulse.busy_ns.store(busy_ns, Ordering::Relaxed);
            }
            last_ns = now_ns;
            if packets > 0 {
                packets_ns = now_ns;
            } else if self.idle == Idle::Sleep && now_ns.saturating_sub(packets_ns) > IDLE_AFTER_NS {
                std::thread::sleep(NAP);
            }
        }
    }
}

/// Returns what a worker without packets does when the file does not say: spin on a core that is set apart for it.
#[must_use]
pub fn idle_by_default(cpu: u16) -> Idle {
    let isolated = std::fs::read_to_string("/sys/devices/system/cpu/isolated").unwrap_or_default();
    if in_cpu_list(&isolated, cpu) { Idle::Spin } else { Idle::Sleep }
}

/// Whether a list of the kernel as `0-3,8` names `cpu`.
fn in_cpu_list(list: &str, cpu: u16) -> bool {
    list.trim().split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse().is_ok_and(|first: u16| first <= cpu) && last.parse().is_ok_and(|last: u16| cpu <= last)
    })
}

/// Without packets for so long a worker may sleep.
const IDLE_AFTER_NS: u64 = 1_000_000;
/// With the way into and out of the kernel this stays below 50 us.
const NAP: Duration = Duration::from_micros(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_cpus_names_single_ones_and_ranges() {
        assert!(in_cpu_list("0-3,8\n", 2) && in_cpu_list("0-3,8", 8) && in_cpu_list("5", 5));
        assert!(!in_cpu_list("0-3,8", 5) && !in_cpu_list("\n", 0) && !in_cpu_list("", 0));
    }
}
