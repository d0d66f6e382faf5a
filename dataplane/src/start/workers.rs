//! The workers at the start: each gets its queues, its AEAD engine, its end of the tables and its rings.

use std::sync::Arc;

use crypto::{Crypto, Key};
use dpdk::Mbuf;

use super::{Engine, Error, Share};
use crate::config::Config;
use crate::path::Path;
use crate::path::shared::WorkerShared;
use crate::ports::dpdk::DpdkPorts;
use crate::publish::Subscriber;
use crate::tables::Tables;
use crate::worker::{Poll, Worker, idle_by_default};

impl Engine {
    pub(super) fn start_workers(
        &mut self,
        config: &Config,
        crypto: &Crypto,
        queues: Vec<DpdkPorts>,
        subscribers: Vec<Subscriber<Tables<Key>>>,
        shares: &[Share],
    ) -> Result<(), Error> {
        let parts = queues.into_iter().zip(subscribers).zip(shares).zip(&config.engine.workers);
        for (index, (((ports, subscriber), share), cpu)) in parts.enumerate() {
            let aead = crypto.engine()?;
            let flows = usize::try_from(config.engine.flows.count()).unwrap_or(usize::MAX);
            let spray = config.engine.spray_inbound;
            let all: Vec<_> = shares.iter().map(|share| Arc::clone(&share.shared)).collect();
            let worker = Worker {
                index,
                cpu: *cpu,
                idle: config.engine.idle.unwrap_or_else(|| idle_by_default(*cpu)),
                eal: self.dpdk.eal,
                stop: Arc::clone(&self.stop),
                bell: Arc::clone(&self.bell),
                pulse: Arc::clone(&share.pulse),
            };
            let own = Arc::clone(&share.shared);
            let thread = worker.spawn(move || Polled {
                path: Path::new(index, ports, aead, subscriber, all, dpdk::tsc)
                    .with_flows(flows)
                    .with_spray(spray),
                own,
            });
            self.workers.push(thread.map_err(Error::Thread)?);
        }
        Ok(())
    }
}

/// A packet path and the rings it fills for the control thread.
struct Polled {
    path: Path<DpdkPorts, crypto::Engine>,
    own: Arc<WorkerShared<Mbuf>>,
}

impl Poll for Polled {
    #[inline]
    fn poll(&mut self, now_ns: u64) -> usize {
        self.path.poll(now_ns)
    }

    #[inline]
    fn waits_for_control(&self) -> bool {
        !self.own.host.punts.is_empty() || !self.own.notices.is_empty()
    }
}
