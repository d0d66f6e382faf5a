//! The I/O alone: `net_pcap infinite_rx -> net_null` with the addresses swapped and nothing else, on the measured core.
//!
//! DPDK starts once in a process and keeps its devices, so this runs in a process of its own: [`run`] is its body,
//! [`Alone`] starts it and asks it for one window after the other.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use dpdk::{Burst, Device, Eal, Mempool, MempoolConfig, PortConfig, RxQueue, TxQueue, free_burst};

use crate::Result;
use crate::asked::Asked;
use crate::cpu;
use crate::eal;
use crate::settings::Settings;

/// What the process is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct Job {
    /// The packets
    #[arg(long)]
    pub pcap: PathBuf,
    /// How many there are: the source keeps each in a buffer
    #[arg(long)]
    pub packets: u32,
    /// An empty directory, to mount huge pages on
    #[arg(long)]
    pub mount: PathBuf,
    /// The CPU to measure on
    #[arg(long)]
    pub cpu: u32,
}

impl Job {
    /// Makes it for the packets of a file.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new(settings: &Settings, pcap: &Path, packets: u32) -> Result<Self> {
        let mount = settings.folder("hugepages")?;
        Ok(Self { pcap: pcap.to_owned(), packets, mount, cpu: settings.cpu()? })
    }

    /// As many as the engine has with two ports and one worker, and those the source keeps.
    fn buffers(&self) -> u32 {
        let kept = if self.packets > FEW { self.packets } else { 0 };
        (BUFFERS + kept).next_power_of_two() - 1
    }

    fn memory_mib(&self) -> u32 {
        (self.buffers() / BUFFERS_PER_MIB).next_multiple_of(2) + OTHER_MIB
    }
}

/// The process that measures.
#[derive(Debug)]
pub struct Alone(Asked);

impl Alone {
    /// Starts it.
    ///
    /// # Errors
    /// No huge pages; the program cannot be started.
    pub fn start(job: &Job) -> Result<Self> {
        let (packets, cpu) = (job.packets.to_string(), job.cpu.to_string());
        let arguments: [(&str, &OsStr); 4] = [
            ("--pcap", job.pcap.as_ref()),
            ("--mount", job.mount.as_ref()),
            ("--packets", packets.as_ref()),
            ("--cpu", cpu.as_ref()),
        ];
        Ok(Self(Asked::start("io", &arguments, job.memory_mib())?))
    }

    /// Measures one window. Units: nanoseconds a packet.
    ///
    /// # Errors
    /// The process has ended; what it said stands on standard error.
    pub fn window(&mut self) -> Result<f64> {
        Ok(self.0.ask("")?.trim().parse()?)
    }
}

/// Measures a window for every line of standard input and prints its nanoseconds a packet.
///
/// # Errors
/// Those of DPDK and of the mount.
pub fn run(job: &Job) -> Result<()> {
    let (eal, lcore) = eal::start(&job.mount, job.memory_mib(), job.cpu)?;
    let answered = answer(eal, job);
    drop(lcore);
    eal.remove_runtime_dir()?;
    answered
}

fn answer(eal: Eal, job: &Job) -> Result<()> {
    let pool = Mempool::new(eal, &MempoolConfig::new("io", job.buffers()))?;
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
/// So many are kept among these.
const FEW: u32 = 8192;
/// Of 2048 octets, headroom and header.
const BUFFERS_PER_MIB: u32 = 400;
const OTHER_MIB: u32 = 64;
const BURSTS_PER_LOOK: u32 = 1024;
const WARM_UP: Duration = Duration::from_millis(20);
const WINDOW: Duration = Duration::from_millis(200);
