//! Why the engine did not start or did not end well; one line each.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::netdev;

/// A failed start, or a worker that ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The runtime directory, its locks or its segments.
    #[error("{0}")]
    Segment(#[from] shm_protocol::Error),
    /// The AEAD.
    #[error("crypto.backend: {0}")]
    Crypto(#[from] crypto::Error),
    /// Kernel devices.
    #[error("{0}")]
    Netdev(#[from] netdev::Error),
    /// Huge pages.
    #[error("{0}")]
    Hugepages(#[from] super::hugepages::Error),
    /// DPDK as a whole.
    #[error("{0}")]
    Dpdk(#[from] dpdk::Error),
    /// A port.
    #[error("port {name}: {cause}")]
    Port {
        /// Its name.
        name: Box<str>,
        /// What DPDK said.
        cause: dpdk::Error,
    },
    /// What the control thread waits on.
    #[error("control thread: {0}")]
    Control(nix::Error),
    /// A thread.
    #[error("a thread cannot be started: {0}")]
    Thread(io::Error),
    /// The control socket.
    #[error("{}: {cause}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The metrics' address.
    #[error("metrics.listen {address}: {cause}; choose another address or bring its device up")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// A worker ended by a fault of its own.
    #[error("a worker panicked; the engine stops so that nothing leaves unprotected")]
    WorkerPanicked,
}
