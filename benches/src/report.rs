//! The table for a person and the file for a comparison.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::engine::Measured;
use crate::floor::Floor;
use crate::load::Loaded;
use crate::machine::Machine;
use crate::residence::Quantiles;
use crate::rows::Row;
use crate::spread::Spread;
use crate::{Result, result};

/// One line of the table: a row at a packet length.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Which row.
    pub row: Row,
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
    /// What the engine says of its AEAD.
    pub crypto: String,
    /// Packets opened by code that is not ours; none if that was left out.
    pub opened: Option<u64>,
    /// What it took to load the keys of the row, where that was measured.
    pub loaded: Option<Loaded>,
    /// How long packets stay at half of that rate, in memory, where that was measured.
    pub residence: Option<Quantiles>,
}

impl Figures {
    /// Makes them of what every row has.
    #[must_use]
    pub fn new(
        row: Row,
        inner_octets: u16,
        engine: Measured,
        aead: Floor,
        io: Spread,
        ratio: Spread,
    ) -> Self {
        let (crypto, opened, loaded, residence) = (String::new(), None, None, None);
        Self { row, inner_octets, engine, aead, io, ratio, crypto, opened, loaded, residence }
    }

    fn mpps(&self) -> Spread {
        self.engine.ns.map(|ns| 1e3 / ns)
    }

    fn gbits(&self) -> f64 {
        f64::from(self.inner_octets) * 8.0 / self.engine.ns.median()
    }

    fn json(&self, tsc_ghz: f64) -> Value {
        let stages = self.engine.stages.iter().map(|(name, stage)| {
            let packets = stage.packets as f64;
            let per_call = packets / stage.calls.max(1) as f64;
            json!({"name": name, "tsc_per_packet": stage.cycles as f64 / packets, "packets_per_call": per_call})
        });
        let ledger = self.engine.ledger;
        json!({
            "row": self.row.name(),
            "harness": self.row.harness(),
            "algorithm": self.row.algorithm().to_string(),
            "sas": self.row.sas(),
            "inner_octets": self.inner_octets,
            "mpps": self.mpps().json(),
            "ns_per_packet": self.engine.ns.json(),
            "cpu_ns_per_packet": self.engine.cpu_ns.json(),
            "tsc_per_packet": self.engine.cpu_ns.map(|ns| ns * tsc_ghz).json(),
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
            "load": self.loaded.map(|loaded| loaded.json()),
            "residence_at_half_load": self.residence.map(|quantiles| quantiles.json()),
        })
    }
}

/// Returns the whole engine to AEAD and I/O, round by round; rounds in which the engine hardly had its core are left out.
///
/// # Errors
/// No round has all three.
pub fn ratios(engine: &[Option<f64>], aead: &[f64], io: &[f64]) -> Result<Spread> {
    let rounds = engine.iter().zip(aead.iter().zip(io));
    let ratios = rounds.filter_map(|(engine, (aead, io))| Some((*engine)? / (aead + io)));
    Spread::of(ratios.collect()).context("no round had all three")
}

/// Everything a run has found.
#[derive(Clone, Debug)]
pub struct Report {
    /// Where and when.
    pub machine: Machine,
    /// What was measured, in a sentence.
    pub what: String,
    /// Speed of the time stamp counter. Units: ticks a nanosecond.
    pub tsc_ghz: f64,
    /// The table.
    pub figures: Vec<Figures>,
}

impl Report {
    /// Prints the table.
    pub fn print(&self) {
        let Machine { cpu, commit, date, .. } = &self.machine;
        println!("\n{}\n{cpu}, {commit}, {date}, TSC {:.3} GHz", self.what, self.tsc_ghz);
        println!(
            "min / median / max; Mpps and Gbit/s by the clock, ns and TSC by the time a thread had the core"
        );
        for row in Row::ALL {
            let figures: Vec<_> = self.figures.iter().filter(|figures| figures.row == row).collect();
            if !figures.is_empty() {
                self.print_row(row, &figures);
            }
        }
    }

