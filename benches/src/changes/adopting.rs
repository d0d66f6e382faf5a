//! The two threads beside the workers: one writes changes at an even rate, as the bridge does, the other adopts them, as the
//! engine's control thread does, and knows when every worker uses them.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crypto::Crypto;
use dataplane::adopt::Adopter;
use dataplane::clock::boottime_ns;
use shm_protocol::ids::Generation;
use shm_protocol::live::LiveReader;
use shm_protocol::place::RuntimeDir;
use shm_protocol::sad::{SadWriter, Transaction};

use crate::memory::control::DEADLINE;
use crate::{Result, cpu};

/// A change that was written: its generation, and when writing it began.
pub type Written = (Generation, Instant);

/// Writes what `next` makes, one every `interval`, until `end`; says each to `told`, which also wakes the other thread.
///
/// # Errors
/// Those of the segment and of `next`.
pub fn write(
    writer: &mut SadWriter,
    interval: Duration,
    end: Instant,
    told: &Sender<Written>,
    mut next: impl FnMut() -> Result<Transaction>,
) -> Result<()> {
    let mut due = Instant::now();
    while due < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let changes = next()?;
        let start = Instant::now();
        let generation = writer.commit(&changes, DEADLINE)?;
        // Nobody listens any more once the window is over.
        let _ = told.send((generation, start));
        due += interval;
    }
    Ok(())
}

/// What adopting came to.
#[derive(Clone, Debug, Default)]
pub struct Adopted {
    /// From the start of the write until every worker used the change.
    pub took: Vec<Duration>,
    /// Changes that were not used when the workers ended, and how long they had waited.
    pub missed: Vec<Duration>,
    /// For as long the adopting thread had a CPU.
    pub cpu: Duration,
}

/// Adopts until `over`.
///
/// # Errors
/// A segment is missing.
pub fn adopt(
    adopter: &mut Adopter<Crypto>,
    dir: &Path,
    told: &Receiver<Written>,
    over: &AtomicBool,
) -> Result<Adopted> {
    let live = LiveReader::attach(&RuntimeDir::open(dir)?)?;
    let (mut adopted, mut waiting) = (Adopted::default(), VecDeque::<Written>::new());
    let on_cpu = cpu::thread_time()?;
    while !over.load(Ordering::Relaxed) {
        let more = adopter.step(boottime_ns()).more;
        adopter.heartbeat(boottime_ns());
        let reached = live.adopted_generation();
        while let Some((_, start)) = waiting.front().filter(|(generation, _)| *generation <= reached) {
            adopted.took.push(start.elapsed());
            waiting.pop_front();
        }
        let patience = match (more, waiting.is_empty()) {
            (true, _) => Duration::ZERO,
            (false, false) => A_BURST,
            (false, true) => CALM,
        };
        match told.recv_timeout(patience) {
            Ok(written) => waiting.push_back(written),
            Err(RecvTimeoutError::Timeout) => {}
            // Nothing is written any more.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(patience.min(A_BURST)),
        }
        waiting.extend(told.try_iter());
    }
    adopted.missed = waiting.iter().map(|(_, start)| start.elapsed()).collect();
    adopted.cpu = cpu::thread_time()?.saturating_sub(on_cpu);
    Ok(adopted)
}

/// About what a worker takes to come to its next burst.
const A_BURST: Duration = Duration::from_micros(20);
/// How often the engine's control thread looks when nothing wakes it.
const CALM: Duration = Duration::from_millis(10);
