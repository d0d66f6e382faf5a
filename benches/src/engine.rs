//! The whole engine: the release binaries between `net_pcap infinite_rx` and `net_null`, measured in windows.

use std::path::Path;
use std::time::Duration;

use anyhow::bail;

use crate::Result;
use crate::cpu::{self, Cpus};
use crate::gateway::Gateway;
use crate::interrupt;
use crate::reading::{Ledger, Reading, Stage};
use crate::spread::Spread;
use crate::toml::{self, Keys};

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
    /// What the engine says of its AEAD.
    pub crypto: String,
}

/// A gateway that seals the packets of a file under one SA, and what was seen of it so far.
#[derive(Debug)]
pub struct Running {
    gateway: Gateway,
    /// The readings before and after each window.
    windows: Vec<(Reading, Reading)>,
}

impl Running {
    /// Starts it and waits until it seals; it is paused then.
    ///
    /// # Errors
    /// The gateway did not start; it sends nothing.
    pub fn start(scratch: &Path, cpus: &Cpus, pcap: &Path) -> Result<Self> {
        let source = format!("net_pcap0,rx_pcap={},infinite_rx=1", pcap.display());
        let gateway = start(scratch, cpus, &source, "net_null0,no-rx=1")?;
        gateway.batch(&Keys::random()?.batch())?;
        wait_for(&gateway, 1)?;
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
        let before = Reading::take(&self.gateway)?;
        interrupt::sleep(length)?;
        let after = Reading::take(&self.gateway)?;
        self.gateway.pause()?;
        self.windows.push((before, after));
        Ok(())
    }

    /// Ends it; the windows of [`Measured::each_ns`] are in the order they were taken.
    ///
    /// # Errors
    /// It did not end well; it sent nothing; its account does not add up.
    pub fn stop(self) -> Result<Measured> {
        self.gateway.resume()?;
        let crypto = self.gateway.json("status")?["crypto"].as_str().unwrap_or_default().to_owned();
        let ledger = Ledger::at_the_end(&self.gateway.stop()?)?;
        measured(&self.windows, ledger, crypto)
    }
}

/// Starts a gateway on the measured CPU; afterwards this thread, and so `espctl`, keeps off it.
pub(crate) fn start(scratch: &Path, cpus: &Cpus, source: &str, sink: &str) -> Result<Gateway> {
    cpu::pin(&[&cpus.others[..], &[cpus.measured]].concat())?;
    let gateway =
        Gateway::start(scratch, |runtime_dir| toml::render(runtime_dir, cpus.measured, source, sink));
    cpu::pin(&cpus.others)?;
    gateway
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

fn measured(windows: &[(Reading, Reading)], ledger: Ledger, crypto: String) -> Result<Measured> {
    let (mut ns, mut each_ns, mut ran, mut time, mut dropped) = (Vec::new(), Vec::new(), 0.0, 0.0, 0);
    for (from, to) in windows {
        let packets = to.sent.saturating_sub(from.sent);
        if packets == 0 {
            bail!("the engine sent nothing for {} ms", (to.at - from.at).as_millis());
        }
        let window = (to.at - from.at).as_secs_f64();
        let on_cpu = (to.ran.saturating_sub(from.ran)).as_secs_f64();
        ns.push(window * 1e9 / packets as f64);
        // The kernel's account moves in ticks, so a window that was mostly taken away tells nothing.
        let enough = on_cpu >= LEAST_SHARE * window;
        each_ns.push(enough.then_some(on_cpu * 1e9 / packets as f64));
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
        crypto,
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
const WARM_UP: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(10);
