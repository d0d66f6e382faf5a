//! The process that runs the path: DPDK starts once in a process. It does what it is asked, a line at a time.
//!
//! | line | does | answers |
//! |---|---|---|
//! | `size OCTETS` | takes another length; lets some packets through and compares them with what was put in | `checked` |
//! | `io` | ports alone | `ns` a packet |
//! | `engine MS` | fills and runs until it has run for so long | `packets`, `wall_s`, `cpu_s` |
//! | `account` | what the path has counted since `size` | ledger and stages |
//! | `residence NS` | offers a packet every so many nanoseconds | quantiles |

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use dpdk::{Mempool, MempoolConfig};
use serde_json::{Value, json};

use super::field::FRAMES;
use super::node::{Node, Run};
use super::ports::{LAN, WAN};
use super::records::Records;
use super::sealer::{FAR_MAC, OWN_MAC, Sealer};
use crate::counted::Counted;
use crate::peers::Peers;
use crate::residence::Residence;
use crate::rows::{Direction, Row};
use crate::traffic::{self, ETHERNET_OCTETS, HEADERS_OCTETS};
use crate::{Result, eal};

/// What the process is started with.
#[derive(Clone, Debug, clap::Args)]
pub struct Job {
    /// Which way, and by how many SAs
    #[arg(long)]
    pub row: Row,
    /// An empty directory on tmpfs, for the segments
    #[arg(long)]
    pub dir: PathBuf,
    /// An empty directory, to mount huge pages on
    #[arg(long)]
    pub mount: PathBuf,
    /// The CPU to measure on
    #[arg(long)]
    pub cpu: u32,
}

/// Huge pages of the process. Units: MiB.
pub const MEMORY_MIB: u32 = 192;

/// Does what standard input asks for.
///
/// # Errors
/// Those of DPDK, of the segments and of the AEAD; a packet came out wrong.
pub fn run(job: &Job) -> Result<()> {
    let (eal, lcore) = eal::start(&job.mount, MEMORY_MIB, job.cpu)?;
    let answered = Mempool::new(eal, &MempoolConfig::new("memory", BUFFERS))
        .map_err(anyhow::Error::from)
        .and_then(|pool| answer(job, pool));
    drop(lcore);
    eal.remove_runtime_dir()?;
    answered
}

fn answer(job: &Job, pool: Mempool) -> Result<()> {
    let mut bench = Bench::new(job, pool)?;
    println!("{}", json!({"crypto": bench.node.crypto().describe()}));
    for line in std::io::stdin().lines() {
        println!("{}", bench.serve(&line?)?);
    }
    Ok(())
}

/// Where frames come from.
enum Source {
    /// Sealed anew for each run.
    Sealed(Sealer),
    /// In clear: they may come again and again.
    Clear(Peers),
}

struct Bench {
    node: Node,
    source: Source,
    /// What was counted before the present length.
    before: Counted,
    /// What was counted while the engine's windows ran.
    measured: Counted,
}

impl Bench {
    fn new(job: &Job, pool: Mempool) -> Result<Self> {
        let (peers, direction) = (Peers { count: job.row.sas() }, job.row.direction());
        let arrives = match direction {
            Direction::Outbound => LAN,
            Direction::Inbound => WAN,
        };
        let mut node = Node::new(&job.dir, peers, pool, arrives)?;
        let seed = u64::from(std::process::id());
        let records = Records::with(job.row.algorithm(), peers, direction, seed);
        node.install(&job.dir, &records)?;
        let source = match direction {
            Direction::Outbound => Source::Clear(peers),
            Direction::Inbound => Source::Sealed(Sealer::new(node.crypto(), &records)?),
        };
        Ok(Self { node, source, before: Counted::default(), measured: Counted::default() })
    }

