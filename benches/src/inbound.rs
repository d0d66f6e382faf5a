//! Inbound rows: the engine's packet path over frames sealed in memory, beside AEAD and the same ports alone.

use std::ffi::OsStr;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::Result;
use crate::asked::Asked;
use crate::engine::Measured;
use crate::floor::Windows;
use crate::reading::{Ledger, Stage};
use crate::report::{Figures, ratios};
use crate::residence::Quantiles;
use crate::rows::Row;
use crate::sealed::process::MEMORY_MIB;
use crate::settings::Settings;
use crate::spread::Spread;

/// Measures a row at every length.
///
/// # Errors
/// Those of the parts.
pub fn measure(settings: &Settings, row: Row) -> Result<Vec<Figures>> {
    let mut path = Path::start(settings, row)?;
    let mut all = Vec::new();
    for octets in settings.sizes.iter().copied() {
        let figures = rounds(settings, row, octets, &mut path)?;
        let half = 2.0 * figures.engine.ns.median();
        let residence = if row == Row::In1 { Some(path.residence(half)?) } else { None };
        all.push(Figures { residence, crypto: path.crypto.clone(), ..figures });
    }
    Ok(all)
}

/// Measures how long packets stay in the path of a row at half of what it can do in this harness.
///
/// # Errors
/// Those of the process.
pub fn residence(settings: &Settings, row: Row, octets: u16) -> Result<Quantiles> {
    let mut path = Path::start(settings, row)?;
    path.ask(&format!("size {octets}"))?;
    let windows = (0..WINDOWS_FOR_RATE).map(|_| path.window(settings)).collect::<Result<Vec<_>>>()?;
    let ns = Spread::of(windows.iter().map(Window::ns).collect()).context("no window")?;
    path.account()?;
    path.residence(2.0 * ns.median())
}

/// Measures AEAD, ports and path in turns.
fn rounds(settings: &Settings, row: Row, octets: u16, path: &mut Path) -> Result<Figures> {
    path.ask(&format!("size {octets}"))?;
    let mut aead = Windows::new(octets, row.direction());
    let (mut io, mut windows) = (Vec::new(), Vec::new());
    for round in 1..=settings.rounds {
        eprintln!("{row}, {octets} octets: round {round} of {}: AEAD, I/O, path", settings.rounds);
        aead.take(row.algorithm(), settings.cpus.measured)?;
        io.push(path.ask("io")?["ns"].as_f64().context("no ns")?);
        windows.push(path.window(settings)?);
    }
    let engine = measured(&windows, path.account()?)?;
    let (aead, each_aead) = aead.fastest()?;
    let ratio = ratios(&engine.each_ns, &each_aead, &io)?;
    let io = Spread::of(io).context("no window of the ports alone")?;
    Ok(Figures::new(row, octets, engine, aead, io, ratio))
}

/// The process that runs the path of a row.
struct Path {
    process: Asked,
    crypto: String,
}

/// One window of it.
struct Window {
    packets: f64,
    wall_s: f64,
    cpu_s: f64,
}

impl Window {
    fn ns(&self) -> f64 {
        self.wall_s * 1e9 / self.packets
    }
}

impl Path {
    /// Starts it and waits until it has its SAs.
    fn start(settings: &Settings, row: Row) -> Result<Self> {
        eprintln!("{row}: {} SAs into the segments", row.sas());
        let dir = settings.folder(&format!("path-{row}"))?;
        // Segments of an earlier process would bring their numbers along.
        std::fs::remove_dir_all(&dir)?;
        let (dir, mount) = (settings.folder(&format!("path-{row}"))?, settings.folder("hugepages")?);
        let cpu = settings.cpu()?.to_string();
        let arguments: [(&str, &OsStr); 4] = [
            ("--row", row.name().as_ref()),
            ("--dir", dir.as_ref()),
            ("--mount", mount.as_ref()),
            ("--cpu", cpu.as_ref()),
        ];
        let mut process = Asked::start("memory", &arguments, MEMORY_MIB)?;
        let ready: Value = serde_json::from_str(&process.answer()?)?;
        Ok(Self { process, crypto: ready["crypto"].as_str().unwrap_or_default().to_owned() })
    }

    fn ask(&mut self, line: &str) -> Result<Value> {
        serde_json::from_str(&self.process.ask(line)?).with_context(|| line.to_owned())
    }

    fn window(&mut self, settings: &Settings) -> Result<Window> {
        let said = self.ask(&format!("engine {}", settings.window.as_millis()))?;
        let figure = |name: &str| said[name].as_f64().with_context(|| format!("no {name}"));
        Ok(Window { packets: figure("packets")?, wall_s: figure("wall_s")?, cpu_s: figure("cpu_s")? })
    }

    /// Returns the account since the length was set; it adds up.
    fn account(&mut self) -> Result<Value> {
        let said = self.ask("account")?;
        let Ledger { received, host_made, sent, punted, dropped } = ledger(&said)?;
        if received + host_made != sent + punted + dropped {
            bail!("the ledger does not add up: {said}");
        }
        Ok(said)
    }

    fn residence(&mut self, ns: f64) -> Result<Quantiles> {
        let said = self.ask(&format!("residence {ns}"))?;
        Quantiles::from_json(&said).context("no quantiles")
    }
}

fn measured(windows: &[Window], account: Value) -> Result<Measured> {
    if windows.iter().any(|window| window.packets == 0.0) {
        bail!("the path took nothing up: {account}");
    }
    let cpu_ns: Vec<f64> = windows.iter().map(|window| window.cpu_s * 1e9 / window.packets).collect();
    let sum = |of: fn(&Window) -> f64| windows.iter().map(of).sum::<f64>();
    let stage = |stage: &Value| {
        let figure = |name: &str| stage[name].as_u64().unwrap_or_default();
        let of = Stage { calls: figure("calls"), packets: figure("packets"), cycles: figure("cycles") };
        (of.packets > 0).then(|| (stage["name"].as_str().unwrap_or_default().to_owned(), of))
    };
    Ok(Measured {
        ns: Spread::of(windows.iter().map(Window::ns).collect()).context("no window")?,
        cpu_ns: Spread::of(cpu_ns.clone()).context("no window")?,
        each_ns: cpu_ns.into_iter().map(Some).collect(),
        share: sum(|window| window.cpu_s) / sum(|window| window.wall_s),
        dropped: account["dropped_in_windows"].as_u64().context("no dropped_in_windows")?,
        stages: account["stages"].as_array().into_iter().flatten().filter_map(stage).collect(),
        ledger: ledger(&account)?,
    })
}

fn ledger(account: &Value) -> Result<Ledger> {
    let figure = |name: &str| account[name].as_u64().with_context(|| format!("no {name}"));
    Ok(Ledger {
        received: figure("received")?,
        host_made: figure("host_made")?,
        sent: figure("sent")?,
        punted: figure("punted")?,
        dropped: figure("dropped")?,
    })
}

const WINDOWS_FOR_RATE: usize = 3;
