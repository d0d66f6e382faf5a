//! A gateway in memory: segments in a directory of its own on tmpfs, an adopter, one path a worker.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use dataplane::adopt::Adopter;
use dataplane::path::Path;
use dataplane::path::counters::Stage;
use dataplane::path::shared::WorkerShared;
use dataplane::publish;
use dataplane::tables::Tables;
use shm_protocol::live::Live;
use shm_protocol::place::RuntimeDir;
use shm_protocol::policy::Policy;
use shm_protocol::sa::Sa;
use shm_protocol::sad::{SadWriter, Transaction};

use super::aead::{NullAead, NullKey, NullSchedule};
use super::ports::{Frame, Lists, PORTS};
use super::records::{self, Side};
use crate::Result;

/// One worker's path.
pub type Worker = Path<Lists, NullAead>;

/// See the module's text.
pub struct Gateway {
    /// Removed when the gateway goes.
    _dir: tempfile::TempDir,
    writer: SadWriter,
    adopter: Adopter<NullSchedule>,
    workers: Vec<Worker>,
    shared: Vec<Arc<WorkerShared<Frame>>>,
    now_ns: u64,
}

impl Gateway {
    /// Makes a gateway without SAs and policies.
    ///
    /// # Errors
    /// The segments cannot be made.
    pub fn new(side: Side, workers: usize, spread: bool) -> Result<Self> {
        let temp = tempfile::Builder::new().prefix("espalier-path-").tempdir_in(TMPFS)?;
        let dir = RuntimeDir::open(temp.path())?;
        let live = Arc::new(Live::attach_or_create(&dir)?);
        let mut writer = SadWriter::open(&dir, CAPACITY, DEADLINE)?;
        let mut instance = Transaction::new();
        instance.set_instance(live.instance());
        writer.commit(&instance, DEADLINE)?;
        let topology = records::topology(side, spread);
        let (publisher, subscribers) = publish::channel(Tables::new(topology.clone()), workers);
        let adopter = Adopter::new(dir, live, Arc::new(NullSchedule), topology, publisher);
        let shared: Vec<_> = (0..workers).map(|_| WorkerShared::new(PORTS)).collect();
        let workers = subscribers.into_iter().enumerate().map(|(worker, tables)| {
            Path::new(worker, Lists::default(), NullAead, tables, shared.clone(), || 0)
        });
        let workers = workers.collect();
        Ok(Self { _dir: temp, writer, adopter, workers, shared, now_ns: 1 << 30 })
    }

    /// Makes a gateway with the SAs and policies of its first `tunnels` tunnels.
    ///
    /// # Errors
    /// The segments cannot be made, or the engine did not take the records up.
    pub fn with_tunnels(side: Side, tunnels: u8, workers: usize, spread: bool) -> Result<Self> {
        let mut gateway = Self::new(side, workers, spread)?;
        let sas = (0..tunnels).map(|tunnel| records::sa(side, tunnel)).collect::<Result<Vec<_>>>()?;
        let policies =
            (0..tunnels).map(|tunnel| records::policy(side, tunnel)).collect::<Result<Vec<_>>>()?;
        gateway.install(&sas, &policies)?;
        Ok(gateway)
    }

    /// Adds records and lets the engine take them up.
    ///
    /// # Errors
    /// The segment cannot be written, or the engine did not take the records up.
    pub fn install(&mut self, sas: &[Sa], policies: &[Policy]) -> Result<()> {
        let tables = self.tables();
        let had = (tables.inbound.len() + tables.outbound.len(), tables.spd.iter().count());
        for sa in sas {
            let mut one = Transaction::new();
            self.writer.commit(one.put_sa(sa), DEADLINE)?;
        }
        for policy in policies {
            let mut one = Transaction::new();
            self.writer.commit(one.put_policy(policy), DEADLINE)?;
        }
        for _ in 0..STEPS {
            self.now_ns += STEP_NS;
            self.adopter.step(self.now_ns);
            self.poll();
        }
        let tables = self.tables();
        let has = (tables.inbound.len() + tables.outbound.len(), tables.spd.iter().count());
        ensure!(has == (had.0 + sas.len(), had.1 + policies.len()), "not every record was taken up: {has:?}");
        Ok(())
    }

    /// Returns what the workers read.
    #[must_use]
    pub fn tables(&self) -> Arc<Tables<NullKey>> {
        self.adopter.snapshot()
    }

    /// Lets frames arrive at a worker.
    pub fn offer(&mut self, worker: usize, port: usize, frames: impl IntoIterator<Item = Frame>) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.ports_mut().offer(port, frames);
        }
    }

    /// Polls each worker once; returns how many packets they took up.
    pub fn poll(&mut self) -> usize {
        let now_ns = self.now_ns;
        self.workers.iter_mut().map(|worker| worker.poll(now_ns)).sum()
    }

    /// Polls each worker `polls` times, in turns, to be counted; returns how many packets they took up.
    pub fn poll_counted(&mut self, polls: usize) -> usize {
        counted_polls(&mut self.workers, self.now_ns, polls)
    }

    /// Takes what all workers sent.
    #[must_use]
    pub fn take_sent(&mut self, port: usize) -> Vec<Frame> {
        self.workers.iter_mut().flat_map(|worker| worker.ports_mut().take_sent(port)).collect()
    }

    /// Returns how many packets went through a stage.
    #[must_use]
    pub fn packets_of(&self, stage: Stage) -> u64 {
        self.shared.iter().map(|shared| shared.counters.stage(stage).packets.get()).sum()
    }
}

/// What is counted, and nothing outside it; callgrind finds it by its name.
#[inline(never)]
fn counted_polls(workers: &mut [Worker], now_ns: u64, polls: usize) -> usize {
    let mut taken = 0;
    for _ in 0..polls {
        for worker in workers.iter_mut() {
            taken += worker.poll(now_ns);
        }
    }
    taken
}

/// The segments refuse any other kind of file system.
const TMPFS: &str = "/dev/shm";
/// SAs that the segment takes.
const CAPACITY: u32 = 128;
const DEADLINE: Duration = Duration::from_secs(20);
/// Steps after which the adopter has looked at the segment and taken up some thousand records.
const STEPS: usize = 16;
const STEP_NS: u64 = 100_000_000;
