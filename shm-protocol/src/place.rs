//! Where the segments live: a directory on tmpfs or hugetlbfs, owned by us, and this boot's id.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::ids::BootId;

/// A checked runtime directory.
#[derive(Clone, Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    boot: BootId,
}

impl RuntimeDir {
    /// Makes the directory if needed and, when it is on a disk, mounts a private tmpfs (0700) there.
    /// Errors: `Mount`, `DirectoryOpen`, `System`.
    pub fn prepare(_path: &Path) -> Result<Self, Error> {
        todo!()
    }

    /// Checks a directory that the bridge has prepared.
    /// Errors: `NotInMemory`, `DirectoryOpen`, `System`.
    pub fn open(_path: &Path) -> Result<Self, Error> {
        todo!()
    }

    /// Returns the path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns this boot's id.
    pub const fn boot(&self) -> BootId {
        self.boot
    }
}
