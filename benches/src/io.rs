//! The I/O alone: `net_pcap infinite_rx -> net_null` with the addresses swapped and nothing else, on the measured core.
//!
//! DPDK starts once in a process and keeps its devices, so this runs in a process of its own: [`run`] is its body,
//! [`measure`] starts it and reads what it prints.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use dpdk::{Burst, Device, Eal, EalConfig, FilePrefix, Lcore, Memory, Mempool, MempoolConfig, PortConfig};
use dpdk::{RxQueue, TxQueue, free_burst, silent};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use crate::Result;
use crate::cpu;
use crate::hugepages::Hugepages;
use crate::spread::Spread;

/// What the process is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Job {
    /// The packets
    #[arg(long)]
    pub pcap: PathBuf,
    /// An empty directory, to mount huge pages on
    #[arg(long)]
    pub mount: PathBuf,
    /// The CPU to measure on
    #[arg(long)]
    pub cpu: u32,
    /// How many windows
    #[arg(long)]
    pub windows: usize,
}

/// Measures in a process of its own. Units: nanoseconds a packet.
///
/// # Errors
/// No huge pages; what the process said when it failed.
pub fn measure(job: &Job) -> Result<Spread> {
    let _pages = Hugepages::take(u64::from(MEMORY_MIB))?;
    let output = Command::new(std::env::current_exe()?)
        .arg("io")
        .args([Path::new("--pcap"), &job.pcap, Path::new("--mount"), &job.mount])
        .args(["--cpu", &job.cpu.to_string(), "--windows", &job.windows.to_string()])
        .stdin(Stdio::null())
        .output()?;
    if !output.status.success() {
        bail!("I/O alone: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let said: Value = serde_json::from_slice(&output.stdout).context("I/O alone printed no figures")?;
    let windows = said["windows_ns"].as_array().into_iter().flatten().filter_map(Value::as_f64);
    Spread::of(windows.collect()).context("I/O alone has no window")
}

/// Measures and prints the windows as JSON.
///
/// # Errors
/// Those of DPDK and of the mount.
pub fn run(job: &Job) -> Result<()> {
    // Before any thread is made: DPDK reads the mounts of the first one. The mount ends with the process.
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    mount(Some("bench"), &job.mount, Some("hugetlbfs"), MsFlags::empty(), Some("pagesize=2M,mode=0700"))?;
    let mut config = EalConfig::new(FilePrefix::new(&format!("espalier-bench-{}", std::process::id()))?);
    config.memory = Memory::Huge { dir: Some(job.mount.clone()), mib: Some(MEMORY_MIB), unlink: true };
    config.telemetry = false;
    config.log = silent;
    let eal = Eal::init(&config)?;
    dpdk::pin_thread(eal, job.cpu)?;
    let lcore = Lcore::register(eal)?;
    let windows = windows(eal, job)?;
    drop(lcore);
    eal.remove_runtime_dir()?;
    println!("{}", json!({ "windows_ns": windows }));
    Ok(())
}

fn windows(eal: Eal, job: &Job) -> Result<Vec<f64>> {
    let pool = Mempool::new(eal, &MempoolConfig::new("io", BUFFERS))?;
    let source = format!("net_pcap0,rx_pcap={},infinite_rx=1", job.pcap.display());
    let mut source = Device::probe(eal, &source)?.start(&PortConfig::default(), &pool)?;
    let mut sink = Device::probe(eal, "net_null0,no-rx=1")?.start(&PortConfig::default(), &pool)?;
    let rx = source.rx.first_mut().context("net_pcap without a queue")?;
    let tx = sink.tx.first_mut().context("net_null without a queue")?;
    forward(rx, tx, WARM_UP)?;
    (0..job.windows).map(|_| forward(rx, tx, WINDOW)).collect()
}

/// Forwards for at least `time` on the CPU; returns nanoseconds a packet.
fn forward(rx: &mut RxQueue, tx: &mut TxQueue, time: Duration) -> Result<f64> {
    let start = cpu::thread_time()?;
    let mut packets = 0_u64;
    loop {
        for _ in 0..BURSTS_PER_LOOK {
            let mut burst = Burst::new();
            packets += u64::from(rx.rx_burst(&mut burst).pkts);
            for mbuf in &mut burst {
                if let Some((destination, source)) =
                    mbuf.data_mut().get_mut(..12).and_then(|macs| macs.split_at_mut_checked(6))
                {
                    destination.swap_with_slice(source);
                }
            }
            tx.tx_burst(&mut burst);
            free_burst(&mut burst);
        }
        let taken = cpu::thread_time()?.saturating_sub(start);
        if taken >= time {
            return Ok(taken.as_secs_f64() * 1e9 / packets.max(1) as f64);
        }
    }
}

/// As many as the engine has with two ports and one worker.
const BUFFERS: u32 = 32_767;
const MEMORY_MIB: u32 = 192;
const BURSTS_PER_LOOK: u32 = 1024;
const WARM_UP: Duration = Duration::from_millis(200);
const WINDOW: Duration = Duration::from_millis(200);
