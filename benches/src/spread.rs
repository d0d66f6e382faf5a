//! Several windows of one figure: the machine is shared, so one window says little.

use serde_json::{Value, json};

/// Minimum, median and maximum of at least one window.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    sorted: Vec<f64>,
}

impl Spread {
    /// Makes a spread; `None` without a window.
    #[must_use]
    pub fn of(mut windows: Vec<f64>) -> Option<Self> {
        windows.sort_by(f64::total_cmp);
        (!windows.is_empty()).then_some(Self { sorted: windows })
    }

    /// Returns the smallest.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.sorted.first().copied().unwrap_or(f64::NAN)
    }

    /// Returns the middle one, the upper of two.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.sorted.get(self.sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Returns the largest.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.sorted.last().copied().unwrap_or(f64::NAN)
    }

    /// Turns each window by `turn`, such as nanoseconds a packet into packets a second.
    #[must_use]
    pub fn map(&self, turn: impl Fn(f64) -> f64) -> Self {
        let mut sorted: Vec<f64> = self.sorted.iter().copied().map(turn).collect();
        sorted.sort_by(f64::total_cmp);
        Self { sorted }
    }

    /// Returns the three for a table.
    #[must_use]
    pub fn three(&self, digits: usize) -> String {
        format!("{:.digits$} / {:.digits$} / {:.digits$}", self.min(), self.median(), self.max())
    }

    /// Returns the figures for a result file.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({"min": round(self.min()), "median": round(self.median()), "max": round(self.max()),
               "windows": self.sorted.iter().copied().map(round).collect::<Vec<_>>()})
    }
}

/// Rounds to what a window can tell.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_orders_its_windows_and_keeps_them_when_turned_round() {
        let spread = Spread::of(vec![5.0, 1.0, 4.0]).unwrap();
        assert_eq!((spread.min(), spread.median(), spread.max()), (1.0, 4.0, 5.0));
        let turned = spread.map(|ns| 1.0 / ns);
        assert_eq!((turned.min(), turned.max()), (0.2, 1.0));
        assert_eq!(Spread::of(vec![]), None);
    }
}
