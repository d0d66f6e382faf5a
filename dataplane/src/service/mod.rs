//! The service thread: the control socket, lists and reloads, answered from snapshots and never by asking a worker.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use shm_protocol::messages::control::{EngineReply, EngineRequest};

pub use facts::{Facts, HasCounters, PortFacts, WorkerFacts};
pub use metrics::Metrics;
pub use reload::Reloader;

use crate::clock::boottime_ns;
use socket::Server;
use tunnels::Tunnels;

mod facts;
mod http;
mod lists;
mod metrics;
mod reload;
mod socket;
mod status;
mod tunnels;

/// What wakes and stops the service thread from outside.
#[derive(Debug)]
pub struct Wake {
    event: EventFd,
    reload: AtomicBool,
    stop: AtomicBool,
}

impl Wake {
    /// Makes one.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> nix::Result<Self> {
        let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { event, reload: AtomicBool::new(false), stop: AtomicBool::new(false) })
    }

    /// Asks for a reload, as SIGHUP does.
    pub fn reload(&self) {
        self.reload.store(true, Ordering::SeqCst);
        let _ = self.event.write(1);
    }

    /// Asks the threads to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.event.write(1);
    }

    /// Whether the threads are to end.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// See the module's text.
pub struct Service<K> {
    facts: Arc<Facts<K>>,
    tunnels: Arc<Mutex<Tunnels>>,
    reloader: Reloader,
    server: Server,
    wake: Arc<Wake>,
}

impl<K: Send + Sync + 'static> Service<K> {
    /// Makes the service thread's state; the socket exists from then on.
    ///
    /// # Errors
    /// What the system says of the socket.
    pub fn new(facts: Arc<Facts<K>>, reloader: Reloader, wake: Arc<Wake>) -> std::io::Result<Self> {
        let path = facts.dir.path().join(SOCKET);
        let server = Server::listen(&path)?;
        let tunnels = Arc::new(Mutex::new(Tunnels::new(facts.dir.clone())));
        Ok(Self { facts, tunnels, reloader, server, wake })
    }

    /// Returns what metrics are made from.
    #[must_use]
    pub fn metrics(&self) -> Metrics<K> {
        Metrics::new(Arc::clone(&self.facts), Arc::clone(&self.tunnels))
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// What the system says.
    pub fn spawn(mut self) -> std::io::Result<JoinHandle<()>> {
        std::thread::Builder::new().name("service".to_owned()).spawn(move || self.run())
    }

    fn run(&mut self) {
        while !self.wake.stopped() {
            let (woken, accept, ready) = self.wait();
            if woken {
                let _ = self.wake.event.read();
            }
            if self.wake.reload.swap(false, Ordering::SeqCst) {
                reload::log(&self.reloader.reload());
            }
            self.lock_tunnels().sample(&self.facts.view, boottime_ns());
            let (facts, tunnels, reloader) = (&self.facts, &self.tunnels, &mut self.reloader);
            self.server.serve(&ready, |request| answer(facts, tunnels, reloader, &request));
            if accept {
                self.server.accept();
            }
        }
    }

    fn lock_tunnels(&self) -> std::sync::MutexGuard<'_, Tunnels> {
        self.tunnels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits at most a second; returns whether it was woken, whether clients connect, and which ones ask.
    fn wait(&self) -> (bool, bool, Vec<usize>) {
        let sources = std::iter::once(self.wake.as_fd()).chain(self.server.sources());
        let mut files: Vec<PollFd<'_>> = sources.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        if poll(&mut files, PollTimeout::from(1000_u16)).is_err() {
            return (false, false, Vec::new());
        }
        let ready: Vec<bool> = files.iter().map(|file| file.any().unwrap_or(true)).collect();
        let clients = ready.iter().skip(2).enumerate().filter_map(|(at, ready)| ready.then_some(at));
        let at = |at: usize| ready.get(at).copied().unwrap_or(false);
        (at(0), at(1), clients.collect())
    }
}

fn answer<K>(
    facts: &Facts<K>,
    tunnels: &Mutex<Tunnels>,
    reloader: &mut Reloader,
    request: &EngineRequest,
) -> EngineReply {
    match request {
        EngineRequest::Status { cursor } => {
            let tunnels = tunnels.lock().unwrap_or_else(PoisonError::into_inner);
            status::status(facts, &tunnels, *cursor)
        }
        EngineRequest::Drops { cursor, all } => lists::drops(facts, *cursor, *all),
        EngineRequest::Workers { cursor } => lists::workers(facts, *cursor),
        EngineRequest::Ports { cursor } => lists::ports(facts, *cursor),
        EngineRequest::Reload => {
            let reply = reloader.reload();
            tunnels.lock().unwrap_or_else(PoisonError::into_inner).look_again();
            reply
        }
    }
}

/// Returns where the control socket of a runtime directory is.
#[must_use]
pub fn control_socket(dir: &Path) -> std::path::PathBuf {
    dir.join(SOCKET)
}

const SOCKET: &str = "control.sock";
