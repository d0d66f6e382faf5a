//! Numbered UDP between two namespaces: what was lost, doubled, reordered, and for how long nothing came.
//!
//! Sender and receiver are threads inside their namespaces. The sender keeps the average rate over the whole
//! flow; after a stall it catches up in bounded bursts. The receiver goes on until all came or nothing has
//! come for a while after the end.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use nix::sys::socket::{setsockopt, sockopt};

use crate::{Netns, Result, wait};

/// Octets that stand in every datagram, so that a capture can be searched for clear text.
pub const MARKER: &[u8; 16] = b"espalier-clear-!";

/// A flow of numbered datagrams.
#[derive(Debug, Clone)]
pub struct FlowSpec {
    /// Name in reports.
    pub label: String,
    /// Where the sender is.
    pub from: Netns,
    /// The sender's address.
    pub src: IpAddr,
    /// Where the receiver is.
    pub to: Netns,
    /// The receiver's address and port.
    pub dst: SocketAddr,
    /// Datagrams per second.
    pub pps: u32,
    /// UDP payload, at least 32. Units: octets.
    pub payload_octets: usize,
}

/// A flow that runs.
#[derive(Debug)]
pub struct Flow {
    spec: FlowSpec,
    shared: Arc<Shared>,
    sender: Option<JoinHandle<Result<Duration>>>,
    receiver: Option<JoinHandle<Result<Received>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    drained: AtomicBool,
    listening: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    refused: AtomicU64,
}

/// What became of a flow.
#[derive(Debug, Clone)]
pub struct FlowReport {
    /// Name of the flow.
    pub label: String,
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// Datagrams the sender's kernel refused; they carry no number.
    pub refused: u64,
    /// Different datagrams received.
    pub received: u64,
    /// Numbers sent and never received.
    pub lost: u64,
    /// Numbers of the first lost datagrams.
    pub first_lost: Vec<u64>,
    /// Datagrams received again.
    pub duplicated: u64,
    /// Datagrams that came after a higher number.
    pub reordered: u64,
    /// Datagrams of this port that belong to no flow of ours, or to another.
    pub foreign: u64,
    /// Longest time between two arrivals.
    pub longest_silence: Duration,
    /// Datagrams the receiving socket had no room for.
    pub socket_drops: u64,
    /// Average rate of the sender. Units: datagrams per second.
    pub pps: u64,
}

#[derive(Debug, Default)]
struct Received {
    bits: Vec<u64>,
    unique: u64,
    duplicated: u64,
    reordered: u64,
    foreign: u64,
    highest: Option<u64>,
    longest_silence: Duration,
    socket_drops: u64,
}

impl Flow {
    /// Starts receiver and sender; returns when the receiver listens and the sender has sent.
    pub fn start(spec: FlowSpec) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let receiver = std::thread::spawn({
            let (spec, shared) = (spec.clone(), Arc::clone(&shared));
            move || receive(&spec, &shared)
        });
        let listening = wait::until_true("the receiver to listen", wait::STEP, || {
            shared.listening.load(Ordering::Acquire) || receiver.is_finished()
        });
        if receiver.is_finished() {
            return Err(joined(receiver).err().unwrap_or_else(|| anyhow!("the receiver ended")));
        }
        listening?;
        let sender = std::thread::spawn({
            let (spec, shared) = (spec.clone(), Arc::clone(&shared));
            move || send(&spec, &shared)
        });
        Ok(Self { spec, shared, sender: Some(sender), receiver: Some(receiver) })
    }

    /// Returns how many different datagrams have been received so far.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// Returns how many datagrams have been sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Waits until `count` more datagrams have arrived than now: traffic flows.
    pub fn await_progress(&self, count: u64, deadline: Duration) -> Result<()> {
        progress([self], count, deadline)
    }

    /// Ends the sender, lets what is under way arrive, and reports.
    pub fn finish(mut self) -> Result<FlowReport> {
        self.stop();
        let took = joined(self.sender.take().context("the sender")?)?;
        self.shared.drained.store(true, Ordering::Release);
        let seen = joined(self.receiver.take().context("the receiver")?)?;
        let (spec, shared) = (&self.spec, &self.shared);
        let sent = shared.sent.load(Ordering::Relaxed);
        let first_lost: Vec<_> = (0..sent).filter(|n| !seen.has(*n)).take(16).collect();
        Ok(FlowReport {
            label: spec.label.clone(),
            sent,
            refused: shared.refused.load(Ordering::Relaxed),
            received: seen.unique,
            lost: sent.saturating_sub(seen.unique),
            first_lost,
            duplicated: seen.duplicated,
            reordered: seen.reordered,
            foreign: seen.foreign,
            longest_silence: seen.longest_silence,
            socket_drops: seen.socket_drops,
            pps: u64::try_from(u128::from(sent) * 1000 / took.as_millis().max(1))?,
        })
    }
}

