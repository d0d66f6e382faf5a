//! How often something is measured, and for how long, as the command line says.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::result;

/// See the module's text.
#[derive(Clone, Debug, clap::Args)]
pub struct Windows {
    /// Windows of each; at least 5 make a result
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub windows: u16,
    /// Length of a window, in milliseconds
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(10..=60_000))]
    pub window_ms: u64,
    /// The folder for the result file, if not the one of this tree
    #[arg(long)]
    results: Option<PathBuf>,
}

impl Windows {
    /// Returns what a window takes.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_millis(self.window_ms)
    }

    /// Returns the folder for results of a kind.
    #[must_use]
    pub fn folder(&self, kind: &str) -> PathBuf {
        self.results.clone().unwrap_or_else(|| Path::new(result::FOLDER).join(kind))
    }
}
