//! One test's share of the machine.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::registry::{self, Item};
use crate::{Netns, Result, wait};

/// Everything one test has on the machine; dropping it removes it.
///
/// If the thread is panicking, the ends of all log files are printed first. With `ESPALIER_KEEP=1` in the
/// environment the log directory stays.
#[derive(Debug)]
pub struct World {
    id: u64,
    logs: PathBuf,
    run: PathBuf,
    _turn: Flock<File>,
}

static NEXT: AtomicU64 = AtomicU64::new(1);

/// How long a test waits for those of other processes.
const TURN: Duration = Duration::from_secs(1800);

impl World {
    /// Makes an empty world named after its test, once no other world exists on the machine.
    ///
    /// Errors: not root, or a directory cannot be made.
    pub fn new(test: &str) -> Result<Self> {
        if !nix::unistd::Uid::effective().is_root() {
            bail!("network namespaces need root: run this as root");
        }
        registry::install();
        let turn = take_turn()?;
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let tag = format!("{}-{id}", std::process::id());
        let logs = std::env::temp_dir().join(format!("espalier-e2e-{test}-{tag}"));
        // The segments need a tmpfs; /dev/shm is one on every Debian.
        let run = PathBuf::from("/dev/shm").join(format!("{}{tag}", registry::RUN_DIR_PREFIX));
        for path in [&logs, &run] {
            make_private_dir(path)?;
        }
        registry::enter(id, Item::Directory(run.clone()));
        if std::env::var_os("ESPALIER_KEEP").is_none() {
            registry::enter(id, Item::Directory(logs.clone()));
        }
        Ok(Self { id, logs, run, _turn: turn })
    }

    /// Returns the number under which the registry knows this world.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Returns the directory of logs, configurations and captures.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Makes a sub-directory of the log directory.
    pub fn log_dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.logs.join(name);
        make_private_dir(&path)?;
        Ok(path)
    }

    /// Makes a private directory on tmpfs, for a gateway's segments and sockets.
    pub fn run_dir(&self, name: &str) -> Result<PathBuf> {
        let path = self.run.join(name);
        make_private_dir(&path)?;
        Ok(path)
    }

    /// Makes a network namespace; `role` is the last part of its name.
    pub fn netns(&self, role: &str) -> Result<Netns> {
        let name = format!("{}{}-{}-{role}", registry::NETNS_PREFIX, std::process::id(), self.id);
        registry::enter(self.id, Item::Netns(name.clone()));
        Netns::create(&name)
    }

    /// Prints the last lines of every log file.
    pub fn print_logs(&self) {
        print_tails(&self.logs, 60);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.print_logs();
        }
        registry::clean_up(Some(self.id));
    }
}

fn take_turn() -> Result<Flock<File>> {
    let path = std::env::temp_dir().join("espalier-e2e.lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    let mut slot = None;
    wait::until_true("the other tests on this machine to end", TURN, || {
        let Ok(again) = file.try_clone() else { return false };
        match Flock::lock(std::mem::replace(&mut file, again), FlockArg::LockExclusiveNonblock) {
            Ok(held) => slot = Some(held),
            Err((back, _)) => file = back,
        }
        slot.is_some()
    })?;
    slot.context("the turn was not taken")
}

fn make_private_dir(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("make {}", path.display()))
}

fn print_tails(directory: &Path, lines: usize) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            print_tails(&path, lines);
            continue;
        }
        let readable = path.extension().is_some_and(|e| e == "log" || e == "toml" || e == "conf");
        if let (true, Ok(bytes)) = (readable, std::fs::read(&path)) {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<_> = text.lines().collect();
            eprintln!("--- {} ({} lines, the last {lines}) ---", path.display(), all.len());
            for line in all.iter().skip(all.len().saturating_sub(lines)) {
                eprintln!("{line}");
            }
        }
    }
}
