//! DPDK of this runtime directory: its name, its memory, its log.

use std::ffi::OsString;
use std::path::Path;

use dpdk::{Eal, EalConfig, FilePrefix, HEADROOM_OCTETS, Level, Memory, Mempool, MempoolConfig};

use super::Error;
use super::hugepages::Hugepages;
use crate::config::{Buffers, Config, Device};

/// DPDK, up, with a pool of packet buffers.
pub(super) struct Dpdk {
    pub(super) eal: Eal,
    pub(super) pool: Mempool,
    /// Given back when the engine ends.
    _hugepages: Option<Hugepages>,
}

impl Drop for Dpdk {
    fn drop(&mut self) {
        if let Err(error) = self.eal.remove_runtime_dir() {
            tracing::debug!("DPDK's directory stays: {error}");
        }
    }
}

/// Starts DPDK for a configuration; `extra` are the user's own EAL arguments.
pub(super) fn start(config: &Config, dir: &Path, extra: Vec<OsString>) -> Result<Dpdk, Error> {
    let pool = pool(config);
    let each = u64::from(pool.data_room_octets) + MBUF_OCTETS;
    // DPDK lays no buffer across two pages, and without huge pages a page holds one.
    let each = if config.engine.hugepages { each } else { each.next_multiple_of(PAGE_OCTETS) };
    let octets = u64::from(pool.buffers) * each + OTHER_OCTETS;
    let hugepages = match config.engine.hugepages {
        true => Some(Hugepages::take(dir, octets)?),
        false => None,
    };
    let mib = u32::try_from(octets.div_ceil(HUGE_PAGE_OCTETS) * 2).unwrap_or(u32::MAX);
    let mut eal = EalConfig::new(FilePrefix::new(&file_prefix(dir))?);
    eal.main_cpus = control_cpus(config);
    eal.memory = match &hugepages {
        Some(pages) => Memory::Huge { dir: Some(pages.dir().to_owned()), mib: Some(mib), unlink: true },
        None => Memory::Small { mib },
    };
    let is_pci = |device: &&Device| matches!(device, Device::Pci(_));
    let pci = config.ports.iter().map(|port| &port.device).filter(is_pci);
    eal.pci = pci.map(|device| device.devargs().to_owned()).collect();
    eal.log = log;
    eal.extra = extra;
    let eal = Eal::init(&eal)?;
    let pool = Mempool::new(eal, &pool)?;
    Ok(Dpdk { eal, pool, _hugepages: hugepages })
}

/// Buffers for every descriptor, ring and cache, or as many as the file says, of a size for the largest MTU.
fn pool(config: &Config) -> MempoolConfig {
    let parts = u32::try_from(config.ports.len() + config.engine.workers.len()).unwrap_or(u32::MAX);
    let needed = parts.saturating_mul(BUFFERS_EACH).clamp(MIN_BUFFERS, MAX_BUFFERS);
    let buffers = config.engine.buffers.map_or(needed, Buffers::count);
    let room = (largest_mtu(config) + FRAME_AND_TAIL_OCTETS).next_multiple_of(64).max(2048);
    MempoolConfig {
        buffers: buffers.next_power_of_two() - 1,
        data_room_octets: HEADROOM_OCTETS + room,
        ..MempoolConfig::new("espalier", MIN_BUFFERS)
    }
}

/// Returns the largest MTU of any device.
pub(super) fn largest_mtu(config: &Config) -> u16 {
    let ports = config.ports.iter().map(|port| port.mtu.octets());
    let interfaces = config.interfaces.iter().filter_map(|interface| interface.mtu).map(|mtu| mtu.octets());
    ports.chain(interfaces).max().unwrap_or(0).max(crate::config::Mtu::ETHERNET.octets())
}

/// Derives a name of its own from the runtime directory, so that two engines on one machine never meet.
fn file_prefix(dir: &Path) -> String {
    let octets = dir.as_os_str().as_encoded_bytes();
    // FNV-1a: short, stable over releases, and different for different directories.
    let hash = octets.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let name = dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(24);
    format!("espalier-{}-{hash:016x}", plain.collect::<String>())
}

/// The main thread and those it makes stay off the workers' CPUs where there are others.
fn control_cpus(config: &Config) -> Vec<u32> {
    let usable = crate::config::usable_cpus();
    let free = usable.0.iter().filter(|cpu| !config.engine.workers.contains(cpu));
    free.map(|cpu| u32::from(*cpu)).collect()
}

fn log(level: Level, line: &str) {
    match level {
        Level::Error => tracing::error!(target: "dpdk", "{line}"),
        Level::Warning => tracing::warn!(target: "dpdk", "{line}"),
        Level::Notice | Level::Info | Level::Debug => tracing::debug!(target: "dpdk", "{line}"),
    }
}

/// Descriptors of a queue both ways and the rings of a worker.
const BUFFERS_EACH: u32 = 8192;
const MIN_BUFFERS: u32 = 16_384;
const MAX_BUFFERS: u32 = 262_144;
/// Ethernet header with VLAN tag, ESP trailer, ICV and some room.
const FRAME_AND_TAIL_OCTETS: u16 = 18 + 64 + 128;
/// `struct rte_mbuf`, the pool's header and padding.
const MBUF_OCTETS: u64 = 128 + 128;
/// What DPDK needs besides the pool: rings, queues, tables.
const OTHER_OCTETS: u64 = 64 << 20;
const PAGE_OCTETS: u64 = 4096;
const HUGE_PAGE_OCTETS: u64 = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_runtime_directory_has_a_prefix_of_its_own() {
        let a = file_prefix(Path::new("/run/espalier"));
        assert!(a.starts_with("espalier-espalier-"), "{a}");
        assert_eq!(a, file_prefix(Path::new("/run/espalier")));
        assert_ne!(a, file_prefix(Path::new("/run/b/espalier")));
        let odd = file_prefix(Path::new(
            "/run/a name/that is/rather longer than any file prefix may ever be at all",
        ));
        assert!(FilePrefix::new(&odd).is_ok(), "{odd}");
    }
}