impl Flow {
    fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }
}

impl Drop for Flow {
    /// A test that failed must not leave its traffic running.
    fn drop(&mut self) {
        self.stop();
        self.shared.drained.store(true, Ordering::Release);
    }
}

/// Waits until `count` more datagrams of every flow have arrived than now.
pub fn progress<'a>(flows: impl IntoIterator<Item = &'a Flow>, count: u64, deadline: Duration) -> Result<()> {
    let targets: Vec<_> = flows.into_iter().map(|flow| (flow, flow.received() + count)).collect();
    for (flow, target) in targets {
        wait::until_true(&format!("{}: {count} more datagrams", flow.spec.label), deadline, || {
            flow.received() >= target
        })?;
    }
    Ok(())
}

/// Ends all flows together and reports on each.
pub fn finish(flows: impl IntoIterator<Item = Flow>) -> Result<Vec<FlowReport>> {
    let flows: Vec<_> = flows.into_iter().collect();
    flows.iter().for_each(Flow::stop);
    flows.into_iter().map(Flow::finish).collect()
}

impl FlowReport {
    /// Reports whether every datagram arrived exactly once.
    pub fn is_perfect(&self) -> bool {
        self.lost == 0 && self.is_clean()
    }

    /// Reports whether what arrived was sent, and arrived once.
    pub fn is_clean(&self) -> bool {
        self.duplicated == 0 && self.foreign == 0
    }
}

fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a traffic thread panicked"))?
}

/// Longest burst after a stall: a quarter of the smallest receive buffer on the way.
const BURST: u64 = 32;

fn send(spec: &FlowSpec, shared: &Shared) -> Result<Duration> {
    spec.from.enter()?;
    let socket = UdpSocket::bind((spec.src, 0)).with_context(|| format!("bind {}", spec.src))?;
    setsockopt(&socket, sockopt::SndBufForce, &(8 << 20))?;
    let mut datagram = vec![0x5a_u8; spec.payload_octets.max(32)];
    datagram[..16].copy_from_slice(MARKER);
    datagram[16..24].copy_from_slice(&tag(spec).to_be_bytes());
    let started = Instant::now();
    let mut sent = 0_u64;
    while !shared.stop.load(Ordering::Acquire) {
        let elapsed_us = u64::try_from(started.elapsed().as_micros())?;
        let due = (elapsed_us * u64::from(spec.pps) / 1_000_000).min(sent + BURST);
        while sent < due {
            datagram[24..32].copy_from_slice(&sent.to_be_bytes());
            if socket.send_to(&datagram, spec.dst).is_err() {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                break;
            }
            sent += 1;
        }
        shared.sent.store(sent, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(700));
    }
    Ok(started.elapsed())
}

/// A flow's number, so that a datagram of another flow is noticed.
fn tag(spec: &FlowSpec) -> u64 {
    spec.label
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3))
}

/// After the sender's end: give up when nothing has come for this long.
const QUIET: Duration = Duration::from_millis(1500);

