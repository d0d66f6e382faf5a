//! The table for a person and the file for a comparison.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::Result;
use crate::engine::Measured;
use crate::floor::Floor;
use crate::machine::Machine;
use crate::spread::Spread;

/// One line of the table: a packet length.
#[derive(Clone, Debug)]
pub struct Row {
    /// Units: octets of the inner IP packet.
    pub inner_octets: u16,
    /// The whole engine.
    pub engine: Measured,
    /// The AEAD alone.
    pub aead: Floor,
    /// The I/O alone. Units: nanoseconds a packet.
    pub io: Spread,
    /// The whole engine to AEAD and I/O, round by round: what disturbs the machine for a while disturbs all three.
    pub ratio: Spread,
    /// Packets opened by code that is not ours; none if that was left out.
    pub opened: Option<u64>,
}

impl Row {
    fn mpps(&self) -> Spread {
        self.engine.ns.map(|ns| 1e3 / ns)
    }

    fn gbits(&self) -> f64 {
        f64::from(self.inner_octets) * 8.0 / self.engine.ns.median()
    }

    fn json(&self) -> Value {
        let stages = self.engine.stages.iter().map(|(name, stage)| {
            let packets = stage.packets as f64;
            let per_call = packets / stage.calls.max(1) as f64;
            json!({"name": name, "tsc_per_packet": stage.cycles as f64 / packets, "packets_per_call": per_call})
        });
        let ledger = self.engine.ledger;
        json!({
            "inner_octets": self.inner_octets,
            "mpps": self.mpps().json(),
            "ns_per_packet": self.engine.ns.json(),
            "cpu_ns_per_packet": self.engine.cpu_ns.json(),
            "cpu_share": self.engine.share,
            "gbits_per_second_inner": self.gbits(),
            "aead": {"ns_per_packet": self.aead.ns.json(), "text_octets": self.aead.text_octets,
                     "method": self.aead.method.to_string()},
            "io_ns_per_packet": self.io.json(),
            "ratio": self.ratio.json(),
            "stages": stages.collect::<Vec<_>>(),
            "dropped_in_windows": self.engine.dropped,
            "ledger": {"received": ledger.received, "host_made": ledger.host_made, "sent": ledger.sent,
                       "punted": ledger.punted, "dropped": ledger.dropped},
            "sample_opened_by_scapy": self.opened,
        })
    }
}

/// Prints the table.
pub fn print(machine: &Machine, what: &str, rows: &[Row]) {
    println!("\n{what}\n{}, {}, {}", machine.cpu, machine.commit, machine.date);
    println!("min / median / max; Mpps and Gbit/s by the clock, ns by the time a thread had the core\n");
    line(["inner", "Mpps", "Gbit/s", "engine", "AEAD alone", "I/O alone", "engine to"].map(str::to_owned));
    line(
        ["octets", "", "inner", "ns a packet", "ns a packet", "ns a packet", "AEAD + I/O"].map(str::to_owned),
    );
    for row in rows {
        line([
            row.inner_octets.to_string(),
            three(&row.mpps(), 2),
            format!("{:.2}", row.gbits()),
            three(&row.engine.cpu_ns, 1),
            three(&row.aead.ns, 1),
            three(&row.io, 1),
            three(&row.ratio, 2),
        ]);
    }
    rows.iter().for_each(remarks);
}

fn line([octets, mpps, gbits, engine, aead, io, ratio]: [String; 7]) {
    println!("{octets:>6}  {mpps:>20}  {gbits:>6}  {engine:>22}  {aead:>22}  {io:>22}  {ratio:>18}");
}

fn three(spread: &Spread, digits: usize) -> String {
    format!("{:.digits$} / {:.digits$} / {:.digits$}", spread.min(), spread.median(), spread.max())
}

fn remarks(row: &Row) {
    let Row { inner_octets, engine, opened, .. } = row;
    println!("\n{inner_octets} octets:");
    let stages: Vec<_> = engine
        .stages
        .iter()
        .map(|(name, stage)| format!("{name} {:.0}", stage.cycles as f64 / stage.packets as f64))
        .collect();
    println!("  TSC ticks a packet by stage: {}", stages.join(", "));
    let ledger = engine.ledger;
    println!(
        "  received {} + host-made {} = sent {} + punted {} + dropped {}; dropped while measured: {}",
        ledger.received, ledger.host_made, ledger.sent, ledger.punted, ledger.dropped, engine.dropped
    );
    match opened {
        Some(opened) => println!("  {opened} packets of a run to a pcap were opened by scapy"),
        None => println!("  no sample was opened"),
    }
    if engine.share < FULL_SHARE {
        println!("  the worker had its core for {:.0} % of the time only", engine.share * 100.0);
    }
}

/// Writes the result file and returns where it is.
///
/// # Errors
/// Those of the file system.
pub fn write(folder: &Path, machine: &Machine, what: &str, rows: &[Row]) -> Result<PathBuf> {
    let crypto = rows.first().map(|row| row.engine.crypto.as_str()).unwrap_or_default();
    let result = json!({
        "what": what, "machine": machine.json(), "commit": machine.commit, "date": machine.date,
        "crypto": crypto, "rows": rows.iter().map(Row::json).collect::<Vec<_>>(),
    });
    std::fs::create_dir_all(folder)?;
    let path = folder.join(machine.file_name());
    std::fs::write(&path, format!("{result:#}\n"))?;
    Ok(path)
}

/// Below this the figure by the clock says more about the neighbours than about the engine.
const FULL_SHARE: f64 = 0.98;
