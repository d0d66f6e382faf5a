//! `bench changes`: what a worker forwards while SAs and policies change, and what it forwards while they do not.

pub mod adopting;
pub mod change;
pub mod site;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use crypto::{Choice, Crypto};
use dataplane::path::counters::Stage;
use serde_json::{Value, json};

use crate::counted::Counted;
use crate::machine::Machine;
use crate::memory::run::{self, Ran};
use crate::spread::Spread;
use crate::windows::Windows;
use crate::{Result, cpu, interrupt, result};
use adopting::Adopted;
use site::Site;

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Job {
    /// Road-warriors behind one if_id, each with an outbound SA and a policy for each direction
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(4096..=100_000))]
    peers: u32,
    /// Changes a second
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    #[command(flatten)]
    windows: Windows,
}

/// A window with changes, or without.
#[derive(Clone, Debug)]
struct Seen {
    ran: Ran,
    adopted: Adopted,
    counted: Counted,
}

/// Measures, prints and writes the result.
///
/// # Errors
/// Fewer than two CPUs; those of the segments and of the AEAD.
pub fn run(job: &Job) -> Result<()> {
    interrupt::listen()?;
    let (cpus, machine) = (cpu::Cpus::choose(None)?, Machine::current());
    let crypto = Arc::new(Crypto::new(Choice::Auto)?);
    let mut site = Site::new(&crypto, job.peers)?;
    let (mut number, length) = (0, job.windows.length());
    window(&mut site, &cpus, length / 4, None, &mut number)?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..job.windows.windows {
        for (rate, all) in [(None, &mut without), (Some(job.rate), &mut with)] {
            let window = || window(&mut site, &cpus, length, rate, &mut number);
            all.push(run::undisturbed(window, |seen| seen.ran.share())?);
        }
    }
    let drops = site.team.drops();
    site.team.close()?;
    let what = format!(
        "{} road-warriors behind one if_id ({} policies), packets of 64 octets to {} of them; worker on CPU {}, bridge and control \
         thread on {:?}; {} times {} ms without and {} ms with {} changes a second",
        job.peers,
        3 * job.peers,
        crate::traffic::FLOWS,
        cpus.measured,
        cpus.others,
        job.windows.windows,
        job.windows.window_ms,
        job.windows.window_ms,
        job.rate
    );
    println!("{what}\n{}, {}, {}, load {}", machine.cpu, machine.commit, machine.date, machine.load);
    let mut found = report(&without, &with).context("a window in which nothing was sent or changed")?;
    println!("dropped: {drops:?}");
    let drops: Vec<_> = drops.iter().map(|(reason, packets)| (reason.name(), packets)).collect();
    found["drops"] = json!(drops);
    found["crypto"] = json!(crypto.describe());
    println!("\n{}", result::write(&job.windows.folder("changes"), &machine, &what, found)?.display());
    Ok(())
}

/// Lets the worker run for `length` beside a control thread and a bridge, which writes `rate` changes a second or none.
fn window(
    site: &mut Site,
    cpus: &cpu::Cpus,
    length: Duration,
    rate: Option<u32>,
    number: &mut u32,
) -> Result<Seen> {
    let Site { team, records, deadline_ns } = site;
    let before = team.counted();
    let dir = team.control.dir().to_owned();
    let (workers, control) = team.parts();
    let (writer, adopter) = (&mut control.writer, &mut control.adopter);
    let (over, (tell, told)) = (AtomicBool::new(false), mpsc::channel());
    let end = Instant::now() + length.saturating_sub(LAST);
    let (ran, adopted) = std::thread::scope(|scope| {
        let others = &cpus.others;
        let bridge = rate.map(|rate| {
            scope.spawn(move || {
                cpu::pin(others)?;
                adopting::write(writer, Duration::from_secs(1) / rate, end, &tell, || {
                    let change = change::change(records, *number, *deadline_ns);
                    *number += 1;
                    change
                })
            })
        });
        let over = &over;
        let control = scope.spawn(move || {
            cpu::pin(others)?;
            adopting::adopt(adopter, &dir, &told, over)
        });
        let ran = run::window(workers, &[cpus.measured], length);
        over.store(true, Ordering::Relaxed);
        if let Some(bridge) = bridge {
            bridge.join().ok().context("the bridge panicked")??;
        }
        let adopted = control.join().ok().context("the control thread panicked")??;
        Ok::<_, anyhow::Error>((ran?.first().copied().context("a worker")?, adopted))
    })?;
    Ok(Seen { ran, adopted, counted: team.counted().since(&before) })
}

/// Returns what each stage took by the time stamp counter, in the order a packet meets them. Units: ticks a packet.
fn ticks(all: &[Seen]) -> Vec<(&'static str, f64)> {
    let mut sum = Counted::default();
    all.iter().for_each(|seen| sum.add(&seen.counted));
    let packets = sum.ledger.sent.max(1) as f64;
    let of = |stage: Stage| Some((stage.name(), sum.stages.get(stage.name())?.cycles as f64 / packets));
    Stage::ALL.into_iter().filter_map(of).filter(|(_, ticks)| *ticks >= 0.5).collect()
}

