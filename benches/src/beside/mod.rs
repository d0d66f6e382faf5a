//! `bench beside`: the whole engine and DPDK's own example gateway, ipsec-secgw, in turns on one core, between the same devices.
//!
//! `net_pcap infinite_rx -> gateway -> net_null` for both, over one file of packets. While one runs, the other is stopped, so
//! that the ratio of the two is taken round by round on a machine whose speed changes.

pub mod config;
mod found;
mod frames;
pub mod secgw;
mod telemetry;

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::engine::{Running, with_measured_cpu};
use crate::floor::Windows;
use crate::gateway::Gateway;
use crate::machine::Machine;
use crate::peers::Peers;
use crate::rows::Row;
use crate::scratch::Scratch;
use crate::settings::{Settings, Wanted};
use crate::spread::Spread;
use crate::toml::{Keys, Setup};
use crate::{Result, hugepages, interrupt, io, load, outbound, result, traffic};
use config::{Mode, Ports};
use found::Found;
use frames::Expected;
use secgw::Secgw;

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Job {
    /// The built ipsec-secgw; benches/README.md says how
    #[arg(long)]
    program: PathBuf,
    /// Rows of the table: out1, out1-aes256 or out1000
    #[arg(long, value_delimiter = ',', default_value = "out1,out1000")]
    rows: Vec<Row>,
    #[command(flatten)]
    wanted: Wanted,
    /// The folder for the result file, if not the one of this tree
    #[arg(long)]
    results: Option<PathBuf>,
}

/// Measures, prints and writes the result.
///
/// # Errors
/// A row that ipsec-secgw has no harness for; it does not seal what it is given, or drops packets; those of the engine.
pub fn run(job: &Job) -> Result<()> {
    interrupt::listen()?;
    ensure!(job.program.is_file(), "{}: no such program", job.program.display());
    let rows = Row::chosen(&job.rows);
    rows.iter().try_for_each(|row| config::check(*row))?;
    let scratch = Scratch::new()?;
    let settings = job.wanted.settings(&scratch, false)?;
    let (machine, pages) = (Machine::current(), hugepages::count()?);
    let mut all = Vec::new();
    for row in rows {
        all.extend(measure(&settings, job, row)?);
    }
    let left = hugepages::count()?;
    if left != pages {
        eprintln!("bench: {left} huge pages are reserved now, {pages} were before");
    }
    let what = format!(
        "engine and ipsec-secgw, ESN, IPv4 in IPv4, net_pcap infinite_rx -> gateway -> net_null, 1 worker on CPU {}; {} rounds, \
         {} ms of each gateway in each",
        settings.cpus.measured, settings.rounds, job.wanted.window_ms
    );
    println!("\n{what}\n{}, {}, {}, load {}", machine.cpu, machine.commit, machine.date, machine.load);
    found::print(&all);
    let rows: Vec<Value> = all.iter().map(Found::json).collect();
    let folder = job.results.clone().unwrap_or_else(|| PathBuf::from(result::FOLDER).join("beside"));
    println!("\n{}", result::write(&folder, &machine, &what, json!({ "rows": rows }))?.display());
    Ok(())
}

/// Measures a row at every length.
fn measure(settings: &Settings, job: &Job, row: Row) -> Result<Vec<Found>> {
    let peers = Peers { count: row.sas() };
    let order = traffic::order(peers);
    let pcap = settings.scratch.join("given.pcap");
    let scratch = settings.folder(row.name())?;
    let once = format!("net_pcap0,rx_pcap={}", pcap.display());
    let source = format!("{once},infinite_rx=1");
    let setup = Setup { cpu: settings.cpus.measured, source: &source, sink: SINK, peers, buffers: None };
    let keys = Keys::random(peers, row.algorithm())?;
    let mut running: Option<Gateway> = None;
    let mut all = Vec::new();
    for octets in settings.sizes.iter().copied() {
        traffic::write(&pcap, octets, peers, &order)?;
        let expected =
            Expected { keys: &keys, algorithm: row.algorithm(), order: &order, inner_octets: octets };
        for mode in Mode::ALL {
            eprintln!(
                "{row}, {octets} octets: ipsec-secgw ({mode}) seals {} packets for a look",
                order.len()
            );
            prove(settings, job, mode, &once, &expected)?;
        }
        let gateway = match &mut running {
            None => running.insert(outbound::start(settings, &setup, &scratch, row)?.0),
            Some(before) => {
                with_measured_cpu(&settings.cpus, || before.start_engine(|dir| setup.render(dir)))?;
                load::settle(before)?;
                before
            }
        };
        let mut engine = Running::over(gateway)?;
        let ports = Ports { source: &source, sink: SINK };
        let mut secgws = Vec::new();
        for mode in Mode::ALL {
            let config = config::text(&keys, row.algorithm(), mode);
            let secgw = Secgw::start(settings, &job.program, mode, &config, ports, 1)?;
            secgw.pause()?;
            secgws.push(secgw);
        }
        let alone = io::Job::new(settings, &pcap, u32::try_from(order.len())?)?;
        let (aead, io) = rounds(settings, row, octets, &mut engine, &mut secgws, &alone)?;
        let secgws = secgws.into_iter().map(Secgw::stop).collect::<Result<Vec<_>>>()?;
        let io = Spread::of(io).context("no window of the I/O alone")?;
        all.push(Found::new(row, octets, engine.stop()?, secgws, aead.fastest()?.0, io)?);
    }
    Ok(all)
}

/// Lets a short-lived ipsec-secgw send each packet once, to a file, and opens what it has sent.
fn prove(settings: &Settings, job: &Job, mode: Mode, once: &str, expected: &Expected<'_>) -> Result<()> {
    let sent = settings.scratch.join("sent.pcap");
    let ports = Ports { source: once, sink: &format!("net_pcap1,tx_pcap={}", sent.display()) };
    let config = config::text(expected.keys, expected.algorithm, mode);
    let packets = expected.order.len() as u64;
    let account = Secgw::start(settings, &job.program, mode, &config, ports, packets)?.end()?;
    ensure!(
        account.received == packets && account.sent == packets,
        "ipsec-secgw ({mode}) had {packets} packets to seal: {account:?}"
    );
    expected.check(&std::fs::read(&sent)?)
}

/// Measures everything in turns, so that a spell in which the machine is slow meets all of it.
fn rounds(
    settings: &Settings,
    row: Row,
    octets: u16,
    engine: &mut Running<'_>,
    secgws: &mut [Secgw],
    alone: &io::Job,
) -> Result<(Windows, Vec<f64>)> {
    let mut alone = io::Alone::start(alone)?;
    let (mut aead, mut io) = (Windows::new(octets, row.direction()), Vec::new());
    for round in 1..=settings.rounds {
        eprintln!("{row}, {octets} octets: round {round} of {}", settings.rounds);
        aead.take(row.algorithm(), settings.cpus.measured)?;
        io.push(alone.window()?);
        engine.window(settings.window)?;
        for secgw in secgws.iter_mut() {
            secgw.window(settings.window)?;
        }
    }
    Ok((aead, io))
}

const SINK: &str = "net_null0,no-rx=1";
