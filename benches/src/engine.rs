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

/// How long to look.
#[derive(Clone, Copy, Debug)]
pub struct Windows {
    /// How many.
    pub count: usize,
    /// How long each is.
    pub length: Duration,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// By the clock on the wall. Units: nanoseconds a packet.
    pub ns: Spread,
    /// By the time the worker had its CPU: what it costs on a core that nobody shares. Units: nanoseconds a packet.
    pub cpu_ns: Spread,
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

/// Measures sealing under one SA with the packets of `pcap`.
///
/// # Errors
/// The gateway did not start or end; it sent nothing; its account does not add up.
pub fn measure(scratch: &Path, cpus: &Cpus, pcap: &Path, windows: Windows) -> Result<Measured> {
    let source = format!("net_pcap0,rx_pcap={},infinite_rx=1", pcap.display());
    let gateway = start(scratch, cpus, &source, "net_null0,no-rx=1")?;
    gateway.batch(&Keys::random()?.batch())?;
    wait_for(&gateway, 1)?;
    interrupt::sleep(WARM_UP)?;
    let mut readings = vec![Reading::take(&gateway)?];
    for _ in 0..windows.count {
        interrupt::sleep(windows.length)?;
        readings.push(Reading::take(&gateway)?);
    }
    let crypto = gateway.json("status")?["crypto"].as_str().unwrap_or_default().to_owned();
    let ledger = Ledger::at_the_end(&gateway.stop()?)?;
    measured(&readings, ledger, crypto)
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

fn measured(readings: &[Reading], ledger: Ledger, crypto: String) -> Result<Measured> {
    let (mut ns, mut cpu_ns, mut ran, mut time) = (Vec::new(), Vec::new(), 0.0, 0.0);
    for pair in readings.windows(2) {
        let [from, to] = pair else { continue };
        let packets = to.sent.saturating_sub(from.sent);
        if packets == 0 {
            bail!("the engine sent nothing for {} ms", (to.at - from.at).as_millis());
        }
        let window = (to.at - from.at).as_secs_f64();
        let on_cpu = (to.ran.saturating_sub(from.ran)).as_secs_f64();
        ns.push(window * 1e9 / packets as f64);
        // The kernel's account moves in ticks, so a window that was mostly taken away tells nothing.
        if on_cpu >= LEAST_SHARE * window {
            cpu_ns.push(on_cpu * 1e9 / packets as f64);
        }
        ran += on_cpu;
        time += window;
    }
    let (Some(ns), Some(cpu_ns)) = (Spread::of(ns), Spread::of(cpu_ns)) else {
        bail!("in no window the worker had its core for a third of the time: end what else runs here");
    };
    let [first, .., last] = readings else { bail!("no window") };
    let stages = last.order.iter().map(|name| (name.clone(), between(first, last, name)));
    Ok(Measured {
        ns,
        cpu_ns,
        share: ran / time,
        dropped: last.dropped.saturating_sub(first.dropped),
        stages: stages.filter(|(_, stage)| stage.packets > 0).collect(),
        ledger,
        crypto,
    })
}

fn between(first: &Reading, last: &Reading, name: &str) -> Stage {
    let of = |reading: &Reading| reading.stages.get(name).copied().unwrap_or_default();
    let (from, to) = (of(first), of(last));
    Stage {
        calls: to.calls.saturating_sub(from.calls),
        packets: to.packets.saturating_sub(from.packets),
        cycles: to.cycles.saturating_sub(from.cycles),
    }
}

const LEAST_SHARE: f64 = 1.0 / 3.0;
const WARM_UP: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(10);
