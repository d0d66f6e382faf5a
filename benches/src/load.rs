//! Keys into a running gateway: how long that takes, how soon the engine has them, and what memory they need.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::{Value, json};

use crate::Result;
use crate::gateway::{Gateway, Memory};
use crate::interrupt;
use crate::toml::Keys;
use shm_protocol::live::LiveReader;
use shm_protocol::place::RuntimeDir;
use shm_protocol::sad::SadReader;

/// What it took to load the keys of a row.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// Pairs of SAs that were loaded.
    pub pairs: u32,
    /// Until `espctl -batch -` had ended: the bridge has written everything.
    pub loaded_in: Duration,
    /// Until the workers used everything, from the same start.
    pub visible_after: Duration,
    /// Memory of the engine before.
    pub before: Memory,
    /// Memory of the engine after.
    pub after: Memory,
}

impl Loaded {
    /// Loads keys into a gateway that has none.
    ///
    /// # Errors
    /// Those of `espctl`; the engine does not take them up.
    pub fn load(gateway: &Gateway, keys: &Keys) -> Result<Self> {
        let lines = keys.batch();
        let before = gateway.memory()?;
        let start = Instant::now();
        gateway.batch(&lines)?;
        let loaded_in = start.elapsed();
        settle(gateway)?;
        let visible_after = start.elapsed();
        let after = gateway.memory()?;
        Ok(Self { pairs: keys.peers.count, loaded_in, visible_after, before, after })
    }

    /// Returns by how much the engine grew for each pair of SAs and its policies. Units: octets.
    #[must_use]
    pub fn octets_per_pair(&self) -> f64 {
        let all = |memory: Memory| (memory.resident + memory.hugetlb) as f64;
        (all(self.after) - all(self.before)) / f64::from(self.pairs.max(1))
    }

    /// Returns the figures for a result file.
    #[must_use]
    pub fn json(&self) -> Value {
        let memory = |memory: Memory| json!({"resident": memory.resident, "hugetlb": memory.hugetlb});
        json!({"pairs": self.pairs, "loaded_in_s": self.loaded_in.as_secs_f64(),
               "visible_after_s": self.visible_after.as_secs_f64(), "octets_per_pair": self.octets_per_pair(),
               "engine_octets_before": memory(self.before), "engine_octets_after": memory(self.after)})
    }
}

/// Waits until the engine's workers use everything that the bridge has written.
///
/// # Errors
/// They do not.
pub fn settle(gateway: &Gateway) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    while !is_settled(gateway.dir())? {
        if Instant::now() > end {
            bail!("waited {} s for the engine to take keys up", PATIENCE.as_secs());
        }
        interrupt::sleep(STEP)?;
    }
    Ok(())
}

/// Whether the workers over a runtime directory use everything that stands in it.
///
/// # Errors
/// A segment is missing.
pub fn is_settled(dir: &Path) -> Result<bool> {
    let dir = RuntimeDir::open(dir)?;
    let wanted = SadReader::attach(&dir)?.generation();
    Ok(LiveReader::attach(&dir)?.adopted_generation() == wanted)
}

const PATIENCE: Duration = Duration::from_secs(240);
const STEP: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_pair_is_what_the_engine_grew_by_shared_out() {
        let memory = |resident| Memory { resident, hugetlb: 1 << 20 };
        let time = Duration::from_secs(1);
        let (before, after) = (memory(1000), memory(401_000));
        let loaded = Loaded { pairs: 100, loaded_in: time, visible_after: time, before, after };
        assert!((loaded.octets_per_pair() - 4000.0).abs() < 1e-9);
    }
}
