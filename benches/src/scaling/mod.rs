//! `bench scaling`: what one worker does and what several do, in memory, in turns.

pub mod aead;
pub mod case;
pub mod load;
pub mod rates;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use crypto::{Choice, Crypto};
use serde_json::json;

use crate::machine::Machine;
use crate::memory::run;
use crate::windows::Windows;
use crate::{Result, cpu, interrupt, result};
use case::Case;
use load::Load;
use rates::Rates;

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Job {
    /// Cases; all if not given
    #[arg(long, value_delimiter = ',')]
    cases: Vec<Case>,
    /// Numbers of workers; rates are compared with those of the first
    #[arg(long, value_delimiter = ',', default_value = "1,2", value_parser = clap::value_parser!(u16).range(1..=62))]
    workers: Vec<u16>,
    #[command(flatten)]
    windows: Windows,
}

/// Measures, prints the table and writes the result.
///
/// # Errors
/// Fewer CPUs than workers; those of the segments and of the AEAD.
pub fn run(job: &Job) -> Result<()> {
    interrupt::listen()?;
    let most = usize::from(job.workers.iter().copied().max().context("a number of workers")?);
    let (cpus, machine) = (cpu::last(most)?, Machine::current());
    let crypto = Arc::new(Crypto::new(Choice::Auto)?);
    let (rates, drops) = measure(job, &cpus, most, &crypto)?;
    let what = format!(
        "AES-128-GCM, ESN, IPv4 in IPv4, inner packets of 64 octets in bursts of 64, in memory; CPUs {cpus:?}; {} windows of {} ms",
        job.windows.windows, job.windows.window_ms
    );
    println!("{what}\n{}, {}, {}, load {}", machine.cpu, machine.commit, machine.date, machine.load);
    println!("{}\n", crypto.describe());
    rates.print();
    for (name, drops) in drops.iter().filter(|(_, drops)| !drops.is_empty()) {
        println!("dropped in {name}: {drops:?}");
    }
    let found = json!({"cpus": cpus, "crypto": crypto.describe(), "rows": rates.json(), "drops": drops});
    println!("\n{}", result::write(&job.windows.folder("scaling"), &machine, &what, found)?.display());
    Ok(())
}

/// What was dropped, by case and number of workers, by reason.
type Drops = BTreeMap<String, BTreeMap<&'static str, u64>>;

fn measure(job: &Job, cpus: &[usize], most: usize, crypto: &Arc<Crypto>) -> Result<(Rates, Drops)> {
    let mut loads = Vec::new();
    for case in Case::chosen(&job.cases) {
        for workers in job.workers.iter().copied().map(usize::from) {
            let mut load = Load::new(case, workers, most, crypto)?;
            load.window(cpus, job.windows.length() / 4)?;
            loads.push((case, workers, load));
        }
    }
    let mut rates = Rates::default();
    for _ in 0..job.windows.windows {
        for (case, workers, load) in &mut loads {
            let window = || load.window(cpus, job.windows.length());
            rates.add(*case, *workers, run::undisturbed(window, |ran| run::share(ran))?);
        }
    }
    let mut drops = Drops::new();
    for (case, workers, load) in loads {
        drops.insert(format!("{}-{workers}", case.name()), load.close()?);
    }
    Ok((rates, drops))
}
