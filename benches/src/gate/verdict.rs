//! Verdicts: what grew, what shrank, and by how much it may.

use std::fmt;

use super::Counts;
use super::expected::{Found, Table};
use crate::memory::Scenario;

/// Growth that is allowed. Units: percent.
pub const ALLOWED: f64 = 3.0;
/// Growth that is allowed from one release of the compiler to another. Units: percent.
pub const ALLOWED_TO_COMPILER: f64 = 10.0;
/// A change of so little is none, whatever it is in percent: which flows meet in the flow table differs from run to run, and
/// one that goes the long way ends a run of packets. Units: instructions per packet.
const NOTHING: f64 = 0.01;

/// A figure that changed by more than is allowed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Name of the scenario.
    pub scenario: String,
    /// Name of the figure.
    pub figure: &'static str,
    /// What it was.
    pub from: f64,
    /// What it is.
    pub to: f64,
}

impl Change {
    fn of(scenario: &str, figure: &'static str, from: f64, to: f64, allowed: f64) -> Option<Self> {
        let limit = from * allowed / 100.0 + NOTHING;
        ((to - from).abs() > limit).then(|| Self { scenario: scenario.to_owned(), figure, from, to })
    }

    /// Whether it costs more now.
    #[must_use]
    pub fn is_growth(&self) -> bool {
        self.to > self.from
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, figure, from, to } = self;
        let verb = if self.is_growth() { "grew" } else { "shrank" };
        let (percent, decimals) = (100.0 * (to - from) / from, if *to < 10.0 { 4 } else { 1 });
        write!(
            f,
            "{scenario}: {figure} per packet {verb} from {from:.decimals$} to {to:.decimals$} ({percent:+.1} %)"
        )
    }
}

/// What came of a comparison.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// What changed by more than `allowed`.
    pub changes: Vec<Change>,
    /// Scenarios that have no counts, or counts that have no scenario.
    pub unmatched: Vec<String>,
    /// What was allowed. Units: percent.
    pub allowed: f64,
}

impl Verdict {
    /// Compares the counts of `release` with those that are written down.
    #[must_use]
    pub fn of(release: &str, counted: &Table, expected: &Found<'_>) -> Self {
        let allowed = if release == expected.release { ALLOWED } else { ALLOWED_TO_COMPILER };
        let mut verdict = Self { allowed, ..Self::default() };
        for (scenario, now) in counted {
            let Some(before) = expected.table.get(scenario) else {
                verdict.unmatched.push(scenario.clone());
                continue;
            };
            let figures = [
                ("instructions", before.instructions, now.instructions),
                ("locked instructions", before.locked, now.locked),
            ];
            let changes = figures.map(|(figure, from, to)| Change::of(scenario, figure, from, to, allowed));
            verdict.changes.extend(changes.into_iter().flatten());
        }
        let gone = expected.table.keys().filter(|scenario| !counted.contains_key(*scenario));
        verdict.unmatched.extend(gone.cloned());
        verdict
    }

    /// Whether the gate lets it pass: nothing costs more, and every scenario is written down.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.unmatched.is_empty() && !self.changes.iter().any(Change::is_growth)
    }
}

/// Returns what a packet costs more with two workers on one SA than with one: nothing, if all is well.
#[must_use]
pub fn workers(counted: &Table) -> Vec<Change> {
    let of = |scenario: Scenario| counted.get(scenario.name());
    let (Some(one), Some(two)) = (of(Scenario::Spread1Worker), of(Scenario::Spread2Workers)) else {
        return Vec::new();
    };
    let Counts { instructions, locked } = *two;
    let name = "two workers instead of one";
    let changes = [
        Change::of(name, "instructions", one.instructions, instructions, ALLOWED),
        Change::of(name, "locked instructions", one.locked, locked, ALLOWED),
    ];
    changes.into_iter().flatten().filter(Change::is_growth).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, f64, f64)]) -> Table {
        let row = |(name, instructions, locked): &(&str, f64, f64)| {
            ((*name).to_owned(), Counts { instructions: *instructions, locked: *locked })
        };
        rows.iter().map(row).collect()
    }

    fn verdict(now: &[(&str, f64, f64)], release: &str) -> Verdict {
        let before = table(&[("a", 500.0, 0.05), ("b", 100.0, 0.0)]);
        Verdict::of(release, &table(now), &Found { release: "1.95", table: &before })
    }

    #[test]
    fn three_percent_pass_and_more_does_not() {
        assert!(verdict(&[("a", 514.9, 0.05), ("b", 100.0, 0.0)], "1.95").passes());
        let grown = verdict(&[("a", 515.1, 0.05), ("b", 100.0, 0.0)], "1.95");
        assert!(!grown.passes());
        let said = grown.changes.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(said, ["a: instructions per packet grew from 500.0 to 515.1 (+3.0 %)"]);
    }

    #[test]
    fn a_shrink_is_said_and_passes() {
        let shrunk = verdict(&[("a", 400.0, 0.05), ("b", 100.0, 0.0)], "1.95");
        assert!(shrunk.passes());
        assert_eq!(
            shrunk.changes[0].to_string(),
            "a: instructions per packet shrank from 500.0 to 400.0 (-20.0 %)"
        );
    }

    #[test]
    fn one_more_locked_instruction_a_burst_is_growth() {
        let grown = verdict(&[("a", 500.0, 0.05), ("b", 100.0, 1.0 / 64.0)], "1.95");
        assert!(!grown.passes());
        assert_eq!((grown.changes.len(), grown.changes[0].figure), (1, "locked instructions"));
    }

    #[test]
    fn another_compiler_may_take_ten_percent_more() {
        assert!(verdict(&[("a", 549.0, 0.05), ("b", 100.0, 0.0)], "1.96").passes());
        assert!(!verdict(&[("a", 551.0, 0.05), ("b", 100.0, 0.0)], "1.96").passes());
    }

    #[test]
    fn a_scenario_without_counts_and_counts_without_a_scenario_fail() {
        let new = verdict(&[("a", 500.0, 0.05), ("b", 100.0, 0.0), ("c", 1.0, 0.0)], "1.95");
        assert_eq!((new.passes(), new.unmatched), (false, vec!["c".to_owned()]));
        let gone = verdict(&[("a", 500.0, 0.05)], "1.95");
        assert_eq!((gone.passes(), gone.unmatched), (false, vec!["b".to_owned()]));
    }

    #[test]
    fn a_second_worker_costs_nothing() {
        let spread = |two: f64, locked: f64| {
            workers(&table(&[("spread-1-worker", 500.0, 0.05), ("spread-2-workers", two, locked)]))
        };
        assert_eq!(spread(510.0, 0.05), []);
        assert_eq!(spread(520.0, 0.05).len(), 1);
        assert_eq!(spread(500.0, 0.1).len(), 1);
    }
}