/// Prints both sides and returns them for the result file; `None` without a packet or a change.
fn report(without: &[Seen], with: &[Seen]) -> Option<Value> {
    let rate = |all: &[Seen]| Spread::of(all.iter().map(|seen| seen.ran.mpps()).collect());
    let (quiet, busy) = (rate(without)?, rate(with)?);
    let ratio = ratio(without, with)?;
    let of = |all: &[Seen], value: fn(&Seen) -> f64| Spread::of(all.iter().map(value).collect());
    let share = of(without, |seen| seen.ran.share())?.min().min(of(with, |seen| seen.ran.share())?.min());
    let control = of(with, |seen| seen.adopted.cpu.as_secs_f64() / seen.ran.wall.as_secs_f64() * 100.0)?;
    let changes = of(with, |seen| {
        let written_for = seen.ran.wall.saturating_sub(LAST);
        seen.adopted.took.len() as f64 / written_for.as_secs_f64()
    })?;
    let mut took: Vec<f64> = with.iter().flat_map(|seen| &seen.adopted.took).map(us).collect();
    let missed: Vec<f64> = with.iter().flat_map(|seen| &seen.adopted.missed).map(us).collect();
    // What was not used in time took at least as long as it had waited.
    took.extend(&missed);
    took.sort_by(f64::total_cmp);
    let at = |percent: usize| took.get((took.len() * percent).div_ceil(100).checked_sub(1)?).copied();
    let (p50, p99, max) = (at(50)?, at(99)?, at(100)?);
    println!(
        "min / median / max of the windows; the worker had its CPU for {:.1} % of each or more",
        share * 100.0
    );
    println!("  without changes, Mpps         {}", quiet.three(3));
    println!("  with changes, Mpps            {}", busy.three(3));
    println!("  with to without               {}", ratio.three(3));
    let ticks = [without, with].map(ticks);
    for (name, ticks) in ["without", "with"].into_iter().zip(&ticks) {
        let stages: Vec<_> = ticks.iter().map(|(stage, ticks)| format!("{stage} {ticks:.0}")).collect();
        println!("  {name:<7}, TSC ticks a packet  {}", stages.join(", "));
    }
    println!("  changes in use, a second      {}", changes.three(0));
    println!("  control thread's CPU, %       {}", control.three(1));
    println!(
        "  from write to use, us         p50 {p50:.0}, p99 {p99:.0}, max {max:.0}, of {} changes; {} were not used before the end",
        took.len(),
        missed.len()
    );
    Some(json!({
        "without_mpps": quiet.json(), "with_mpps": busy.json(), "with_to_without": ratio.json(), "cpu_share": share,
        "without_tsc_per_packet": ticks[0], "with_tsc_per_packet": ticks[1], "changes_per_second": changes.json(), "control_cpu_percent": control.json(),
        "adoption_us": {"changes": took.len(), "missed": missed.len(), "p50": p50, "p99": p99, "max": max},
    }))
}

/// Returns the rate with changes to that without, window by window.
fn ratio(without: &[Seen], with: &[Seen]) -> Option<Spread> {
    let pairs = without.iter().zip(with);
    Spread::of(pairs.map(|(without, with)| with.ran.mpps() / without.ran.mpps()).collect())
}

fn us(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Before the end of a window nothing is written for so long, so that what was can still come into use.
const LAST: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(sent: u64, took_us: &[u64], missed_us: &[u64]) -> Seen {
        let second = Duration::from_secs(1);
        let times = |us: &[u64]| us.iter().copied().map(Duration::from_micros).collect();
        let adopted = Adopted { took: times(took_us), missed: times(missed_us), cpu: second / 10 };
        let mut counted = Counted::default();
        counted.ledger.sent = sent;
        counted.stages.insert("known", crate::reading::Stage { calls: 1, packets: sent, cycles: 100 * sent });
        Seen { ran: Ran { sent, wall: second, cpu: second }, adopted, counted }
    }

    #[test]
    fn windows_are_compared_in_pairs_and_what_was_missed_counts_as_late() {
        // The machine is slower by half in the second pair, and the ratio does not show it.
        let without = [seen(4_000_000, &[], &[]), seen(2_000_000, &[], &[])];
        let with = [seen(3_800_000, &[10, 20, 30], &[20_000]), seen(1_900_000, &[40], &[])];
        let ratio = ratio(&without, &with).unwrap();
        assert_eq!((ratio.min(), ratio.max()), (0.95, 0.95));
        let found = report(&without, &with).unwrap();
        assert_eq!(
            found["adoption_us"],
            json!({"changes": 5, "missed": 1, "p50": 30.0, "p99": 20_000.0, "max": 20_000.0})
        );
        assert_eq!(found["with_tsc_per_packet"], json!([["known", 100.0]]));
        assert_eq!(found["changes_per_second"]["max"], 3.061);
    }
}
