//! A sample of what the engine sends, opened by code that is not ours: scapy's IPsec layer.
//!
//! The SA of this run ends after so many packets, so that the capture is short although the source never ends, and its
//! numbers cross 2^32, so that both halves of an extended sequence number are in it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use esp::aead::Algorithm;
use serde_json::{Value, json};

use crate::Result;
use crate::cpu::Cpus;
use crate::engine::{wait_for, with_measured_cpu};
use crate::gateway::Gateway;
use crate::peers::{NEIGHBOR, OWN, Peers};
use crate::reading::Ledger;
use crate::toml::{Keys, Setup};

/// Packets of a sample.
pub const PACKETS: u64 = 512;

/// Lets the engine seal [`PACKETS`] of the packets of `pcap` and has each opened.
///
/// # Errors
/// The engine sent another number of packets; one of them is not what it should be.
pub fn check(scratch: &Path, cpus: &Cpus, pcap: &Path) -> Result<()> {
    let sent = scratch.join("sent.pcap");
    let source = format!("net_pcap0,rx_pcap={},infinite_rx=1", pcap.display());
    let sink = format!("net_pcap1,tx_pcap={}", sent.display());
    let peers = Peers { count: 1 };
    let keys = Keys {
        seq: (1 << 32) - PACKETS / 2,
        packets: Some(PACKETS),
        ..Keys::random(peers, Algorithm::Aes128Gcm16)?
    };
    let setup = Setup { cpu: cpus.measured, source: &source, sink: &sink, peers, buffers: None };
    let start = || Gateway::start(scratch, 1, |dir| setup.render(dir));
    let mut gateway = with_measured_cpu(cpus, start)?;
    gateway.batch(&keys.batch())?;
    wait_for(&gateway, PACKETS)?;
    let ledger = Ledger::at_the_end(&gateway.stop_engine()?)?;
    if ledger.sent != PACKETS {
        bail!("{} packets were sent under an SA that ends after {PACKETS}", ledger.sent);
    }
    let job = json!({
        "sent": sent, "given": pcap, "key": keys.hex.first(), "spi": peers.spi(0),
        "first": keys.seq + 1, "packets": PACKETS, "src": OWN, "dst": NEIGHBOR,
    });
    let said = opened(&job)?;
    if said["opened"].as_u64() != Some(PACKETS) {
        bail!("scapy did not open every packet of the sample: {said}");
    }
    Ok(())
}

fn opened(job: &Value) -> Result<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("open_sample.py");
    let mut command = Command::new(PYTHON);
    command.arg(&script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{PYTHON}: run `make setup`"))?;
    child.stdin.take().context("stdin of python")?.write_all(job.to_string().as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}: {}", script.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("open_sample.py printed no JSON")
}

/// Debian's own, which has Debian's scapy.
const PYTHON: &str = "/usr/bin/python3";
