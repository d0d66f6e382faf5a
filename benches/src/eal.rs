//! DPDK in a process of the bench: once in a process, on huge pages of its own, out of everybody's way.

use std::path::Path;

use dpdk::{Eal, EalConfig, FilePrefix, Lcore, Memory, silent};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::Result;

/// Starts DPDK with `mib` MiB of huge pages, which are reserved and get mounted on the empty directory `at`; pins the calling
/// thread, the first of its process, to `cpu`.
///
/// # Errors
/// Those of the mount and of DPDK.
pub fn start(at: &Path, mib: u32, cpu: u32) -> Result<(Eal, Lcore)> {
    // Before any thread is made: DPDK reads the mounts of the first one. The mount ends with the process.
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("bench"), at, Some("hugetlbfs"), MsFlags::empty(), Some("pagesize=2M,mode=0700"))?;
    let mut config = EalConfig::new(FilePrefix::new(&format!("espalier-bench-{}", std::process::id()))?);
    config.memory = Memory::Huge { dir: Some(at.to_owned()), mib: Some(mib), unlink: true };
    config.telemetry = false;
    config.log = silent;
    let eal = Eal::init(&config)?;
    dpdk::pin_thread(eal, cpu)?;
    Ok((eal, Lcore::register(eal)?))
}
