//! `instructions`: counts the packet path's instructions per packet and holds them against those that are written down.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use espalier_benches::Result;
use espalier_benches::gate::expected::{Expected, Table};
use espalier_benches::gate::verdict::{self, Verdict};
use espalier_benches::gate::{Counts, RUSTC, callgrind};
use espalier_benches::memory::Scenario;

/// Counts instructions per packet under callgrind; fails where they grew.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    part: Option<Part>,
    /// Write the counts down as those to compare with from now on
    #[arg(long)]
    accept: bool,
    /// Leave the profiles, which `callgrind_annotate` reads, in this folder
    #[arg(long)]
    profiles: Option<PathBuf>,
    /// The counts that are written down
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.toml"))]
    file: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// One scenario, to be counted
    #[command(hide = true)]
    Run {
        /// Its name
        scenario: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.part {
        Some(Part::Run { scenario }) => {
            Scenario::named(scenario).context("no such scenario").and_then(Scenario::run).map(|()| true)
        }
        None => gate(&arguments),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn gate(arguments: &Arguments) -> Result<bool> {
    let mut expected = Expected::read(&arguments.file)?;
    let scratch = tempfile::tempdir()?;
    let folder = arguments.profiles.as_deref().unwrap_or(scratch.path());
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let counted = count_all(folder)?;
    let before = expected.of(RUSTC);
    print(&counted, before.map(|found| found.table));
    let more = verdict::workers(&counted);
    for change in &more {
        println!("{change}");
    }
    if arguments.accept {
        expected.accept(RUSTC, counted);
        std::fs::write(&arguments.file, expected.render())
            .with_context(|| arguments.file.display().to_string())?;
        println!("\nwritten down for rustc {RUSTC}: {}", arguments.file.display());
        return Ok(more.is_empty());
    }
    let before = before.with_context(|| format!("{} has no counts", arguments.file.display()))?;
    let verdict = Verdict::of(RUSTC, &counted, &before);
    if before.release != RUSTC {
        println!(
            "\nThere are counts of rustc {}, none of {RUSTC}; `make instructions` adds them.",
            before.release
        );
    }
    say(&verdict);
    Ok(verdict.passes() && more.is_empty())
}

fn count_all(folder: &Path) -> Result<Table> {
    let program = std::env::current_exe()?;
    let mut counted = Table::new();
    for scenario in Scenario::ALL {
        let counts = callgrind::count(&program, scenario, folder)?;
        ensure!(counts.instructions > 0.0, "{}: callgrind met no function to count", scenario.name());
        counted.insert(scenario.name().to_owned(), counts);
    }
    Ok(counted)
}

fn print(counted: &Table, before: Option<&Table>) {
    println!(
        "{:<18} {:>13} {:>9} {:>8} {:>9}",
        "per packet", "instructions", "expected", "locked", "expected"
    );
    for scenario in Scenario::ALL {
        let Some(Counts { instructions, locked }) = counted.get(scenario.name()) else { continue };
        print!("{:<18} {instructions:>13.1} ", scenario.name());
        match before.and_then(|before| before.get(scenario.name())) {
            Some(before) => println!("{:>9.1} {locked:>8.4} {:>9.4}", before.instructions, before.locked),
            None => println!("{:>9} {locked:>8.4} {:>9}", "-", "-"),
        }
    }
}

fn say(verdict: &Verdict) {
    let Verdict { changes, unmatched, allowed } = verdict;
    for change in changes {
        println!("{change}, {allowed} % are allowed");
    }
    for scenario in unmatched {
        println!("{scenario}: not both counted and written down");
    }
    if !verdict.passes() {
        println!(
            "\nIf that is worth it, `make instructions` writes the new counts down: commit them with the change and its reason.\n\
             Where the instructions are: `callgrind_annotate` on what `--profiles FOLDER` leaves."
        );
    } else if changes.iter().any(|change| !change.is_growth()) {
        println!("\nIt costs less now: `make instructions` writes that down, so that it stays so.");
    }
}
