//! Safe wrapper of the parts of DPDK the engine uses.
//!
//! [`Eal`] proves that DPDK is up; it stays up until the process ends, so a [`Mempool`] and the [`Mbuf`]s
//! taken from it never outlive their memory. A [`Device`] is probed, then started into one [`Port`] for control and
//! queues that are not `Clone`: each has one owner, and the port stops when the last of them is gone.
//! An [`Mbuf`] is one packet in one buffer, owned, freed exactly once.

mod burst;
mod eal;
mod error;
mod log;
mod mbuf;
mod mempool;
mod port;
mod prefetch;
mod thread;
mod time;

pub use burst::{Burst, MAX_BURST, free_burst};
pub use eal::{Eal, EalConfig, FilePrefix, Memory};
pub use error::{Errno, Error, Reason};
pub use log::{Level, Sink, silent, to_stderr};
pub use mbuf::{HEADROOM_OCTETS, Mbuf};
pub use mempool::{Mempool, MempoolConfig};
pub use port::{
    Device, Limits, Link, MacAddress, Port, PortConfig, PortStats, Received, RxQueue, Started, Steering,
    TxQueue,
};
pub use prefetch::{prefetch, prefetch_at, prefetch_part};
pub use thread::{Lcore, pin_thread};
pub use time::{tsc, tsc_hz};

/// Returns the version of the linked DPDK, such as `DPDK 22.11.11`.
#[must_use]
pub fn version() -> &'static str {
    // SAFETY: `rte_version` needs no initialisation and returns a NUL-terminated string that is never freed.
    let version = unsafe { std::ffi::CStr::from_ptr(dpdk_sys::rte_version()) };
    version.to_str().unwrap_or("DPDK")
}
