//! How a run is made, as the command line says.

use std::path::PathBuf;
use std::time::Duration;

use crate::cpu::Cpus;
use crate::scratch::Scratch;
use crate::{Result, traffic};

/// What the command line says of it.
#[derive(Clone, Debug, clap::Args)]
pub struct Wanted {
    /// Lengths of the inner IP packets, in octets
    #[arg(long, value_delimiter = ',', default_value = "64,512,1400")]
    pub sizes: Vec<u16>,
    /// Rounds in which everything is measured in turns; at least 5 make a result
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub windows: u16,
    /// Length of a window of the engine, in milliseconds
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub window_ms: u64,
    /// The CPU to measure on; the last one if not given
    #[arg(long)]
    pub cpu: Option<usize>,
}

impl Wanted {
    /// Makes settings of it.
    ///
    /// # Errors
    /// A length that packets cannot have; fewer than two CPUs.
    pub fn settings(&self, scratch: &Scratch, sample: bool) -> Result<Settings> {
        self.sizes.iter().try_for_each(|octets| traffic::check(*octets))?;
        Ok(Settings {
            cpus: Cpus::choose(self.cpu)?,
            scratch: scratch.path().to_owned(),
            sizes: self.sizes.clone(),
            rounds: self.windows,
            window: Duration::from_millis(self.window_ms),
            sample,
        })
    }
}

/// What every row is measured with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The CPU that is measured, and the others.
    pub cpus: Cpus,
    /// An empty directory on tmpfs.
    pub scratch: PathBuf,
    /// Lengths of inner packets. Units: octets.
    pub sizes: Vec<u16>,
    /// Rounds in which everything is measured in turns.
    pub rounds: u16,
    /// What a window of the engine takes.
    pub window: Duration,
    /// Whether scapy opens a sample.
    pub sample: bool,
}

impl Settings {
    /// Returns an empty directory of that name.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.scratch.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Returns the number of the measured CPU as DPDK takes it.
    ///
    /// # Errors
    /// It is none.
    pub fn cpu(&self) -> Result<u32> {
        Ok(u32::try_from(self.cpus.measured)?)
    }
}
