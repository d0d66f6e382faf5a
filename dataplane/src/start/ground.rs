//! What the engine stands on: directory, lock, segment, AEAD, DPDK, ports and kernel devices.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crypto::{Choice, Crypto};
use shm_protocol::live::Live;
use shm_protocol::lock::{Service, ServiceLock};
use shm_protocol::place::RuntimeDir;

use super::Error;
use super::eal::{self, Dpdk};
use super::ports::{self, Ports};
use crate::config::{Backend, Config};
use crate::netdev::{self, Neighbours, Netdev, Netlink, Prepared};
use crate::tables::topology::{Mac, Topology};

/// See the module's text. Dropped without use, it undoes what was changed on the machine.
pub(super) struct Ground {
    pub(super) dir: RuntimeDir,
    pub(super) live: Arc<Live>,
    pub(super) crypto: Arc<Crypto>,
    pub(super) ports: Ports,
    pub(super) devices: Devices,
    pub(super) topology: Topology,
    pub(super) prepared: Vec<Prepared>,
    pub(super) dpdk: Dpdk,
    pub(super) lock: ServiceLock,
}

impl Ground {
    /// Lays it; the lock keeps a second engine off before anything is touched.
    pub(super) fn lay(config: &Config, eal: Vec<OsString>) -> Result<Self, Error> {
        let dir = RuntimeDir::prepare(&config.engine.runtime_dir)?;
        let lock = acquire(&dir)?;
        let live = Arc::new(Live::attach_or_create(&dir)?);
        let crypto = Arc::new(Crypto::new(choice(config.backend))?);
        tracing::info!("{}", crypto.describe());
        let mut netlink = Netlink::connect().map_err(netdev::Error::Netlink)?;
        let prepared = ports::prepare(&mut netlink, config)?;
        let dpdk = eal::start(config, dir.path(), eal)?;
        let ports = ports::start(config, &dpdk, &prepared)?;
        let devices = Devices::open(&mut netlink, config, &ports.macs)?;
        let topology = config.topology(&ports.macs, None);
        Ok(Self { dir, live, crypto, ports, devices, topology, prepared, dpdk, lock })
    }
}

/// Takes the engine's lock. A killed engine holds it until the kernel has taken its memory apart, so a refusal is
/// believed only when it lasts.
fn acquire(dir: &RuntimeDir) -> Result<ServiceLock, shm_protocol::Error> {
    let deadline = Instant::now() + DYING;
    loop {
        match ServiceLock::acquire(dir, Service::Engine) {
            Err(shm_protocol::Error::AlreadyServed { .. }) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            done => return done,
        }
    }
}

/// The kernel's side of ports and interfaces.
#[derive(Default)]
pub(super) struct Devices {
    pub(super) taps: Vec<Netdev>,
    pub(super) tuns: Vec<Option<Netdev>>,
    pub(super) neighbours: Option<Neighbours>,
}

impl Devices {
    fn open(netlink: &mut Netlink, config: &Config, macs: &[Mac]) -> Result<Self, netdev::Error> {
        if !config.engine.netdevs {
            return Ok(Self::default());
        }
        let taps = netdev::open_taps(netlink, config, macs)?;
        let mut tuns = Vec::with_capacity(config.interfaces.len());
        for interface in &config.interfaces {
            tuns.push(Some(netdev::open_tun(netlink, interface)?));
        }
        netdev::give_routes(netlink, config)?;
        Ok(Self { taps, tuns, neighbours: Some(Neighbours::follow()?) })
    }
}

fn choice(backend: Backend) -> Choice {
    match backend {
        Backend::Auto => Choice::Auto,
        Backend::Vaes => Choice::Vaes,
        Backend::IpsecMb => Choice::IpsecMb,
        Backend::RustCrypto => Choice::RustCrypto,
    }
}

/// Longer than the kernel needs to end a process.
const DYING: Duration = Duration::from_secs(1);