fn receive(spec: &FlowSpec, shared: &Shared) -> Result<Received> {
    spec.to.enter()?;
    let before = socket_drops()?;
    let socket = UdpSocket::bind(spec.dst).with_context(|| format!("bind {}", spec.dst))?;
    setsockopt(&socket, sockopt::RcvBufForce, &(32 << 20))?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    shared.listening.store(true, Ordering::Release);
    let wanted = tag(spec);
    let mut seen = Received::default();
    let mut datagram = [0_u8; 2048];
    let (mut last, mut ended) = (None::<Instant>, None::<Instant>);
    loop {
        match socket.recv(&mut datagram) {
            Ok(length) => {
                let now = Instant::now();
                if let (Some(before), None) = (last, ended) {
                    seen.longest_silence = seen.longest_silence.max(now - before);
                }
                last = Some(now);
                seen.take(datagram.get(..length).unwrap_or_default(), wanted);
                shared.received.store(seen.unique, Ordering::Relaxed);
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error.into()),
        }
        if shared.drained.load(Ordering::Acquire) {
            let since = ended.get_or_insert_with(Instant::now);
            let quiet = last.map_or(*since, |at| at.max(*since)).elapsed() > QUIET;
            if seen.unique >= shared.sent.load(Ordering::Relaxed) && since.elapsed() > QUIET / 5 || quiet {
                break;
            }
        }
    }
    seen.socket_drops = socket_drops()?.saturating_sub(before);
    Ok(seen)
}

impl Received {
    fn take(&mut self, datagram: &[u8], wanted: u64) {
        let number = |at: usize| -> Option<u64> {
            Some(u64::from_be_bytes(datagram.get(at..at + 8)?.try_into().ok()?))
        };
        let (true, Some(tag), Some(seq)) = (datagram.starts_with(MARKER), number(16), number(24)) else {
            self.foreign += 1;
            return;
        };
        let Ok(word) = usize::try_from(seq / 64) else { return };
        if tag != wanted || word > 1 << 24 {
            self.foreign += 1;
            return;
        }
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        if self.has(seq) {
            self.duplicated += 1;
            return;
        }
        self.bits[word] |= 1 << (seq % 64);
        self.unique += 1;
        self.reordered += u64::from(self.highest.is_some_and(|highest| seq < highest));
        self.highest = Some(self.highest.map_or(seq, |highest| highest.max(seq)));
    }

    fn has(&self, seq: u64) -> bool {
        let word = usize::try_from(seq / 64).ok().and_then(|at| self.bits.get(at));
        word.is_some_and(|word| word & (1 << (seq % 64)) != 0)
    }
}

/// Reads how many datagrams the sockets of this thread's namespace had no room for.
///
/// For a thread inside a namespace: see [`Netns::inside`].
pub fn socket_drops() -> Result<u64> {
    let v4 = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
    let v6 = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap_or_default();
    let mut lines = v4.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let v4 = names
        .split_whitespace()
        .zip(values.split_whitespace())
        .find(|(name, _)| *name == "RcvbufErrors")
        .and_then(|(_, value)| value.parse::<u64>().ok())
        .unwrap_or(0);
    let v6 = v6
        .lines()
        .find_map(|line| line.strip_prefix("Udp6RcvbufErrors"))
        .and_then(|value| value.trim().parse::<u64>().ok())
        .unwrap_or(0);
    Ok(v4 + v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(tag: u64, seq: u64) -> Vec<u8> {
        [&MARKER[..], &tag.to_be_bytes(), &seq.to_be_bytes()].concat()
    }

    #[test]
    fn a_second_copy_is_a_duplicate_and_a_late_one_reordered() {
        let mut seen = Received::default();
        for seq in [0, 2, 1, 2] {
            seen.take(&datagram(5, seq), 5);
        }
        seen.take(&datagram(6, 3), 5);
        seen.take(b"noise", 5);
        assert_eq!((seen.unique, seen.duplicated, seen.reordered, seen.foreign), (3, 1, 1, 2));
        assert!(seen.has(1) && !seen.has(3));
    }
}
