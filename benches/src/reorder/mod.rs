//! `bench reorder`: in which order packets of one SA leave when several workers send them, and what a peer's window makes of it.

pub mod log;
pub mod order;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use crypto::{Choice, Crypto};
use serde_json::{Value, json};

use crate::machine::Machine;
use crate::memory::records::{self, Side};
use crate::memory::run::{self, Ran};
use crate::memory::team::Team;
use crate::scaling::case::Case;
use crate::scaling::load::offer;
use crate::spread::Spread;
use crate::windows::Windows;
use crate::{Result, cpu, interrupt, result};
use log::Log;
use order::Lateness;

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Job {
    /// Workers that packets of the SA arrive at
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=62))]
    workers: u16,
    #[command(flatten)]
    windows: Windows,
}

/// One window.
#[derive(Clone, Debug)]
struct Seen {
    lateness: Lateness,
    /// By [`WINDOWS`].
    refused: [u64; WINDOWS.len()],
    mpps: f64,
    share: f64,
}

/// Measures, prints and writes the result.
///
/// # Errors
/// Fewer CPUs than workers; those of the segments and of the AEAD.
pub fn run(job: &Job) -> Result<()> {
    interrupt::listen()?;
    let workers = usize::from(job.workers);
    let (cpus, machine) = (cpu::last(workers)?, Machine::current());
    let crypto = Arc::new(Crypto::new(Choice::Auto)?);
    let length = job.windows.length();
    let mut teams = Vec::new();
    for case in [Case::Spread, Case::Owner] {
        let mut team = team(case, workers, &crypto, length)?;
        seen(&mut team, &cpus, length / 4)?;
        teams.push((case, team, Vec::new()));
    }
    for _ in 0..job.windows.windows {
        for (_, team, all) in &mut teams {
            all.push(run::undisturbed(|| seen(team, &cpus, length), |seen| seen.share)?);
        }
    }
    let what = format!(
        "one SA, {workers} workers on the CPUs {cpus:?}, inner packets of 64 octets in bursts of 64, in memory; {} windows of {} ms",
        job.windows.windows, job.windows.window_ms
    );
    println!("{what}\n{}, {}, {}, load {}", machine.cpu, machine.commit, machine.date, machine.load);
    let mut rows = Vec::new();
    for (case, team, all) in teams {
        let drops = team.drops();
        team.close()?;
        anyhow::ensure!(drops.is_empty(), "packets were dropped: {drops:?}");
        rows.push(row(case, &all).context("no window")?);
    }
    let found = json!({"cpus": cpus, "crypto": crypto.describe(), "rows": rows});
    println!("\n{}", result::write(&job.windows.folder("reorder"), &machine, &what, found)?.display());
    Ok(())
}

fn team(case: Case, workers: usize, crypto: &Arc<Crypto>, length: Duration) -> Result<Team<Log>> {
    let topology = records::topology(Side::Sends, case == Case::Spread);
    let room = usize::try_from(length.as_millis())?.max(100) * MOST_PER_MS;
    let mut team = Team::new(crypto, &topology, records::CAPACITY, log::logs(workers, room))?;
    team.install(records::all(Side::Sends, 1)?)?;
    offer(case, std::slice::from_mut(&mut team))?;
    Ok(team)
}

fn seen(team: &mut Team<Log>, cpus: &[usize], length: Duration) -> Result<Seen> {
    let ran = team.window(cpus, length)?;
    let seqs = log::take(team.lines().map(|line| &mut line.watch))?;
    let lateness = Lateness::of(&seqs).context("nothing was sent")?;
    let refused = WINDOWS.map(|size_pkts| order::refused(seqs.iter().copied(), size_pkts));
    let mpps = ran.iter().map(Ran::mpps).sum();
    Ok(Seen { lateness, refused, mpps, share: run::share(&ran) })
}

/// Prints a case and returns it for the result file; `None` without a window.
fn row(case: Case, all: &[Seen]) -> Option<Value> {
    let of = |value: &dyn Fn(&Seen) -> f64| Spread::of(all.iter().map(value).collect());
    let late = of(&|seen| seen.lateness.late as f64 * 100.0 / seen.lateness.packets as f64)?;
    let [p50, p99, max] = [
        of(&|seen| seen.lateness.p50.into())?,
        of(&|seen| seen.lateness.p99.into())?,
        of(&|seen| seen.lateness.max.into())?,
    ];
    let (mpps, share) = (of(&|seen| seen.mpps)?, of(&|seen| seen.share)?);
    let packets: u64 = all.iter().map(|seen| seen.lateness.packets).sum();
    println!(
        "\n{}: {packets} packets, {} Mpps, a worker had its CPU for {:.1} % or more; min / median / max",
        case.name(),
        mpps.three(2),
        share.min() * 100.0
    );
    println!("  behind a higher number, % of the packets   {}", late.three(3));
    println!("  behind the highest number, p50, packets    {}", p50.three(0));
    println!("  behind the highest number, p99, packets    {}", p99.three(0));
    println!("  behind the highest number, most, packets   {}", max.three(0));
    let mut windows = Vec::new();
    for (place, size_pkts) in WINDOWS.into_iter().enumerate() {
        let ppm = of(&|seen| {
            let refused = seen.refused.get(place).copied().unwrap_or(0);
            refused as f64 * 1e6 / seen.lateness.packets as f64
        })?;
        let total: u64 = all.iter().filter_map(|seen| seen.refused.get(place)).sum();
        println!("  refused by a window of {size_pkts:>5}, of a million    {}; {total} in all", ppm.three(1));
        windows.push(json!({"window_pkts": size_pkts, "refused": total, "refused_ppm": ppm.json()}));
    }
    Some(json!({
        "case": case.name(), "packets": packets, "mpps": mpps.json(), "cpu_share": share.json(),
        "late_percent": late.json(), "behind_p50_pkts": p50.json(), "behind_p99_pkts": p99.json(),
        "behind_max_pkts": max.json(), "windows": windows,
    }))
}

/// Windows of a peer: the least that RFC 4303 allows and its default, a burst for each of two and of four workers, and what this
/// engine has itself. Units: packets.
const WINDOWS: [u32; 5] = [32, 64, 128, 256, 1024];
/// More than a worker sends. Units: packets a millisecond.
const MOST_PER_MS: usize = 40_000;
