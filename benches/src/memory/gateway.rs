//! A gateway in memory whose path alone is counted: an AEAD and ports that do next to nothing, workers polled in turns.

use std::sync::Arc;

use dataplane::path::Path;
use dataplane::path::counters::Stage;
use dataplane::path::shared::WorkerShared;
use dataplane::tables::Tables;
use shm_protocol::policy::Policy;
use shm_protocol::sa::Sa;

use super::aead::{NullAead, NullKey, NullSchedule};
use super::control::Control;
use super::ports::{Frame, Lists, PORTS};
use super::records::{self, CAPACITY, Side};
use crate::Result;

/// One worker's path.
pub type Worker = Path<Lists, NullAead>;

/// See the module's text.
pub struct Gateway {
    control: Control<NullSchedule>,
    workers: Vec<Worker>,
    shared: Vec<Arc<WorkerShared<Frame>>>,
}

impl Gateway {
    /// Makes a gateway without SAs and policies.
    ///
    /// # Errors
    /// The segments cannot be made.
    pub fn new(side: Side, workers: usize, spread: bool) -> Result<Self> {
        let topology = records::topology(side, spread);
        let (control, tables) = Control::new(Arc::new(NullSchedule), &topology, CAPACITY, workers)?;
        let shared: Vec<_> = (0..workers).map(|_| WorkerShared::new(PORTS)).collect();
        let workers = tables.into_iter().enumerate().map(|(worker, tables)| {
            Path::new(worker, Lists::default(), NullAead, tables, shared.clone(), || 0)
        });
        let workers = workers.collect();
        Ok(Self { control, workers, shared })
    }

    /// Makes a gateway with the SAs and policies of its first `tunnels` tunnels.
    ///
    /// # Errors
    /// The segments cannot be made, or the engine did not take the records up.
    pub fn with_tunnels(side: Side, tunnels: u8, workers: usize, spread: bool) -> Result<Self> {
        let mut gateway = Self::new(side, workers, spread)?;
        let (sas, policies) = records::all(side, tunnels)?;
        gateway.install(&sas, &policies)?;
        Ok(gateway)
    }

    /// Adds records and lets the engine take them up.
    ///
    /// # Errors
    /// The segment cannot be written, or the engine did not take the records up.
    pub fn install(&mut self, sas: &[Sa], policies: &[Policy]) -> Result<()> {
        let Self { control, workers, .. } = self;
        control.install(sas, policies, |now_ns| {
            for worker in workers.iter_mut() {
                worker.poll(now_ns);
            }
        })
    }

    /// Returns what the workers read.
    #[must_use]
    pub fn tables(&self) -> Arc<Tables<NullKey>> {
        self.control.adopter.snapshot()
    }

    /// Lets frames arrive at a worker.
    pub fn offer(&mut self, worker: usize, port: usize, frames: impl IntoIterator<Item = Frame>) {
        if let Some(worker) = self.workers.get_mut(worker) {
            worker.ports_mut().offer(port, frames);
        }
    }

    /// Polls each worker once; returns how many packets they took up.
    pub fn poll(&mut self) -> usize {
        let now_ns = self.control.now_ns();
        self.workers.iter_mut().map(|worker| worker.poll(now_ns)).sum()
    }

    /// Polls each worker `polls` times, in turns, to be counted; returns how many packets they took up.
    pub fn poll_counted(&mut self, polls: usize) -> usize {
        counted_polls(&mut self.workers, self.control.now_ns(), polls)
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
