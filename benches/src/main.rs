//! `bench`: prints what the whole engine does on one core, and what the AEAD and the I/O alone cost in the same run.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use esp::aead::Algorithm;
use espalier_benches::cpu::Cpus;
use espalier_benches::engine::Running;
use espalier_benches::machine::Machine;
use espalier_benches::report::{self, Row};
use espalier_benches::spread::Spread;
use espalier_benches::{Result, floor, hugepages, interrupt, io, sample, traffic};

/// Measures the engine: net_pcap infinite_rx -> espalier -> net_null, one pinned core, huge pages.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = "Runs as root, for huge pages.")]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Lengths of the inner IP packets, in octets
    #[arg(long, value_delimiter = ',', default_value = "64,512,1400")]
    sizes: Vec<u16>,
    /// Windows of each figure; at least 5 make a result
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=100))]
    windows: u16,
    /// Length of a window of the engine, in milliseconds
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    window_ms: u64,
    /// The CPU to measure on; the last one if not given
    #[arg(long)]
    cpu: Option<usize>,
    /// Where the result file goes
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    results: PathBuf,
    /// Leave out the sample that scapy opens
    #[arg(long)]
    no_sample: bool,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// The I/O alone, in a process of its own
    #[command(hide = true)]
    Io(io::Job),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.part {
        Some(Part::Io(job)) => io::run(job),
        None => run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    interrupt::listen()?;
    let machine = Machine::current();
    let cpus = Cpus::choose(arguments.cpu)?;
    let scratch = Scratch::new()?;
    let pages = hugepages::count()?;
    let mut rows = Vec::new();
    for size in &arguments.sizes {
        rows.push(row(arguments, &scratch.0, &cpus, *size)?);
    }
    let left = hugepages::count()?;
    if left != pages {
        eprintln!("bench: {left} huge pages are reserved now, {pages} were before");
    }
    let what = format!(
        "AES-128-GCM, ESN, IPv4 in IPv4, 1 SA, {} flows, net_pcap infinite_rx -> espalier -> net_null, 1 worker on CPU {}; \
         {} rounds, {} ms of the engine in each",
        traffic::FLOWS,
        cpus.measured,
        arguments.windows,
        arguments.window_ms
    );
    report::print(&machine, &what, &rows);
    let path = report::write(&arguments.results, &machine, &what, &rows)?;
    println!("\n{}", path.display());
    Ok(())
}

/// Measures AEAD, I/O and the whole engine in turns, so that a spell in which the machine is slow meets all three.
fn row(arguments: &Arguments, scratch: &Path, cpus: &Cpus, inner_octets: u16) -> Result<Row> {
    let pcap = scratch.join(format!("given-{inner_octets}.pcap"));
    traffic::write(&pcap, inner_octets)?;
    let mount = scratch.join("hugepages");
    std::fs::create_dir_all(&mount)?;
    let cpu = u32::try_from(cpus.measured)?;
    let mut engine = Running::start(scratch, cpus, &pcap)?;
    let mut io_alone = io::Alone::start(&io::Job { pcap: pcap.clone(), mount, cpu })?;
    let (mut aead, mut io) = (floor::Windows::new(inner_octets), Vec::new());
    for window in 1..=arguments.windows {
        say(inner_octets, &format!("round {window} of {}: AEAD, I/O, engine", arguments.windows));
        aead.take(Algorithm::Aes128Gcm16, cpus.measured)?;
        io.push(io_alone.window()?);
        engine.window(Duration::from_millis(arguments.window_ms))?;
    }
    drop(io_alone);
    let engine = engine.stop()?;
    let (aead, each_aead) = aead.fastest()?;
    let rounds = engine.each_ns.iter().zip(each_aead.iter().zip(&io));
    let ratio = rounds.filter_map(|(engine, (aead, io))| Some((*engine)? / (aead + io)));
    let ratio = Spread::of(ratio.collect()).context("no round had all three")?;
    let io = Spread::of(io).context("no window of the I/O alone")?;
    let opened = if arguments.no_sample {
        None
    } else {
        say(inner_octets, "a sample for scapy");
        sample::check(scratch, cpus, &pcap)?;
        Some(sample::PACKETS)
    };
    Ok(Row { inner_octets, engine, aead, io, ratio, opened })
}

fn say(inner_octets: u16, what: &str) {
    eprintln!("{inner_octets} octets: {what}");
}

/// A directory on tmpfs, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = PathBuf::from(format!("/dev/shm/espalier-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
