//! Huge pages for packet memory: as many 2 MB pages as are needed, on a mount of our own, given back at the end.
//!
//! How many were taken stands in a file of the runtime directory, so that a run after a kill gives back those of the
//! run before it instead of taking more.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{HUGETLBFS_MAGIC, statfs};

/// Huge pages cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel's counter cannot be read or written.
    #[error("{}: {cause}; run as root, or set engine.hugepages = false", path.display())]
    Counter {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The kernel found too few.
    #[error(
        "the kernel found {found} of {wanted} huge pages of 2 MB; free memory, or set engine.hugepages = false"
    )]
    TooFew {
        /// Pages asked for.
        wanted: u64,
        /// Pages found.
        found: u64,
    },
    /// No file system for them.
    #[error("hugetlbfs cannot be mounted on {}: {cause}; run as root, or set engine.hugepages = false", path.display())]
    Mount {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// Huge pages of this run; dropping it gives them back.
#[derive(Debug)]
pub(super) struct Hugepages {
    counter: PathBuf,
    taken: PathBuf,
    mount: PathBuf,
    pages: u64,
}

impl Hugepages {
    /// Takes pages for `octets` octets and mounts a file system for them under `runtime_dir`.
    ///
    /// # Errors
    /// [`Error`]; nothing is kept then.
    pub(super) fn take(runtime_dir: &Path, octets: u64) -> Result<Self, Error> {
        let pages = octets.div_ceil(PAGE_OCTETS);
        let mut own = Self {
            counter: PathBuf::from(COUNTER),
            taken: runtime_dir.join("hugepages.taken"),
            mount: runtime_dir.join("hugepages"),
            pages: 0,
        };
        own.take_over();
        own.add(pages)?;
        own.mount()?;
        Ok(own)
    }

    /// Returns where DPDK finds them.
    #[must_use]
    pub(super) fn dir(&self) -> &Path {
        &self.mount
    }

    /// Counts what an earlier run took and did not give back as ours.
    fn take_over(&mut self) {
        let left = std::fs::read_to_string(&self.taken).ok();
        self.pages = left.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    }

    fn add(&mut self, wanted: u64) -> Result<(), Error> {
        let more = wanted.saturating_sub(self.pages);
        let _one = self.lock()?;
        let before = self.count()?;
        self.set(before + more)?;
        let found = self.count()?.saturating_sub(before);
        self.pages += found;
        self.note();
        if found < more {
            return Err(Error::TooFew { wanted: more, found });
        }
        Ok(())
    }

    fn mount(&self) -> Result<(), Error> {
        let wrong = |cause| Error::Mount { path: self.mount.clone(), cause };
        std::fs::create_dir_all(&self.mount).map_err(wrong)?;
        if statfs(&self.mount).is_ok_and(|fs| fs.filesystem_type() == HUGETLBFS_MAGIC) {
            return Ok(());
        }
        let options = format!("pagesize=2M,mode=0700,size={}", self.pages * PAGE_OCTETS);
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let mounted = mount(Some("espalier"), &self.mount, Some("hugetlbfs"), flags, Some(options.as_str()));
        mounted.map_err(|errno| wrong(errno.into()))
    }

    /// Keeps other engines from changing the counter between our reading and writing it.
    fn lock(&self) -> Result<Flock<File>, Error> {
        let wrong = |cause| Error::Counter { path: self.counter.clone(), cause };
        let file = File::open(&self.counter).map_err(wrong)?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| wrong(errno.into()))
    }

    /// Returns how many pages the kernel keeps. It counts those given back but still mapped too: they go by themselves.
    fn count(&self) -> Result<u64, Error> {
        let wrong = |cause| Error::Counter { path: self.counter.clone(), cause };
        let text = std::fs::read_to_string(&self.counter).map_err(wrong)?;
        let all: u64 = text.trim().parse().map_err(|_| wrong(io::ErrorKind::InvalidData.into()))?;
        let surplus = std::fs::read_to_string(self.counter.with_file_name("surplus_hugepages")).ok();
        let surplus: u64 = surplus.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Ok(all.saturating_sub(surplus))
    }

    fn set(&self, pages: u64) -> Result<(), Error> {
        let wrong = |cause| Error::Counter { path: self.counter.clone(), cause };
        std::fs::write(&self.counter, pages.to_string()).map_err(wrong)
    }

    /// A note that cannot be written costs pages after a kill only.
    fn note(&self) {
        if let Err(cause) = std::fs::write(&self.taken, self.pages.to_string()) {
            tracing::warn!("{}: {cause}", self.taken.display());
        }
    }
}

impl Drop for Hugepages {
    /// Pages that DPDK still maps become surplus: the kernel frees them when the process ends.
    fn drop(&mut self) {
        let lock = self.lock();
        let given = self.count().and_then(|count| self.set(count.saturating_sub(self.pages)));
        drop(lock);
        match given {
            Ok(()) => drop(std::fs::remove_file(&self.taken)),
            Err(error) => tracing::warn!("{} huge pages are not given back: {error}", self.pages),
        }
        // Lazily, because DPDK still has files open on it.
        let _ = umount2(&self.mount, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(&self.mount);
    }
}

const PAGE_OCTETS: u64 = 2 << 20;
const COUNTER: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

#[cfg(test)]
mod tests {
    use super::*;

    fn at(dir: &Path, before: &str) -> Hugepages {
        let counter = dir.join("nr_hugepages");
        std::fs::write(&counter, before).unwrap();
        Hugepages { counter, taken: dir.join("taken"), mount: dir.join("mount"), pages: 0 }
    }

    #[test]
    fn what_was_taken_is_given_back_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut pages = at(dir.path(), "7\n");
        pages.add(5).unwrap();
        let counter = pages.counter.clone();
        assert_eq!(std::fs::read_to_string(&counter).unwrap(), "12");
        drop(pages);
        assert_eq!(std::fs::read_to_string(&counter).unwrap(), "7");
        assert!(!dir.path().join("taken").exists());
    }

    #[test]
    fn a_run_after_a_kill_takes_over_instead_of_taking_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = at(dir.path(), "0");
        first.add(5).unwrap();
        std::mem::forget(first);
        let mut second = at(dir.path(), "5");
        second.take_over();
        second.add(5).unwrap();
        let counter = second.counter.clone();
        assert_eq!(std::fs::read_to_string(&counter).unwrap(), "5");
        drop(second);
        assert_eq!(std::fs::read_to_string(&counter).unwrap(), "0");
    }
}
