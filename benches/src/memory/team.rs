//! A gateway in memory whose workers run against the clock: the engine's AEAD, a thread a worker.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use crypto::Crypto;
use dataplane::path::Path;
use dataplane::path::counters::Origin;
use dataplane::path::shared::WorkerShared;
use dataplane::ports::PortId;
use dataplane::tables::topology::Topology;
use esp::DropReason;
use shm_protocol::policy::Policy;
use shm_protocol::sa::Sa;

use super::control::Control;
use super::line::{Line, Watch};
use super::pool;
use super::ports::Frame;
use super::run::{self, Ran, Worker};
use crate::Result;
use crate::counted::Counted;

/// See the module's text.
pub struct Team<W: Watch> {
    /// What writes and adopts SAs and policies.
    pub control: Control<Crypto>,
    workers: Vec<Worker<W>>,
    shared: Vec<Arc<WorkerShared<Frame>>>,
}

impl<W: Watch> Team<W> {
    /// Makes a gateway for at most `capacity` SAs with a worker for each of `watches`; nothing arrives yet.
    ///
    /// # Errors
    /// Those of the segments and of the AEAD.
    pub fn new(crypto: &Arc<Crypto>, topology: &Topology, capacity: u32, watches: Vec<W>) -> Result<Self> {
        let (control, tables) = Control::new(Arc::clone(crypto), topology, capacity, watches.len())?;
        let shared: Vec<_> = watches.iter().map(|_| WorkerShared::new(topology.ports.len())).collect();
        let caches = pool::caches(watches.len(), BUFFERS);
        let mut workers = Vec::with_capacity(watches.len());
        for (worker, ((watch, cache), tables)) in watches.into_iter().zip(caches).zip(tables).enumerate() {
            let (line, engine) = (Line::new(cache, watch), crypto.engine()?);
            workers.push(Path::new(worker, line, engine, tables, shared.clone(), dpdk::tsc));
        }
        Ok(Self { control, workers, shared })
    }

    /// Adds records and lets the workers take them up.
    ///
    /// # Errors
    /// Those of [`Control::install`].
    pub fn install(&mut self, (sas, policies): (Vec<Sa>, Vec<Policy>)) -> Result<()> {
        let Self { control, workers, .. } = self;
        control.install(&sas, &policies, |now_ns| {
            for worker in workers.iter_mut() {
                worker.poll(now_ns);
            }
        })
    }

    /// Returns the ports of each worker.
    pub fn lines(&mut self) -> impl Iterator<Item = &mut Line<W>> {
        self.workers.iter_mut().map(Path::ports_mut)
    }

    /// Returns the paths, and what adopts changes for them meanwhile.
    pub fn parts(&mut self) -> (&mut [Worker<W>], &mut Control<Crypto>) {
        (&mut self.workers, &mut self.control)
    }

    /// Lets a worker get only as much as `owner` takes up of what is handed to it.
    pub fn wait_for(&mut self, worker: usize, owner: usize) {
        if let (Some(worker), Some(owner)) = (self.workers.get_mut(worker), self.shared.get(owner)) {
            worker.ports_mut().wait_for(Arc::clone(owner));
        }
    }

    /// Lets all workers run for a window.
    ///
    /// # Errors
    /// Those of [`run::window`].
    pub fn window(&mut self, cpus: &[usize], limit: Duration) -> Result<Vec<Ran>> {
        run::window(&mut self.workers, cpus, limit)
    }

    /// Returns what all workers have counted so far.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        self.shared.iter().for_each(|shared| counted.add(&Counted::of(&shared.counters)));
        counted
    }

    /// Returns what was dropped so far, by reason.
    #[must_use]
    pub fn drops(&self) -> Vec<(DropReason, u64)> {
        let of = |reason: DropReason| -> u64 {
            let accounts = self.shared.iter().flat_map(|shared| {
                let counters = &shared.counters;
                let ports = (0..counters.ports()).filter_map(|port| u16::try_from(port).ok());
                ports.map(move |port| counters.account(Origin::Port(PortId(port))))
            });
            accounts.map(|account| account.drops_of(reason).get()).sum()
        };
        DropReason::ALL.iter().map(|reason| (*reason, of(*reason))).filter(|(_, drops)| *drops > 0).collect()
    }

    /// Ends it: what is on its way is finished, and the account has to add up to the packet.
    ///
    /// # Errors
    /// It does not.
    pub fn close(mut self) -> Result<Counted> {
        self.lines().for_each(Line::stop);
        let now_ns = dataplane::clock::boottime_ns();
        while self.workers.iter_mut().map(|worker| worker.poll(now_ns)).sum::<usize>() > 0 {}
        let counted = self.counted();
        let ledger = counted.ledger;
        let (came, went) = (ledger.received + ledger.host_made, ledger.sent + ledger.punted + ledger.dropped);
        ensure!(came == went, "the account does not add up: {ledger:?}");
        let sent: u64 = self.lines().map(|line| line.sent()).sum();
        ensure!(sent == ledger.sent, "{sent} packets were sent, and {} counted", ledger.sent);
        Ok(counted)
    }
}

/// Buffers for each worker: its cache's, those in its bursts and those in its ring.
const BUFFERS: usize = 4096;
