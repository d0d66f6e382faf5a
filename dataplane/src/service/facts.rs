//! What the service thread answers from: snapshots and counters; nothing here touches a worker.

use std::fmt::Write as _;
use std::sync::Arc;

use esp::DropReason;
use shm_protocol::messages::control::Ledger;
use shm_protocol::place::RuntimeDir;

use crate::control::View;
use crate::path::counters::{Account, Counters, Origin};
use crate::path::shared::WorkerShared;
use crate::ports::PortId;
use crate::worker::Pulse;

/// What the service thread and the metrics know.
pub struct Facts<K> {
    /// When the engine started.
    /// Units: nanoseconds of CLOCK_BOOTTIME.
    pub started_ns: u64,
    /// One line about the AEAD.
    pub crypto: String,
    /// Release of DPDK.
    pub dpdk: &'static str,
    /// The runtime directory.
    pub dir: RuntimeDir,
    /// The workers, in order.
    pub workers: Vec<WorkerFacts>,
    /// The ports, in order.
    pub ports: Vec<PortFacts>,
    /// What the control thread shows.
    pub view: Arc<View<K>>,
}

/// What is known of a worker.
pub struct WorkerFacts {
    /// The CPU it is pinned to.
    pub cpu: u16,
    /// How busy it is.
    pub pulse: Arc<Pulse>,
    /// What it counted.
    pub counters: Arc<dyn HasCounters>,
}

/// What is known of a port.
pub struct PortFacts {
    /// Its name.
    pub name: String,
    /// Control of the running port.
    pub port: dpdk::Port,
}

/// Something a worker counts in.
pub trait HasCounters: Send + Sync {
    /// Returns the counters.
    fn counters(&self) -> &Counters;
}

impl<B: Send> HasCounters for WorkerShared<B> {
    fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl<K> Facts<K> {
    /// Returns what became of all packets.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let all = (0..self.workers.len()).map(|worker| self.worker_ledger(worker));
        all.fold(Ledger::default(), sum)
    }

    /// Returns the ledger in one line, with every reason for which packets were dropped.
    #[must_use]
    pub fn account(&self) -> String {
        let Ledger { received, host_made, sent, punted, drops, .. } = self.ledger();
        let mut line = format!(
            "received {received} + host-made {host_made} = sent {sent} + punted {punted} + dropped {drops}"
        );
        for reason in DropReason::ALL {
            let packets: u64 = self.workers.iter().map(|worker| self.drops(worker, reason.index())).sum();
            if packets > 0 {
                let _ = write!(line, "; {} {packets}", reason.name());
            }
        }
        line
    }

    /// Returns what became of the packets one worker met.
    #[must_use]
    pub fn worker_ledger(&self, worker: usize) -> Ledger {
        let Some(worker) = self.workers.get(worker) else { return Ledger::default() };
        let counters = worker.counters.counters();
        let ports = (0..counters.ports()).map(|port| port_ledger(counters, port));
        ports.fold(part(counters.account(Origin::Tun), false), sum)
    }

    /// Returns what became of the packets that came by a port or its TAP.
    #[must_use]
    pub fn port_ledger(&self, port: usize) -> Ledger {
        let all = self.workers.iter().map(|worker| port_ledger(worker.counters.counters(), port));
        all.fold(Ledger::default(), sum)
    }

    /// Returns how often a worker dropped a packet for the reason at `index`.
    #[must_use]
    pub fn drops(&self, worker: &WorkerFacts, index: usize) -> u64 {
        let counters = worker.counters.counters();
        let ports = (0..counters.ports()).map(port_id);
        let origins = ports.flat_map(|port| [Origin::Port(port), Origin::Tap(port)]).chain([Origin::Tun]);
        origins
            .filter_map(|origin| counters.account(origin).drops.get(index))
            .map(|counter| counter.get())
            .sum()
    }
}

fn port_ledger(counters: &Counters, port: usize) -> Ledger {
    let port = port_id(port);
    sum(part(counters.account(Origin::Port(port)), true), part(counters.account(Origin::Tap(port)), false))
}

fn part(account: &Account, from_wire: bool) -> Ledger {
    let (entered, made) = (account.entered.get(), account.made.get());
    let (received, host) = if from_wire { (entered, 0) } else { (0, entered) };
    Ledger {
        received,
        host_made: host + made,
        engine_made: made,
        sent: account.sent.get(),
        punted: account.punted.get(),
        drops: account.drops.iter().map(|counter| counter.get()).sum(),
    }
}

fn sum(a: Ledger, b: Ledger) -> Ledger {
    Ledger {
        received: a.received + b.received,
        host_made: a.host_made + b.host_made,
        engine_made: a.engine_made + b.engine_made,
        sent: a.sent + b.sent,
        punted: a.punted + b.punted,
        drops: a.drops + b.drops,
    }
}

fn port_id(at: usize) -> PortId {
    PortId(u16::try_from(at).unwrap_or(u16::MAX))
}
