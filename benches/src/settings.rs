//! How a run is made, as the command line says.

use std::path::PathBuf;
use std::time::Duration;

use crate::Result;
use crate::cpu::Cpus;

/// What every row is measured with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The CPU that is measured, and the others.
    pub cpus: Cpus,
    /// An empty directory on tmpfs.
    pub scratch: PathBuf,
    /// Lengths of inner packets. Units: octets.
    pub sizes: Vec<u16>,
    /// Rounds of AEAD, I/O and engine.
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
