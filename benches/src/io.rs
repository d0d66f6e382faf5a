//! The I/O alone: `net_pcap infinite_rx -> net_null` with the addresses swapped and nothing else, on the measured core.
//!
//! DPDK starts once in a process and keeps its devices, so this runs in a process of its own: [`run`] is its body,
//! [`Alone`] starts it and asks it for one window after the other.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use dpdk::{Burst, Device, Eal, EalConfig, FilePrefix, Lcore, Memory, Mempool, MempoolConfig, PortConfig};
use dpdk::{RxQueue, TxQueue, free_burst, silent};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::Result;
use crate::cpu;
use crate::hugepages::Hugepages;

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
}

/// The process that measures; it sleeps until it is asked and ends when this is dropped.
#[derive(Debug)]
pub struct Alone {
    child: Child,
    ask: Option<ChildStdin>,
    answer: BufReader<ChildStdout>,
    _pages: Hugepages,
}

impl Alone {
    /// Starts it.
    ///
    /// # Errors
    /// No huge pages; the program cannot be started.
    pub fn start(job: &Job) -> Result<Self> {
        let pages = Hugepages::take(u64::from(MEMORY_MIB))?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("io")
            .args([Path::new("--pcap"), &job.pcap, Path::new("--mount"), &job.mount])
            .args(["--cpu", &job.cpu.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ask = child.stdin.take();
        let answer = BufReader::new(child.stdout.take().context("stdout of the I/O alone")?);
        Ok(Self { child, ask, answer, _pages: pages })
    }

    /// Measures one window. Units: nanoseconds a packet.
    ///
    /// # Errors
    /// The process has ended; what it said stands on standard error.
    pub fn window(&mut self) -> Result<f64> {
        let ask = self.ask.as_mut().context("stdin of the I/O alone")?;
        writeln!(ask)?;
        let mut line = String::new();
        self.answer.read_line(&mut line)?;
        line.trim().parse().context("the I/O alone ended")
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.ask = None;
        let _ = self.child.wait();
    }
}

/// Measures a window for every line of standard input and prints its nanoseconds a packet.
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
    let answered = answer(eal, job);
    drop(lcore);
    eal.remove_runtime_dir()?;
    answered
}

fn answer(eal: Eal, job: &Job) -> Result<()> {
    let pool = Mempool::new(eal, &MempoolConfig::new("io", BUFFERS))?;
    let source = format!("net_pcap0,rx_pcap={},infinite_rx=1", job.pcap.display());
    let mut source = Device::probe(eal, &source)?.start(&PortConfig::default(), &pool)?;
    let mut sink = Device::probe(eal, "net_null0,no-rx=1")?.start(&PortConfig::default(), &pool)?;
    let rx = source.rx.first_mut().context("net_pcap without a queue")?;
    let tx = sink.tx.first_mut().context("net_null without a queue")?;
    for line in std::io::stdin().lines() {
        line?;
        forward(rx, tx, WARM_UP)?;
        println!("{}", forward(rx, tx, WINDOW)?);
    }
    Ok(())
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
const WARM_UP: Duration = Duration::from_millis(20);
const WINDOW: Duration = Duration::from_millis(200);
