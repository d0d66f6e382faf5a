//! From a checked configuration to a running engine, and back: every step that changed the machine is undone.
//!
//! The order matters: the lock keeps a second engine off before anything is touched; kernel devices are silenced
//! before DPDK opens them; workers start when everything they read is there.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::queue::ArrayQueue;
use crypto::Crypto;
use dpdk::{Lcore, Mbuf};
use shm_protocol::lock::ServiceLock;

pub use error::Error;

use crate::adopt::Adopter;
use crate::bell::Bell;
use crate::clock::boottime_ns;
use crate::config::Config;
use crate::control::{Control, Order, Parts, View};
use crate::netdev::Prepared;
use crate::path::shared::WorkerShared;
use crate::publish;
use crate::service::{Facts, PortFacts, Reloader, Service, Wake, WorkerFacts};
use crate::tables::Tables;
use crate::worker::Pulse;
use eal::Dpdk;
use ground::Ground;

mod eal;
mod error;
mod ground;
mod hugepages;
mod ports;
mod workers;

/// A running engine.
pub struct Engine {
    stop: Arc<AtomicBool>,
    bell: Arc<Bell>,
    wake: Arc<Wake>,
    workers: Vec<JoinHandle<Result<(), dpdk::Error>>>,
    control: Option<JoinHandle<()>>,
    service: Vec<JoinHandle<()>>,
    facts: Arc<Facts<crypto::Key>>,
    dpdk: Dpdk,
    prepared: Vec<Prepared>,
    _lock: ServiceLock,
}

/// What the engine is started with.
pub struct Options {
    /// The configuration file, read again on reload.
    pub file: PathBuf,
    /// What it says.
    pub config: Config,
    /// The user's own EAL arguments.
    pub eal: Vec<OsString>,
}

impl Engine {
    /// Starts everything.
    ///
    /// # Errors
    /// [`Error`], one line; what was changed on the machine is undone.
    pub fn start(options: Options) -> Result<Self, Error> {
        let Options { file, config, eal } = options;
        let started_ns = boottime_ns();
        let ground = Ground::lay(&config, eal)?;
        let workers = config.engine.workers.len();
        let tables = Tables::new(ground.topology.clone());
        let (publisher, subscribers) = publish::channel(tables, workers);
        let view = Arc::new(View::new(publisher.newest()));
        let shares: Vec<Share> = (0..workers).map(|_| Share::new(config.ports.len())).collect();
        let common = Common::new()?;
        let Ground { dir, live, crypto, ports, devices, topology, prepared, dpdk, lock } = ground;
        let adopter = Adopter::new(dir.clone(), live, Arc::clone(&crypto), topology.clone(), publisher);
        let pool = dpdk.pool;
        let control = Control::new(Parts {
            adopter,
            workers: shares.iter().map(|share| Arc::clone(&share.shared)).collect(),
            taps: devices.taps,
            tuns: devices.tuns,
            neighbours: devices.neighbours,
            alloc: Box::new(move || pool.alloc()),
            mtu_octets: eal::largest_mtu(&config),
            dir: dir.clone(),
            view: Arc::clone(&view),
            orders: Arc::clone(&common.orders),
            bell: Arc::clone(&common.bell),
            stop: Arc::clone(&common.stop),
        });
        let control = control.map_err(Error::Control)?;
        let queues = crate::ports::dpdk::share_out(ports.queues, workers, pool);
        let facts = Arc::new(Facts {
            started_ns,
            crypto: crypto.describe(),
            dpdk: dpdk::version(),
            dir,
            workers: worker_facts(&config, &shares),
            ports: port_facts(&config, ports.ports),
            view,
        });
        let Common { stop, bell, wake, orders } = common;
        let (workers, control_thread, service) = (Vec::new(), None, Vec::new());
        let mut engine = Self {
            stop,
            bell,
            wake,
            workers,
            control: control_thread,
            service,
            facts,
            dpdk,
            prepared,
            _lock: lock,
        };
        engine.start_workers(&config, &crypto, queues, subscribers, &shares)?;
        engine.start_control(control)?;
        let bell = Arc::clone(&engine.bell);
        let listen = config.metrics;
        engine.start_service(Reloader { file, config, topology, macs: ports.macs, orders, bell }, listen)?;
        Ok(engine)
    }

