//! The gateway's TOML file: read whole, checked whole, and only then a [`Config`] whose every value can be used.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

pub use difference::{Difference, Restart};
pub use error::{CpuList, Error, Problem};
pub use types::{Buffers, Device, Flows, Mtu, NetdevName, SegmentSize, WindowPkts};

use crate::tables::topology::{Mac, Prefix, Unprotected};
use esp::IfId;

mod check;
mod difference;
mod error;
mod raw;
pub(crate) mod topology;
pub mod types;

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[engine]`.
    pub engine: Engine,
    /// `[crypto] backend`.
    pub backend: Backend,
    /// `[metrics] listen`; `None` serves no metrics.
    pub metrics: Option<SocketAddr>,
    /// `[[port]]`, in the file's order.
    pub ports: Vec<Port>,
    /// `[[interface]]`, in the file's order.
    pub interfaces: Vec<Interface>,
    /// `[[neighbor]]`.
    pub neighbours: Vec<Neighbour>,
    /// `[[route]]`.
    pub routes: Vec<Route>,
}

/// `[engine]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Directory of the segments and sockets.
    pub runtime_dir: PathBuf,
    /// CPUs of the workers, one each.
    pub workers: Vec<u16>,
    /// Whether packet memory lies in huge pages.
    pub hugepages: bool,
    /// Whether Linux owns addresses and neighbours on TAP and TUN devices.
    pub netdevs: bool,
    /// What a worker without packets does; `None` spins only on an isolated CPU.
    pub idle: Option<Idle>,
    /// Clear-to-clear forwarding.
    pub unprotected: Unprotected,
    /// Smallest inbound window.
    pub min_replay_window: WindowPkts,
    /// Packet buffers; `None` makes as many as ports and workers need.
    pub buffers: Option<Buffers>,
    /// Flows whose ways each worker remembers.
    pub flows: Flows,
    /// Whether workers open what another one receives.
    pub spray_inbound: bool,
}

/// What a worker without packets does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Sleeps at most 50 us at a time after 1 ms without packets.
    Sleep,
    /// Polls on.
    Spin,
}

/// Which AEAD implementation is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The fastest by measurement at start.
    #[default]
    Auto,
    /// The engine's own code for VAES and AVX-512.
    Vaes,
    /// The distribution's IPSec_MB.
    IpsecMb,
    /// RustCrypto.
    RustCrypto,
}

/// `[[port]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Name, also of the TAP.
    pub name: NetdevName,
    /// The DPDK device.
    pub device: Device,
    /// Largest IP packet.
    pub mtu: Mtu,
    /// The gateway's addresses.
    pub addresses: Vec<Prefix>,
}

/// `[[interface]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name, also of the TUN.
    pub name: NetdevName,
    /// What SAs and policies carry; never 0.
    pub if_id: IfId,
    /// Largest inner packet; `None` leaves it to the SA in use.
    pub mtu: Option<Mtu>,
    /// The gateway's addresses.
    pub addresses: Vec<Prefix>,
    /// Whether all workers seal with its SAs.
    pub spread: bool,
    /// TCP segment size to clamp to.
    pub mss_clamp: Option<SegmentSize>,
}

/// `[[neighbor]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The port it is on.
    pub port: NetdevName,
    /// Its address.
    pub ip: IpAddr,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// `[[route]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination, host bits clear.
    pub to: Prefix,
    /// Next hop; always there for a port, never for an interface.
    pub via: Option<IpAddr>,
    /// A port's or interface's name.
    pub dev: NetdevName,
}

impl Config {
    /// Reads and checks a file against this machine's CPUs.
    ///
    /// # Errors
    /// [`Error`]: the first thing wrong, with its line.
    pub fn load(file: &Path) -> Result<Self, Error> {
        let unreadable = |cause| Error::Unreadable { file: file.to_owned(), cause };
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        Self::parse(file, &text, &usable_cpus())
    }

    /// Checks the `text` of a file; `cpus` are those a worker may run on.
    ///
    /// # Errors
    /// [`Error`]: the first thing wrong, with its line.
    pub fn parse(file: &Path, text: &str, cpus: &CpuList) -> Result<Self, Error> {
        let raw = toml::from_str(text).map_err(|error| {
            let message = error.message().replace('\n', ", ").into();
            let offset = error.span().map_or(0, |span| span.start);
            Error::at(file, text, offset, Problem::Syntax { message })
        })?;
        check::Check { file, text, cpus }.file(raw)
    }

    /// Compares with a configuration that is to replace this one.
    #[must_use]
    pub fn difference(&self, new: &Self) -> Difference {
        Difference::between(self, new)
    }

    /// Returns the position of a port, which is its id.
    #[must_use]
    pub fn port_index(&self, name: &NetdevName) -> Option<usize> {
        self.ports.iter().position(|port| port.name == *name)
    }
}

/// Returns the CPUs this process might run on when it started; DPDK binds the threads to fewer later.
pub(crate) fn usable_cpus() -> CpuList {
    use nix::sched::{CpuSet, sched_getaffinity};
    static CPUS: std::sync::OnceLock<CpuList> = std::sync::OnceLock::new();
    let list = || {
        let set = sched_getaffinity(nix::unistd::Pid::from_raw(0)).unwrap_or_default();
        let cpus = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false));
        CpuList(cpus.filter_map(|cpu| u16::try_from(cpu).ok()).collect())
    };
    CPUS.get_or_init(list).clone()
}

#[cfg(test)]
mod tests;
