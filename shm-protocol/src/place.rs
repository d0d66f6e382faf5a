//! Where the segments live: a directory on tmpfs or hugetlbfs, owned by us, and this boot's id.

use std::fs::{DirBuilder, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::fstat;
use nix::sys::statfs::{FsType, HUGETLBFS_MAGIC, TMPFS_MAGIC, fstatfs};

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
    pub fn prepare(path: &Path) -> Result<Self, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| system("mkdir", path, &error))?;
        let directory = open_directory(path)?;
        if !in_memory(file_system(&directory, path)?) {
            // Two bridges that start at once must not mount twice; the lock is on the directory below.
            let guard = Flock::lock(directory, FlockArg::LockExclusive)
                .map_err(|(_, errno)| Error::System { call: "flock", path: path.to_path_buf(), errno })?;
            let fs_type = file_system(&open_directory(path)?, path)?;
            if !in_memory(fs_type) {
                mount_tmpfs(path, fs_type)?;
            }
            drop(guard);
        }
        Self::open(path)
    }

    /// Checks a directory that the bridge has prepared.
    /// Errors: `NotInMemory`, `DirectoryOpen`, `System`.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let directory = open_directory(path)?;
        let fs_type = file_system(&directory, path)?;
        if !in_memory(fs_type) {
            return Err(Error::NotInMemory { path: path.to_path_buf(), fs_type: type_number(fs_type) });
        }
        let status = fstat(directory.as_fd()).map_err(|errno| Error::System {
            call: "fstat",
            path: path.to_path_buf(),
            errno,
        })?;
        if status.st_mode & 0o022 != 0 {
            return Err(Error::DirectoryOpen { path: path.to_path_buf(), mode: status.st_mode & 0o7777 });
        }
        Ok(Self { path: path.to_path_buf(), boot: boot_id()? })
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

/// Returns the clock all deadlines are in. Units: nanoseconds of CLOCK_BOOTTIME.
pub fn boottime_ns() -> u64 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map_or(0, |now| {
        let seconds = u64::try_from(now.tv_sec()).unwrap_or(0);
        seconds * 1_000_000_000 + u64::try_from(now.tv_nsec()).unwrap_or(0)
    })
}

fn system(call: &'static str, path: &Path, error: &std::io::Error) -> Error {
    let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
    Error::System { call, path: path.to_path_buf(), errno }
}

fn open_directory(path: &Path) -> Result<File, Error> {
    File::options()
        .read(true)
        .custom_flags(nix::libc::O_DIRECTORY | nix::libc::O_CLOEXEC)
        .open(path)
        .map_err(|error| system("open", path, &error))
}

fn file_system(directory: &File, path: &Path) -> Result<FsType, Error> {
    fstatfs(directory).map(|found| found.filesystem_type()).map_err(|errno| Error::System {
        call: "fstatfs",
        path: path.to_path_buf(),
        errno,
    })
}

fn in_memory(fs_type: FsType) -> bool {
    fs_type == TMPFS_MAGIC || fs_type == HUGETLBFS_MAGIC
}

fn type_number(fs_type: FsType) -> u64 {
    u64::try_from(fs_type.0).unwrap_or(0)
}

fn mount_tmpfs(path: &Path, fs_type: FsType) -> Result<(), Error> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let attempt = |options| mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options));
    // `noswap` is known from Linux 6.4 on; without it the pages are locked as far as the limits allow.
    attempt("mode=0700,noswap").or_else(|_| attempt("mode=0700")).map_err(|errno| Error::Mount {
        path: path.to_path_buf(),
        fs_type: type_number(fs_type),
        errno,
    })
}

fn boot_id() -> Result<BootId, Error> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    let text = std::fs::read_to_string(path).map_err(|error| system("read", path, &error))?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let number = u128::from_str_radix(&digits, 16).map_err(|_| Error::System {
        call: "read",
        path: path.to_path_buf(),
        errno: Errno::EINVAL,
    })?;
    let [high, low] = [number >> 64, number & u128::from(u64::MAX)].map(u64::try_from);
    Ok(BootId([high.unwrap_or(0), low.unwrap_or(0)]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_on_a_disk_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let found = file_system(&open_directory(dir.path()).unwrap(), dir.path()).unwrap();
        if in_memory(found) {
            return;
        }
        let refused = RuntimeDir::open(dir.path()).unwrap_err();
        assert!(matches!(refused, Error::NotInMemory { .. }), "{refused}");
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let refused = RuntimeDir::open(dir.path()).unwrap_err();
        assert!(matches!(refused, Error::DirectoryOpen { mode: 0o777, .. }), "{refused}");
    }

    #[test]
    fn the_boot_id_is_the_same_twice() {
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
        assert_ne!(boot_id().unwrap(), BootId([0, 0]));
    }
}