    fn print_row(&self, row: Row, figures: &[&Figures]) {
        println!("\n{row}: {}, number of SAs {}, {}", row.algorithm(), row.sas(), row.harness());
        line(["inner", "Mpps", "Gbit/s", "engine", "TSC", "AEAD alone", "I/O alone", "engine to"]);
        line(["octets", "", "inner", "ns a packet", "median", "ns a packet", "ns a packet", "AEAD + I/O"]);
        for figures in figures {
            line([
                figures.inner_octets.to_string().as_str(),
                &figures.mpps().three(2),
                &format!("{:.2}", figures.gbits()),
                &figures.engine.cpu_ns.three(1),
                &format!("{:.0}", figures.engine.cpu_ns.median() * self.tsc_ghz),
                &figures.aead.ns.three(1),
                &figures.io.three(1),
                &figures.ratio.three(2),
            ]);
        }
        figures.iter().for_each(|figures| remarks(figures));
        if let Some(loaded) = figures.iter().find_map(|figures| figures.loaded) {
            load(&loaded);
        }
    }

    /// Writes the result file and returns where it is.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let crypto = self.figures.first().map(|figures| figures.crypto.as_str()).unwrap_or_default();
        let rows = self.figures.iter().map(|figures| figures.json(self.tsc_ghz));
        let found = json!({"tsc_ghz": self.tsc_ghz, "crypto": crypto, "rows": rows.collect::<Vec<_>>()});
        result::write(folder, &self.machine, &self.what, found)
    }
}

fn line([octets, mpps, gbits, engine, tsc, aead, io, ratio]: [&str; 8]) {
    println!(
        "{octets:>6}  {mpps:>20}  {gbits:>6}  {engine:>24}  {tsc:>6}  {aead:>22}  {io:>22}  {ratio:>18}"
    );
}

fn remarks(figures: &Figures) {
    let Figures { inner_octets, engine, opened, .. } = figures;
    let stages: Vec<_> = engine
        .stages
        .iter()
        .map(|(name, stage)| format!("{name} {:.0}", stage.cycles as f64 / stage.packets as f64))
        .collect();
    println!("  {inner_octets} octets, TSC ticks a packet by stage: {}", stages.join(", "));
    let ledger = engine.ledger;
    println!(
        "    received {} + host-made {} = sent {} + punted {} + dropped {}; dropped while measured: {}",
        ledger.received, ledger.host_made, ledger.sent, ledger.punted, ledger.dropped, engine.dropped
    );
    if let Some(opened) = opened {
        println!("    {opened} packets of a run to a pcap were opened by scapy");
    }
    if let Some(Quantiles { packets, offered_mpps, ns: [p50, p99, p999], max_ns }) = figures.residence {
        println!(
            "    at {offered_mpps:.2} Mpps, half of what it does in memory, {packets} packets stayed for {p50:.0} ns (p50), \
             {p99:.0} (p99), {p999:.0} (p99.9), {max_ns:.0} (max)"
        );
    }
    if engine.share < FULL_SHARE {
        println!("    the worker had its core for {:.0} % of the time only", engine.share * 100.0);
    }
}

fn load(loaded: &Loaded) {
    let mib = |octets: u64| octets as f64 / f64::from(1 << 20);
    println!(
        "  SAs and policies of {} pairs: loaded in {:.2} s, visible after {:.2} s; engine {:.0} MiB resident and {:.0} MiB of \
         huge pages before, {:.0} and {:.0} after: {:.0} octets a pair",
        loaded.pairs,
        loaded.loaded_in.as_secs_f64(),
        loaded.visible_after.as_secs_f64(),
        mib(loaded.before.resident),
        mib(loaded.before.hugetlb),
        mib(loaded.after.resident),
        mib(loaded.after.hugetlb),
        loaded.octets_per_pair()
    );
}

/// Below this the figure by the clock says more about the neighbours than about the engine.
const FULL_SHARE: f64 = 0.98;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ratio_is_taken_round_by_round() {
        let ratio = ratios(&[Some(100.0), None, Some(60.0)], &[30.0, 1.0, 20.0], &[20.0, 1.0, 10.0]).unwrap();
        assert_eq!((ratio.min(), ratio.max()), (2.0, 2.0));
        assert!(ratios(&[None], &[1.0], &[1.0]).is_err());
    }
}
