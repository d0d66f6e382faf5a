//! Prints what adoption costs at scale: `adoption [PAIRS [one | own [full | load]]]`, 100 000 pairs of SAs by default, all
//! behind one `if_id` or each behind its own, every pair with a policy for each direction.
//!
//! First a full segment, from attach until a worker sees all of it, or a load while it goes on; then what the engine's
//! process holds, and what a look-up of a policy costs; then changes one at a time, each from the bridge's commit until
//! the worker sees it.

use std::error::Error;
use std::time::{Duration, Instant};

use crypto::{Choice, Crypto};
use dataplane::adopt::Adopter;
use dataplane::clock::boottime_ns;
use dataplane::publish;
use dataplane::tables::Tables;
use dataplane::tables::policy::Direction;
use dataplane::tables::sa::{Common, InboundSa, OutboundSa};
use dataplane::tables::spd::{Action, Policy};
use shm_protocol::live::Live;
use shm_protocol::place::RuntimeDir;
use shm_protocol::sad::{SadWriter, Transaction};

mod heap;
mod memory;
mod records;

use heap::Heap;
use memory::Memory;
use records::Site;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const DEADLINE: Duration = Duration::from_secs(20);
/// Changes of each kind.
const CHANGES: u32 = 2000;
/// Look-ups of a window, and windows.
const LOOK_UPS: u32 = 200_000;
const WINDOWS: usize = 9;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let pairs = words.first().map_or(Ok(100_000), |word| word.parse())?;
    let own = words.get(1).is_some_and(|word| word == "own");
    let site = Site { pairs, own };
    match (words.get(2).map(String::as_str), words.get(3)) {
        (Some("fill"), Some(dir)) => fill(&RuntimeDir::open(dir.as_ref())?, site),
        (Some("load"), _) => measure(site, true),
        _ => measure(site, false),
    }
}

/// Writes every record; in a process of its own, so that its memory is not counted as the engine's.
fn fill(dir: &RuntimeDir, site: Site) -> Result<()> {
    let mut writer = open(dir, site)?;
    let mut all = site.all().peekable();
    while all.peek().is_some() {
        let mut changes = Transaction::new();
        // A pair is five records, and a transaction holds 256.
        all.by_ref().take(50).for_each(|pair| pair.install(&mut changes));
        writer.commit(&changes, DEADLINE)?;
    }
    Ok(())
}

fn open(dir: &RuntimeDir, site: Site) -> Result<SadWriter> {
    Ok(SadWriter::open(dir, site.pairs * 2 + 1000, DEADLINE)?)
}

fn measure(site: Site, while_it_loads: bool) -> Result<()> {
    let temp = tempfile::Builder::new().prefix("espalier-adoption-").tempdir_in("/dev/shm")?;
    let dir = RuntimeDir::open(temp.path())?;
    let live = std::sync::Arc::new(Live::attach_or_create(&dir)?);
    let mut instance = Transaction::new();
    instance.set_instance(live.instance());
    open(&dir, site)?.commit(&instance, DEADLINE)?;
    let fill = || {
        std::process::Command::new(std::env::current_exe()?)
            .args([site.pairs.to_string().as_str(), if site.own { "own" } else { "one" }, "fill"])
            .arg(temp.path())
            .spawn()
    };
    if !while_it_loads && !fill()?.wait()?.success() {
        return Err("the segment was not filled".into());
    }
    let crypto = std::sync::Arc::new(Crypto::new(Choice::Auto)?);
    println!("{} pairs of SAs, {} policies, {}", site.pairs, 3 * site.pairs, crypto.describe());
    sizes();

    let (before, heap_before) = (Memory::now()?, Heap::now());
    let (publisher, mut workers) = publish::channel(Tables::new(site.topology()), 1);
    let mut adopter = Adopter::new(dir.clone(), live, crypto, site.topology(), publisher);
    let worker = workers.first_mut().ok_or("no worker")?;
    let mut longest = Duration::ZERO;
    let (start, cpu) = (Instant::now(), cpu_time()?);
    let filling = if while_it_loads { Some(fill()?) } else { None };
    while worker.current().1.spd.len() < site.pairs as usize * 3 {
        let step = Instant::now();
        adopter.step(boottime_ns());
        longest = longest.max(step.elapsed());
    }
    if filling.is_some_and(|mut filling| !filling.wait().is_ok_and(|status| status.success())) {
        return Err("the segment was not filled".into());
    }
    println!(
        "full segment: {:.3} s, {:.3} s of CPU time, longest step {longest:.1?}",
        start.elapsed().as_secs_f64(),
        (cpu_time()? - cpu).as_secs_f64()
    );
    Memory::now()?.print_since(&before, site.pairs);
    Heap::now().print_since(&heap_before, site.pairs);

    while adopter.step(boottime_ns()).more {
        let _ = worker.current();
    }
    look_ups(site, &adopter.snapshot())?;
    changes(&dir, site, &mut adopter, worker)
}

/// Changes one thing after the other.
fn changes(
    dir: &RuntimeDir,
    site: Site,
    adopter: &mut Adopter<Crypto>,
    worker: &mut publish::Subscriber<Tables<crypto::Key>>,
) -> Result<()> {
    let mut writer = open(dir, site)?;
    for kind in records::Kind::ALL {
        let mut times = Vec::new();
        for number in 0..CHANGES {
            let mut changes = Transaction::new();
            kind.change(site, number, &mut changes);
            writer.commit(&changes, DEADLINE)?;
            let start = Instant::now();
            loop {
                let adopted = adopter.step(boottime_ns());
                let _ = worker.current();
                if !adopted.published && !adopted.more {
                    break;
                }
            }
            times.push(start.elapsed());
        }
        spread(kind.name(), &mut times);
    }
    Ok(())
}

fn cpu_time() -> Result<Duration> {
    Ok(nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn sizes() {
    println!(
        "octets: Common {}, InboundSa {}, OutboundSa {}, Policy {}, Action {}, Selector {}, Outer {}, Key {}",
        size_of::<Common>(),
        size_of::<InboundSa<crypto::Key>>(),
        size_of::<OutboundSa<crypto::Key>>(),
        size_of::<Policy<crypto::Key>>(),
        size_of::<Action<crypto::Key>>(),
        size_of::<esp::Selector>(),
        size_of::<esp::encap::Outer>(),
        size_of::<crypto::Key>(),
    );
}

/// Looks policies of random pairs up.
fn look_ups(site: Site, tables: &Tables<crypto::Key>) -> Result<()> {
    let flows: Vec<_> =
        (0..LOOK_UPS).map(|at| site.flow(at.wrapping_mul(0x9e37_79b1) % site.pairs)).collect();
    let mut windows = Vec::new();
    for _ in 0..WINDOWS {
        let start = Instant::now();
        let found = flows.iter().filter(|(if_id, flow)| {
            let policy = tables.spd.lookup(*if_id, Direction::Out, flow);
            policy.is_some_and(|policy| matches!(&policy.action, Action::Protect(_, sas) if sas.len() == 1))
        });
        if found.count() != flows.len() {
            return Err("a flow without a policy or an SA".into());
        }
        windows.push(start.elapsed() / LOOK_UPS);
    }
    spread("look-up of a random policy", &mut windows);
    Ok(())
}

fn spread(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: usize| times.get((times.len() - 1) * share / 100).copied().unwrap_or_default();
    println!(
        "{what:<34} min {:>9.1?}  median {:>9.1?}  p99 {:>9.1?}  max {:>9.1?}",
        at(0),
        at(50),
        at(99),
        at(100)
    );
}