    /// Returns what wakes the service thread.
    #[must_use]
    pub fn wake(&self) -> Arc<Wake> {
        Arc::clone(&self.wake)
    }

    /// Stops everything and undoes what was changed on the machine.
    ///
    /// # Errors
    /// What ended a worker before its time.
    pub fn stop(mut self) -> Result<(), Error> {
        let ended = self.halt();
        // Nothing is under way any more, so the account adds up exactly.
        tracing::info!("ledger: {}", self.facts.account());
        ended
    }

    fn start_control(&mut self, control: Control<Mbuf, Crypto>) -> Result<(), Error> {
        let eal = self.dpdk.eal;
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            // Without registration buffers come from the pool's shared ring, which is slower, not wrong.
            let _lcore = Lcore::register(eal);
            control.run();
        });
        self.control = Some(thread.map_err(Error::Thread)?);
        Ok(())
    }

    fn start_service(
        &mut self,
        reloader: Reloader,
        listen: Option<std::net::SocketAddr>,
    ) -> Result<(), Error> {
        let socket = crate::service::control_socket(self.facts.dir.path());
        let service = Service::new(Arc::clone(&self.facts), reloader, Arc::clone(&self.wake));
        let service = service.map_err(|cause| Error::Socket { path: socket, cause })?;
        if let Some(address) = listen {
            let thread = service.metrics().serve(address, Arc::clone(&self.wake));
            self.service.push(thread.map_err(|cause| Error::Metrics { address, cause })?);
        }
        self.service.push(service.spawn().map_err(Error::Thread)?);
        Ok(())
    }

    fn halt(&mut self) -> Result<(), Error> {
        self.wake.stop();
        self.stop.store(true, Ordering::SeqCst);
        self.bell.ring();
        let mut result = Ok(());
        for worker in self.workers.drain(..) {
            match worker.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => result = Err(Error::Dpdk(error)),
                Err(_) => result = Err(Error::WorkerPanicked),
            }
        }
        for thread in self.control.take().into_iter().chain(self.service.drain(..)) {
            let _ = thread.join();
        }
        self.prepared.clear();
        result
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // After `stop` there is nothing left to do; after a failed start everything is.
        let _ = self.halt();
    }
}

/// What one worker shares with the other threads.
struct Share {
    shared: Arc<WorkerShared<Mbuf>>,
    pulse: Arc<Pulse>,
}

impl Share {
    fn new(ports: usize) -> Self {
        Self { shared: WorkerShared::new(ports), pulse: Arc::default() }
    }
}

/// What all threads share.
struct Common {
    stop: Arc<AtomicBool>,
    bell: Arc<Bell>,
    wake: Arc<Wake>,
    orders: Arc<ArrayQueue<Order>>,
}

impl Common {
    fn new() -> Result<Self, Error> {
        Ok(Self {
            stop: Arc::default(),
            bell: Arc::new(Bell::new().map_err(Error::Control)?),
            wake: Arc::new(Wake::new().map_err(Error::Control)?),
            orders: Arc::new(ArrayQueue::new(4)),
        })
    }
}

fn worker_facts(config: &Config, shares: &[Share]) -> Vec<WorkerFacts> {
    let workers = config.engine.workers.iter().zip(shares);
    workers
        .map(|(cpu, share)| WorkerFacts {
            cpu: *cpu,
            pulse: Arc::clone(&share.pulse),
            counters: Arc::clone(&share.shared) as Arc<dyn crate::service::HasCounters>,
        })
        .collect()
}

fn port_facts(config: &Config, ports: Vec<dpdk::Port>) -> Vec<PortFacts> {
    let named = config.ports.iter().zip(ports);
    named.map(|(config, port)| PortFacts { name: config.name.to_string(), port }).collect()
}
