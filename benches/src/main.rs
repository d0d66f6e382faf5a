//! `bench`: prints what the whole engine does on one core, and what the AEAD and the I/O alone cost in the same run; its parts
//! `beside` what DPDK's own gateway does there, `scaling`, `reorder` and `changes` what several workers do, and what one does while
//! SAs and policies change.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use espalier_benches::machine::Machine;
use espalier_benches::report::Report;
use espalier_benches::rows::{Direction, Row};
use espalier_benches::scratch::Scratch;
use espalier_benches::sealed::process;
use espalier_benches::settings::Wanted;
use espalier_benches::{
    Result, beside, changes, compare, cpu, hugepages, inbound, interrupt, io, outbound, reorder, result,
    scaling,
};

/// Measures the engine on one pinned core: outbound and inbound, by 1, 1 000 and 100 000 SAs.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = "Runs as root, for huge pages.")]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Rows of the table; all if not given
    #[arg(long, value_delimiter = ',')]
    rows: Vec<Row>,
    #[command(flatten)]
    wanted: Wanted,
    /// Where the result file goes
    #[arg(long, default_value = result::FOLDER)]
    results: PathBuf,
    /// Leave out the sample that scapy opens
    #[arg(long)]
    no_sample: bool,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Sets two results side by side; the two newest if none is named
    Compare {
        /// The older result
        #[arg(requires = "new")]
        old: Option<PathBuf>,
        /// The newer result
        new: Option<PathBuf>,
    },
    /// The whole engine and DPDK's ipsec-secgw in turns on one core
    Beside(beside::Job),
    /// What several workers do, and what one does, in memory
    Scaling(scaling::Job),
    /// In which order packets of one SA leave when several workers send them, in memory
    Reorder(reorder::Job),
    /// What a worker forwards while SAs and policies change, in memory
    Changes(changes::Job),
    /// The I/O alone, in a process of its own
    #[command(hide = true)]
    Io(io::Job),
    /// The packet path over frames in memory, in a process of its own
    #[command(hide = true)]
    Memory(process::Job),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.part {
        Some(Part::Compare { old, new }) => compared(old.as_deref(), new.as_deref()),
        Some(Part::Beside(job)) => beside::run(job),
        Some(Part::Scaling(job)) => scaling::run(job),
        Some(Part::Reorder(job)) => reorder::run(job),
        Some(Part::Changes(job)) => changes::run(job),
        Some(Part::Io(job)) => io::run(job),
        Some(Part::Memory(job)) => process::run(job),
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
    let scratch = Scratch::new()?;
    let settings = arguments.wanted.settings(&scratch, !arguments.no_sample)?;
    let (machine, tsc_ghz) = (Machine::current(), cpu::tsc_ghz()?);
    let pages = hugepages::count()?;
    let mut figures = Vec::new();
    for row in Row::chosen(&arguments.rows) {
        figures.extend(match row.direction() {
            Direction::Outbound => outbound::measure(&settings, row)?,
            Direction::Inbound => inbound::measure(&settings, row)?,
        });
    }
    let left = hugepages::count()?;
    if left != pages {
        eprintln!("bench: {left} huge pages are reserved now, {pages} were before");
    }
    let what = format!(
        "ESN, IPv4 in IPv4, 1 worker on CPU {}; {} rounds, {} ms of the engine in each",
        settings.cpus.measured, settings.rounds, arguments.wanted.window_ms
    );
    let report = Report { machine, what, tsc_ghz, figures };
    report.print();
    println!("\n{}", report.write(&arguments.results)?.display());
    Ok(())
}

fn compared(old: Option<&Path>, new: Option<&Path>) -> Result<()> {
    if let (Some(old), Some(new)) = (old, new) {
        return compare::print(old, new);
    }
    let [old, new] = compare::newest(Path::new(result::FOLDER))?;
    compare::print(&old, &new)
}