    fn serve(&mut self, line: &str) -> Result<Value> {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("size"), Some(octets)) => self.set_octets(octets.parse()?),
            (Some("io"), None) => {
                self.fill()?;
                let run = self.node.run_io_alone()?;
                Ok(json!({"ns": run.cpu.as_secs_f64() * 1e9 / run.packets.max(1) as f64}))
            }
            (Some("engine"), Some(ms)) => self.window(Duration::from_millis(ms.parse()?)),
            (Some("account"), None) => Ok(self.account().json(&self.measured)),
            (Some("residence"), Some(ns)) => self.residence(ns.parse()?),
            _ => bail!("not a line of this process: {line}"),
        }
    }

    fn set_octets(&mut self, octets: u16) -> Result<Value> {
        match &mut self.source {
            Source::Sealed(sealer) => sealer.set_octets(octets)?,
            Source::Clear(peers) => {
                let order = traffic::order(*peers);
                let field = &mut self.node.ports().field;
                field.shape(FRAMES, ETHERNET_OCTETS + usize::from(octets));
                for ((number, peer), frame) in (0..).zip(order.iter().cycle()).zip(field.frames_mut()) {
                    let number = number % u32::try_from(order.len())?;
                    let ip = traffic::outbound(number, *peer, *peers, octets);
                    frame.copy_from_slice(&[&OWN_MAC[..], &FAR_MAC, &[8, 0], &ip].concat());
                }
            }
        }
        self.before = Counted::of(&self.node.shared().counters);
        self.measured = Counted::default();
        self.fill()?;
        self.node.ports().kept = Vec::with_capacity(CHECKED);
        self.node.ports().offer(CHECKED);
        self.node.run(PATIENCE)?;
        let kept = std::mem::take(&mut self.node.ports().kept);
        if kept.len() != CHECKED {
            bail!("{} packets of {CHECKED} came through: {:?}", kept.len(), self.account());
        }
        if let Source::Sealed(sealer) = &self.source {
            for frame in &kept {
                delivered(sealer, frame).with_context(|| format!("a packet of {octets} octets"))?;
            }
        }
        Ok(json!({"checked": kept.len()}))
    }

    /// Makes the frames of the next run and offers them.
    fn fill(&mut self) -> Result<()> {
        if let Source::Sealed(sealer) = &mut self.source {
            sealer.fill(&mut self.node.ports().field, FRAMES)?;
        }
        self.node.ports().offer(FRAMES);
        Ok(())
    }

    fn window(&mut self, length: Duration) -> Result<Value> {
        let mut sum = Run::default();
        while sum.wall < length {
            self.fill()?;
            let before = Counted::of(&self.node.shared().counters);
            sum += self.node.run(length - sum.wall)?;
            self.measured.add(&Counted::of(&self.node.shared().counters).since(&before));
        }
        Ok(json!({"packets": sum.packets, "wall_s": sum.wall.as_secs_f64(), "cpu_s": sum.cpu.as_secs_f64()}))
    }

    fn account(&self) -> Counted {
        Counted::of(&self.node.shared().counters).since(&self.before)
    }

    fn residence(&mut self, ns: f64) -> Result<Value> {
        let ghz = dpdk::tsc_hz() as f64 / 1e9;
        self.node.ports().residence = Some(Residence::new(ns * ghz, SAMPLES));
        while !self.node.ports().residence.as_ref().is_none_or(Residence::is_full) {
            self.fill()?;
            self.node.run(PATIENCE)?;
        }
        let residence = self.node.ports().residence.take();
        let quantiles = residence.and_then(|residence| residence.quantiles(ghz));
        Ok(quantiles.context("stamps were mixed up")?.json())
    }
}

/// Compares a frame that was delivered with the inner packet that was sealed.
fn delivered(sealer: &Sealer, frame: &[u8]) -> Result<()> {
    let packet = frame.get(ETHERNET_OCTETS..).context("no packet")?;
    let tag = packet.get(usize::from(HEADERS_OCTETS)..).and_then(<[u8]>::first_chunk).context("no number")?;
    let given = sealer.inner(usize::try_from(u64::from_be_bytes(*tag))?)?;
    let (ttl, hops) = (given.get(8).copied(), packet.get(8).map(|ttl| ttl + 1));
    if packet.get(12..) != given.get(12..) || ttl != hops || frame.get(..6) != Some(&FAR_MAC) {
        bail!("not what was put in: {frame:02x?}");
    }
    Ok(())
}

/// As many as the engine has with two ports and one worker.
const BUFFERS: u32 = 32_767;
/// Packets that are compared at each length.
const CHECKED: usize = 4096;
/// Packets whose residence is kept.
const SAMPLES: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);
