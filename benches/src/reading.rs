//! What the engine says it has done: one look at `espctl workers`, and the account it gives when it ends.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::Result;
use crate::gateway::Gateway;

/// received + host-made = sent + punted + dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Packets taken from ports.
    pub received: u64,
    /// Packets of the host, or made by the engine.
    pub host_made: u64,
    /// Packets given to ports.
    pub sent: u64,
    /// Packets given to the host.
    pub punted: u64,
    /// Packets dropped, all reasons.
    pub dropped: u64,
}

impl Ledger {
    /// Reads the account the engine logs when it has stopped.
    ///
    /// # Errors
    /// There is none; it does not add up.
    pub fn at_the_end(said: &str) -> Result<Self> {
        let line = said.lines().rev().find_map(|line| line.split_once("ledger: ")).map(|(_, text)| text);
        let line = line.context("the engine logged no ledger when it ended")?;
        let ledger = Self::parse(line).with_context(|| format!("not a ledger: {line}"))?;
        let Self { received, host_made, sent, punted, dropped } = ledger;
        if received + host_made != sent + punted + dropped {
            bail!("the ledger does not add up: {line}");
        }
        Ok(ledger)
    }

    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split([' ', ',', ';']).collect();
        let after = |name: &str| {
            words.windows(2).find_map(|pair| (pair[0] == name).then(|| pair[1].parse().ok()).flatten())
        };
        Some(Self {
            received: after("received")?,
            host_made: after("host-made")?,
            sent: after("sent")?,
            punted: after("punted")?,
            dropped: after("dropped")?,
        })
    }
}

/// Cost of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// Bursts.
    pub calls: u64,
    /// Packets.
    pub packets: u64,
    /// Ticks of the time stamp counter.
    pub cycles: u64,
}

/// One look at a running engine.
#[derive(Clone, Debug)]
pub struct Reading {
    /// When.
    pub at: Instant,
    /// Packets given to ports.
    pub sent: u64,
    /// Packets dropped.
    pub dropped: u64,
    /// For how long the worker had its CPU.
    pub ran: Duration,
    /// Stages of the worker.
    pub stages: BTreeMap<String, Stage>,
    /// The stages' names in the order a packet meets them.
    pub order: Vec<String>,
}

impl Reading {
    /// Looks.
    ///
    /// # Errors
    /// Those of `espctl`; a figure is missing.
    pub fn take(gateway: &Gateway) -> Result<Self> {
        let before = Instant::now();
        let said = gateway.json("workers")?;
        let after = Instant::now();
        let ran = Duration::from_nanos(gateway.worker_cpu_ns()?.0);
        let ledger = said.get("ledger").context("espctl workers: no ledger")?;
        let figure = |value: &Value, name: &str| {
            value.get(name).and_then(Value::as_u64).with_context(|| format!("espctl workers: no {name}"))
        };
        let (mut stages, mut order) = (BTreeMap::new(), Vec::new());
        for stage in said.pointer("/workers/0/stages").and_then(Value::as_array).into_iter().flatten() {
            let name = stage.get("name").and_then(Value::as_str).context("a stage without name")?.to_owned();
            let stage = Stage {
                calls: figure(stage, "calls")?,
                packets: figure(stage, "packets")?,
                cycles: figure(stage, "cycles")?,
            };
            order.push(name.clone());
            stages.insert(name, stage);
        }
        Ok(Self {
            // The engine answers somewhere between the two.
            at: before + (after - before) / 2,
            sent: figure(ledger, "sent")?,
            dropped: figure(ledger, "drops")?,
            ran,
            stages,
            order,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_at_the_end_must_add_up() {
        let line = |sent| {
            format!(
                "INFO ledger: received 7 + host-made 1 = sent {sent} + punted 0 + dropped 3; replay 3\nINFO bye"
            )
        };
        let ledger = Ledger::at_the_end(&line(5)).unwrap();
        assert_eq!((ledger.received, ledger.host_made, ledger.sent, ledger.dropped), (7, 1, 5, 3));
        assert!(Ledger::at_the_end(&line(6)).unwrap_err().to_string().contains("does not add up"));
        assert!(Ledger::at_the_end("INFO bye").is_err());
    }
}
