//! Counting: a scenario in a process of its own under callgrind.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::Counts;
use crate::Result;
use crate::memory::scenario::{PACKETS, Scenario};

/// Runs `program` with the arguments `run SCENARIO` and returns what a packet costs. The profile, which `callgrind_annotate`
/// reads, is left in `folder`.
///
/// # Errors
/// valgrind is missing, or the scenario failed.
pub fn count(program: &Path, scenario: Scenario, folder: &Path) -> Result<Counts> {
    let profile = folder.join(format!("{}.callgrind", scenario.name()));
    let output = Command::new("valgrind")
        .args(["--quiet", "--tool=callgrind", "--collect-bus=yes", "--toggle-collect=*counted_polls*"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args(["run", scenario.name()])
        .env("GLIBC_TUNABLES", SAME_LIBC)
        .output()
        .context("valgrind cannot be run: `make setup` installs it")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        // valgrind's own lines begin so, among them that it does not know `mlock2`, which is no harm.
        let said: Vec<_> = said.lines().filter(|line| !line.starts_with("--")).collect();
        bail!("{} under valgrind: {}", scenario.name(), said.join("\n"));
    }
    let text = std::fs::read_to_string(&profile).with_context(|| profile.display().to_string())?;
    counts(&text).with_context(|| format!("{} has no totals", profile.display()))
}

/// Every machine copies memory with the same instructions, whatever its processor has.
const SAME_LIBC: &str = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM";

/// Reads the totals of a profile: `Ir` are instructions, `Ge` locked ones.
fn counts(profile: &str) -> Option<Counts> {
    let field = |name: &str| profile.lines().find_map(|line| line.strip_prefix(name));
    let events = field("events:")?.split_whitespace();
    let totals = field("totals:")?.split_whitespace().map(|total| total.parse::<u64>().ok());
    let totals: Vec<_> = events.zip(totals).collect();
    let per_packet = |event: &str| {
        let (_, total) = totals.iter().find(|(name, _)| *name == event)?;
        #[allow(clippy::cast_precision_loss, reason = "a run has some million instructions")]
        Some((*total)? as f64 / PACKETS as f64)
    };
    // Totals end with the last event that happened.
    Some(Counts { instructions: per_packet("Ir")?, locked: per_packet("Ge").unwrap_or(0.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_told_by_the_names_of_the_events() {
        let found = counts("version: 1\nevents: Ge Ir\n\nfn=(1) f\n0 3\ntotals: 2048 8192\n");
        assert_eq!(found, Some(Counts { instructions: 2.0, locked: 0.5 }));
    }

    #[test]
    fn events_that_never_happened_may_be_left_out() {
        assert_eq!(counts("events: Ir Ge\ntotals: 4096\n"), Some(Counts { instructions: 1.0, locked: 0.0 }));
    }

    #[test]
    fn a_profile_without_totals_has_no_counts() {
        assert_eq!(counts("events: Ir\n"), None);
        assert_eq!(counts("events: Ir\ntotals:\n"), None);
    }
}
