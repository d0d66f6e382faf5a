//! Huge pages for the parts that run without the engine; the engine takes and gives back its own.

use std::fs;

use anyhow::{Context, bail};

use crate::Result;

/// Pages of 2 MB reserved by this run; given back when dropped.
#[derive(Debug)]
pub struct Hugepages {
    pages: u64,
}

impl Hugepages {
    /// Reserves pages for `mib` MiB.
    ///
    /// # Errors
    /// Not root, or too little free memory in one piece.
    pub fn take(mib: u64) -> Result<Self> {
        let pages = mib.div_ceil(2);
        let before = count()?;
        set(before + pages)?;
        let taken = Self { pages: count()?.saturating_sub(before) };
        if taken.pages < pages {
            bail!("the kernel found {} of {pages} huge pages of 2 MB: free memory", taken.pages);
        }
        Ok(taken)
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        let _ = count().and_then(|now| set(now.saturating_sub(self.pages)));
    }
}

/// Returns how many are reserved on this machine.
///
/// # Errors
/// What the system says.
pub fn count() -> Result<u64> {
    let text = fs::read_to_string(COUNTER).with_context(|| COUNTER.to_owned())?;
    Ok(text.trim().parse()?)
}

fn set(pages: u64) -> Result<()> {
    fs::write(COUNTER, pages.to_string()).with_context(|| format!("{COUNTER}: run as root"))
}

const COUNTER: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
