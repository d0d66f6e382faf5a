//! The whole engine: the release binaries between `net_pcap infinite_rx` and `net_null`, measured in windows.

use std::time::Duration;

use anyhow::bail;

use crate::Result;
use crate::cpu::{self, Cpus};
use crate::gateway::Gateway;
use crate::interrupt;
use crate::reading::{Ledger, Reading, Stage};
use crate::spread::Spread;

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// By the clock on the wall. Units: nanoseconds a packet.
    pub ns: Spread,
    /// By the time the worker had its CPU: what it costs on a core that nobody shares. Units: nanoseconds a packet.
    pub cpu_ns: Spread,
    /// Those of `cpu_ns` in the order they were taken; `None` where the worker hardly had its CPU.
    pub each_ns: Vec<Option<f64>>,
    /// The part of the windows in which the worker had its CPU.
    pub share: f64,
    /// Packets dropped while the windows ran.
    pub dropped: u64,
    /// Stages in the order a packet meets them, over all windows.
    pub stages: Vec<(String, Stage)>,
    /// The account at the end.
    pub ledger: Ledger,
}

/// A gateway that seals packets, and what was seen of it so far.
#[derive(Debug)]
pub struct Running<'a> {
    gateway: &'a mut Gateway,
    /// The readings before and after each window.
    windows: Vec<(Reading, Reading)>,
}

impl<'a> Running<'a> {
    /// Waits until it seals; it is paused then.
    ///
    /// # Errors
    /// It sends nothing.
    pub fn over(gateway: &'a mut Gateway) -> Result<Self> {
        wait_for(gateway, 1)?;
        interrupt::sleep(WARM_UP)?;
        gateway.pause()?;
        Ok(Self { gateway, windows: Vec::new() })
    }

    /// Lets it run for one window.
    ///
    /// # Errors
    /// Those of `espctl`.
    pub fn window(&mut self, length: Duration) -> Result<()> {
        self.gateway.resume()?;
        interrupt::sleep(WARM_UP)?;
        let before = Reading::take(self.gateway)?;
        interrupt::sleep(length)?;
        let after = Reading::take(self.gateway)?;
        self.gateway.pause()?;
        self.windows.push((before, after));
        Ok(())
    }

    /// Ends the engine; the windows of [`Measured::each_ns`] are in the order they were taken.
    ///
    /// # Errors
    /// It did not end well; it sent nothing; its account does not add up.
    pub fn stop(self) -> Result<Measured> {
        self.gateway.resume()?;
        let ledger = Ledger::at_the_end(&self.gateway.stop_engine()?)?;
        measured(&self.windows, ledger)
    }
}

/// Starts something with the measured CPU among its CPUs; this thread, and so `espctl`, keeps off it otherwise.
pub(crate) fn with_measured_cpu<T>(cpus: &Cpus, start: impl FnOnce() -> Result<T>) -> Result<T> {
    cpu::pin(&[&cpus.others[..], &[cpus.measured]].concat())?;
    let started = start();
    cpu::pin(&cpus.others)?;
    started
}

/// Waits until so many packets were sent.
pub(crate) fn wait_for(gateway: &Gateway, packets: u64) -> Result<()> {
    let waited =
        interrupt::until("packets", PATIENCE, || Ok((Reading::take(gateway)?.sent >= packets).then_some(())));
    if let Err(error) = waited {
        bail!("{error}: the engine drops them: {}", gateway.json("drops")?);
    }
    Ok(())
}

/// Returns what a packet costs by the time a worker had its CPU; `None` if it hardly had it. Units: seconds, nanoseconds.
pub(crate) fn cpu_ns(packets: u64, window_s: f64, on_cpu_s: f64) -> Option<f64> {
    // The kernel's account moves in ticks, so a window that was mostly taken away tells nothing.
    (on_cpu_s >= LEAST_SHARE * window_s).then_some(on_cpu_s * 1e9 / packets as f64)
}

fn measured(windows: &[(Reading, Reading)], ledger: Ledger) -> Result<Measured> {
    let (mut ns, mut each_ns, mut ran, mut time, mut dropped) = (Vec::new(), Vec::new(), 0.0, 0.0, 0);
    for (from, to) in windows {
        let packets = to.sent.saturating_sub(from.sent);
        if packets == 0 {
            bail!("the engine sent nothing for {} ms", (to.at - from.at).as_millis());
        }
        let window = (to.at - from.at).as_secs_f64();
        let on_cpu = (to.ran.saturating_sub(from.ran)).as_secs_f64();
        ns.push(window * 1e9 / packets as f64);
        each_ns.push(cpu_ns(packets, window, on_cpu));
        ran += on_cpu;
        time += window;
        dropped += to.dropped.saturating_sub(from.dropped);
    }
    let cpu_ns = Spread::of(each_ns.iter().flatten().copied().collect());
    let (Some(ns), Some(cpu_ns), Some((_, last))) = (Spread::of(ns), cpu_ns, windows.last()) else {
        bail!("in no window the worker had its core for a third of the time: end what else runs here");
    };
    let stages = last.order.iter().map(|name| (name.clone(), between(windows, name)));
    Ok(Measured {
        ns,
        cpu_ns,
        each_ns,
        share: ran / time,
        dropped,
        stages: stages.filter(|(_, stage)| stage.packets > 0).collect(),
        ledger,
    })
}

fn between(windows: &[(Reading, Reading)], name: &str) -> Stage {
    let of = |reading: &Reading| reading.stages.get(name).copied().unwrap_or_default();
    windows.iter().fold(Stage::default(), |sum, (from, to)| {
        let (from, to) = (of(from), of(to));
        Stage {
            calls: sum.calls + to.calls.saturating_sub(from.calls),
            packets: sum.packets + to.packets.saturating_sub(from.packets),
            cycles: sum.cycles + to.cycles.saturating_sub(from.cycles),
        }
    })
}

const LEAST_SHARE: f64 = 1.0 / 3.0;
/// After a pause, before a window.
pub(crate) const WARM_UP: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);
