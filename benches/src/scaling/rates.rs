//! Rates by case and number of workers, and what several workers do to what one does, window by window.

use serde_json::{Value, json};

use super::case::Case;
use crate::memory::run::{self, Ran};
use crate::spread::Spread;

/// The windows of a case with so many workers.
#[derive(Clone, Debug)]
struct Row {
    case: Case,
    workers: usize,
    windows: Vec<Vec<Ran>>,
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    rows: Vec<Row>,
}

impl Row {
    /// Returns the rate of all workers together, by window.
    fn totals(&self) -> Vec<f64> {
        self.windows.iter().map(|workers| workers.iter().map(Ran::mpps).sum()).collect()
    }

    fn of_worker(&self, worker: usize) -> Option<Spread> {
        Spread::of(self.windows.iter().filter_map(|workers| Some(workers.get(worker)?.mpps())).collect())
    }

    /// Returns the smallest part of a window in which a worker had its CPU.
    fn share(&self) -> f64 {
        self.windows.iter().map(|ran| run::share(ran)).fold(1.0, f64::min)
    }
}

impl Rates {
    /// Adds a window.
    pub fn add(&mut self, case: Case, workers: usize, ran: Vec<Ran>) {
        match self.rows.iter_mut().find(|row| (row.case, row.workers) == (case, workers)) {
            Some(row) => row.windows.push(ran),
            None => self.rows.push(Row { case, workers, windows: vec![ran] }),
        }
    }

    /// Returns the rate of a row to that of the same case with the first number of workers, window by window.
    fn ratio(&self, row: &Row) -> Option<Spread> {
        let first = self.rows.iter().find(|first| first.case == row.case)?;
        Spread::of(row.totals().iter().zip(first.totals()).map(|(more, one)| more / one).collect())
    }

    /// Prints the table.
    pub fn print(&self) {
        println!("Mpps and ratios: min / median / max");
        println!(
            "{:<10} {:>7}  {:>24}  {:>22}  {:>8}  each worker",
            "case", "workers", "Mpps", "to first", "CPU"
        );
        for row in &self.rows {
            let Some(total) = Spread::of(row.totals()) else { continue };
            let ratio = self.ratio(row).map_or_else(String::new, |ratio| ratio.three(2));
            let each: Vec<_> =
                (0..row.workers).filter_map(|worker| Some(row.of_worker(worker)?.three(2))).collect();
            println!(
                "{:<10} {:>7}  {:>24}  {ratio:>22}  {:>6.1} %  {}",
                row.case.name(),
                row.workers,
                total.three(2),
                row.share() * 100.0,
                each.join(", ")
            );
        }
    }

    /// Returns the rows for a result file.
    #[must_use]
    pub fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let each = (0..row.workers).filter_map(|worker| Some(row.of_worker(worker)?.json()));
            json!({
                "case": row.case.name(), "workers": row.workers, "cpu_share": row.share(),
                "mpps": Spread::of(row.totals()).map(|total| total.json()),
                "mpps_by_worker": each.collect::<Vec<_>>(),
                "ratio_to_first": self.ratio(row).map(|ratio| ratio.json()),
            })
        });
        rows.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn ran(sent: u64, cpu_ms: u64) -> Ran {
        Ran { sent, wall: Duration::from_secs(1), cpu: Duration::from_millis(cpu_ms) }
    }

    #[test]
    fn workers_add_up_and_are_compared_with_one_window_by_window() {
        let mut rates = Rates::default();
        // The machine is slower by half in the second window, and the ratio does not show it.
        for (one, two) in [(4_000_000, [3_000_000, 4_000_000]), (2_000_000, [1_500_000, 2_000_000])] {
            rates.add(Case::Spread, 1, vec![ran(one, 1000)]);
            rates.add(Case::Spread, 2, two.map(|sent| ran(sent, 900)).to_vec());
        }
        let row = &rates.rows[1];
        assert_eq!(row.totals(), [7.0, 3.5]);
        let ratio = rates.ratio(row).unwrap();
        assert_eq!((ratio.min(), ratio.max()), (1.75, 1.75));
        assert_eq!(row.of_worker(1).unwrap().max(), 4.0);
        assert!((row.share() - 0.9).abs() < 1e-9);
    }
}
