//! What was found: a line for each gateway, and the ratio of the two.

use anyhow::Context as _;
use serde_json::{Value, json};

use super::secgw::{Account, Measured};
use crate::Result;
use crate::engine;
use crate::floor::Floor;
use crate::rows::Row;
use crate::spread::Spread;

/// A row at a packet length.
#[derive(Clone, Debug)]
pub(super) struct Found {
    row: Row,
    /// Units: octets of the inner IP packet.
    inner_octets: u16,
    engine: engine::Measured,
    /// ipsec-secgw in each of its modes.
    secgws: Vec<Measured>,
    /// Which of them is held against the engine: that with the least time a packet, by the median.
    best: usize,
    /// The engine's rate to that one's, round by round.
    ratio: Spread,
    aead: Floor,
    /// Units: nanoseconds a packet.
    io: Spread,
}

impl Found {
    /// Holds the engine against the faster mode of ipsec-secgw. Errors: no round has both.
    pub(super) fn new(
        row: Row,
        inner_octets: u16,
        engine: engine::Measured,
        secgws: Vec<Measured>,
        aead: Floor,
        io: Spread,
    ) -> Result<Self> {
        let medians = secgws.iter().map(|secgw| secgw.cpu_ns.median()).enumerate();
        let (best, _) = medians.min_by(|(_, a), (_, b)| a.total_cmp(b)).context("no mode of ipsec-secgw")?;
        let ratio =
            ratio(&engine.each_ns, &secgws[best].each_ns).context("no round in which both had the core")?;
        Ok(Self { row, inner_octets, engine, secgws, best, ratio, aead, io })
    }

    fn print(&self) {
        let Self { row, inner_octets, engine, secgws, aead, io, .. } = self;
        println!(
            "\n{row}, {inner_octets} octets: AEAD alone {} ns, I/O alone {} ns",
            aead.ns.three(1),
            io.three(1)
        );
        line("engine", &engine.cpu_ns, engine.share);
        println!("    dropped in the windows {}", engine.dropped);
        for secgw in secgws {
            line(&format!("ipsec-secgw, {}", secgw.mode), &secgw.cpu_ns, secgw.share);
            let Account { received, sent } = secgw.account;
            println!(
                "    received {received}, sent {sent} in the windows, difference {}",
                received.abs_diff(sent)
            );
        }
        println!("  engine to ipsec-secgw, {:<12}  {}", secgws[self.best].mode.name(), self.ratio.three(2));
    }

    /// Returns the figures for a result file.
    pub(super) fn json(&self) -> Value {
        let mpps = |ns: &Spread| ns.map(|ns| 1e3 / ns).json();
        let secgws = self.secgws.iter().map(|secgw| {
            let Account { received, sent } = secgw.account;
            json!({"mode": secgw.mode.name(), "mpps": mpps(&secgw.cpu_ns), "cpu_ns_per_packet": secgw.cpu_ns.json(),
                   "cpu_share": secgw.share, "received_in_windows": received, "sent_in_windows": sent})
        });
        let engine = &self.engine;
        json!({
            "row": self.row.name(), "sas": self.row.sas(), "algorithm": self.row.algorithm().to_string(),
            "inner_octets": self.inner_octets,
            "engine": {"mpps": mpps(&engine.cpu_ns), "cpu_ns_per_packet": engine.cpu_ns.json(),
                       "cpu_share": engine.share, "dropped_in_windows": engine.dropped},
            "ipsec_secgw": secgws.collect::<Vec<_>>(),
            "ratio": self.ratio.json(), "ratio_to": self.secgws[self.best].mode.name(),
            "aead": {"ns_per_packet": self.aead.ns.json(), "method": self.aead.method.to_string()},
            "io_ns_per_packet": self.io.json(),
        })
    }
}

/// Prints everything. Rates are by the time a worker had its core.
pub(super) fn print(all: &[Found]) {
    println!("min / median / max of the rounds, by the time a worker had its core");
    all.iter().for_each(Found::print);
}

fn line(who: &str, cpu_ns: &Spread, share: f64) {
    let mpps = cpu_ns.map(|ns| 1e3 / ns);
    println!(
        "  {who:<24} {:>20} Mpps  {:>24} ns, its core for {:.0} %",
        mpps.three(2),
        cpu_ns.three(1),
        share * 100.0
    );
}

/// Returns how many packets the one makes in the time in which the other makes one, round by round; rounds in which one of them
/// hardly had its core are left out. Units: nanoseconds a packet.
fn ratio(one: &[Option<f64>], other: &[Option<f64>]) -> Option<Spread> {
    Spread::of(one.iter().zip(other).filter_map(|(one, other)| Some((*other)? / (*one)?)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_the_time_a_packet_is_twice_the_rate_and_each_round_counts_for_itself() {
        // The machine is slower by half in the second round, and one of them has no core in the third.
        let found = ratio(&[Some(50.0), Some(100.0), Some(50.0)], &[Some(100.0), Some(210.0), None]).unwrap();
        assert_eq!((found.min(), found.max()), (2.0, 2.1));
        assert!(ratio(&[None], &[Some(1.0)]).is_none());
    }
}
