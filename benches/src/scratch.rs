//! Where a run leaves what its programs need, and nothing afterwards.

use std::path::{Path, PathBuf};

use crate::Result;

/// A directory on tmpfs, removed at the end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes it, named by this process.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn new() -> Result<Self> {
        let path = PathBuf::from(format!("/dev/shm/espalier-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    /// Returns where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
