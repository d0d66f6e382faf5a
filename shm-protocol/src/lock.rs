//! Lock files: separate from what they guard, close-on-exec, never unlinked.
//!
//! A guard belongs to the inode that the path names at the time; who finds another one there tries again.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open};
use nix::sys::stat::{FileStat, Mode, fstat, major, minor, stat};

use crate::error::Error;
use crate::place::RuntimeDir;

/// A process that serves a runtime directory alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// `espalier`, holds `engine.lock`.
    Engine,
    /// `ike-bridge`, holds `bridge.lock`.
    Bridge,
}

/// Keeps a second engine or bridge off while it is held.
#[derive(Debug)]
pub struct ServiceLock {
    _guard: Guard,
}

impl ServiceLock {
    /// Takes the lock for the life of the process.
    /// Errors: `AlreadyServed` with the holder, `System`.
    pub fn acquire(dir: &RuntimeDir, service: Service) -> Result<Self, Error> {
        let (what, name) = match service {
            Service::Engine => ("espalier", "engine.lock"),
            Service::Bridge => ("ike-bridge", "bridge.lock"),
        };
        match exclusive(&dir.path().join(name), Duration::ZERO) {
            Ok(guard) => Ok(Self { _guard: guard }),
            Err(Error::Locked { holder, .. }) => {
                Err(Error::AlreadyServed { what, dir: dir.path().to_path_buf(), holder })
            }
            Err(other) => Err(other),
        }
    }
}

/// A held lock; released when dropped or when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Guard {
    _lock: Flock<File>,
}

/// Takes LOCK_EX, trying until `deadline` has passed. Errors: `Locked` with the holder, `System`.
pub(crate) fn exclusive(path: &Path, deadline: Duration) -> Result<Guard, Error> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        if let Some(lock) = attempt(path, FlockArg::LockExclusiveNonblock)? {
            // A hint for people and for where /proc/locks does not say; the lock itself is the truth.
            let line = format!("{}\n", std::process::id());
            let length = u64::try_from(line.len()).unwrap_or(0);
            let fits = || lock.metadata().is_ok_and(|found| found.len() == length);
            let _ = lock.write_all_at(line.as_bytes(), 0);
            if !fits() {
                let _ = lock.set_len(length);
            }
            return Ok(Guard { _lock: lock });
        }
        let left = deadline.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Err(Error::Locked { path: path.to_path_buf(), holder: holder(path) });
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Takes LOCK_SH if nobody writes; never waits.
pub(crate) fn try_shared(path: &Path) -> Option<Guard> {
    attempt(path, FlockArg::LockSharedNonblock).ok().flatten().map(|lock| Guard { _lock: lock })
}

fn attempt(path: &Path, how: FlockArg) -> Result<Option<Flock<File>>, Error> {
    let system = |call| move |errno| Error::System { call, path: path.to_path_buf(), errno };
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let file = open(path, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(system("open"))?;
    match Flock::lock(File::from(file), how) {
        Ok(lock) => {
            let held = fstat(lock.as_fd()).map_err(system("fstat"))?;
            // Somebody may have deleted the file against the rules: two inodes would mean two owners.
            let named = stat(path).ok().map(|status| identity(&status));
            Ok((named == Some(identity(&held))).then_some(lock))
        }
        Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => Ok(None),
        Err((_, errno)) => Err(system("flock")(errno)),
    }
}

fn identity(status: &FileStat) -> (u64, u64) {
    (status.st_dev, status.st_ino)
}

/// Finds the process that holds a lock: by the kernel's list, else by what the holder wrote.
fn holder(path: &Path) -> Option<u32> {
    let status = stat(path).ok()?;
    let device = format!("{:02x}:{:02x}:{}", major(status.st_dev), minor(status.st_dev), status.st_ino);
    let listed = std::fs::read_to_string("/proc/locks").ok().and_then(|list| {
        list.lines().filter(|line| line.contains("FLOCK")).find_map(|line| {
            let mut words = line.split_whitespace().skip(4);
            let pid = words.next()?.parse().ok().filter(|pid| *pid != 0)?;
            (words.next()? == device).then_some(pid)
        })
    });
    listed.or_else(|| std::fs::read_to_string(path).ok()?.trim().parse().ok())
}

/// Name of the lock file of `sad`'s writers.
pub(crate) fn sad_lock(dir: &RuntimeDir) -> PathBuf {
    dir.path().join("sad.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> (tempfile::TempDir, RuntimeDir) {
        let temp = tempfile::tempdir_in("/dev/shm").unwrap();
        let dir = RuntimeDir::open(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn a_second_engine_is_kept_off_with_one_line_that_names_the_first() {
        let (_temp, dir) = runtime();
        let first = ServiceLock::acquire(&dir, Service::Engine).unwrap();
        let refused = ServiceLock::acquire(&dir, Service::Engine).unwrap_err();
        let me = std::process::id();
        assert!(matches!(refused, Error::AlreadyServed { holder: Some(pid), .. } if pid == me), "{refused}");
        assert_eq!(refused.to_string().lines().count(), 1);
        ServiceLock::acquire(&dir, Service::Bridge).unwrap();
        drop(first);
        ServiceLock::acquire(&dir, Service::Engine).unwrap();
    }

    #[test]
    fn a_writer_that_waits_too_long_names_the_holder() {
        let (_temp, dir) = runtime();
        let _held = exclusive(&sad_lock(&dir), Duration::ZERO).unwrap();
        let refused = exclusive(&sad_lock(&dir), Duration::from_millis(5)).unwrap_err();
        let me = std::process::id();
        assert!(matches!(refused, Error::Locked { holder: Some(pid), .. } if pid == me), "{refused}");
    }

    #[test]
    fn a_reader_is_refused_at_once_while_a_writer_writes() {
        let (_temp, dir) = runtime();
        let held = exclusive(&sad_lock(&dir), Duration::ZERO).unwrap();
        assert!(try_shared(&sad_lock(&dir)).is_none());
        drop(held);
        let (one, two) = (try_shared(&sad_lock(&dir)), try_shared(&sad_lock(&dir)));
        assert!(one.is_some() && two.is_some());
    }

    #[test]
    fn a_lock_file_that_was_replaced_is_locked_anew() {
        let (_temp, dir) = runtime();
        let path = sad_lock(&dir);
        let _held = exclusive(&path, Duration::ZERO).unwrap();
        std::fs::remove_file(&path).unwrap();
        let second = exclusive(&path, Duration::ZERO).unwrap();
        assert!(try_shared(&path).is_none());
        drop(second);
    }
}
