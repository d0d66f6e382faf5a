//! What the harness has made on the machine and how it is unmade.
//!
//! Every namespace, process and directory is entered here before it is used, so that a panic, an abort or a
//! signal finds it. Clean-up kills processes first, then removes namespaces (their devices go with them),
//! then directories.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, Once};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One thing to be unmade. The number is the world it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A child process that has not been reaped.
    Process(Pid),
    /// A network namespace by name.
    Netns(String),
    /// A directory the harness made.
    Directory(PathBuf),
}

static ITEMS: Mutex<Vec<(u64, Item)>> = Mutex::new(Vec::new());
static INSTALL: Once = Once::new();

/// Prefix of every namespace the harness makes; what follows is the pid of the harness.
pub const NETNS_PREFIX: &str = "e2e-";

/// Prefix of the directories for segments and sockets; what follows is the pid of the harness.
pub const RUN_DIR_PREFIX: &str = "espalier-e2e-";

/// Enters one item of a world.
pub fn enter(world: u64, item: Item) {
    lock().push((world, item));
}

/// Forgets an item that was unmade otherwise, such as a process that ended.
pub fn forget(item: &Item) {
    lock().retain(|(_, known)| known != item);
}

/// Unmakes what belongs to `world`, or everything if it is `None`.
pub fn clean_up(world: Option<u64>) {
    unmake(&mut lock(), world);
}

fn unmake(items: &mut Vec<(u64, Item)>, world: Option<u64>) {
    let (gone, kept): (Vec<_>, Vec<_>) =
        items.drain(..).partition(|(owner, _)| world.is_none_or(|wanted| *owner == wanted));
    *items = kept;
    for (_, item) in &gone {
        if let Item::Process(pid) = item {
            let _ = kill(*pid, Signal::SIGKILL);
        }
    }
    for (_, item) in &gone {
        match item {
            Item::Process(_) => {}
            Item::Netns(name) => delete_netns(name),
            Item::Directory(path) => drop(std::fs::remove_dir_all(path)),
        }
    }
}

/// Starts the signal thread, and where a panic aborts, a panic hook; sweeps what a killed harness left.
pub fn install() {
    INSTALL.call_once(|| {
        sweep_dead_owners();
        if let Ok(mut signals) = signal_hook::iterator::Signals::new([
            signal_hook::consts::SIGINT,
            signal_hook::consts::SIGTERM,
            signal_hook::consts::SIGHUP,
        ]) {
            std::thread::spawn(move || {
                if let Some(signal) = signals.forever().next() {
                    eprintln!("\ninterrupted: removing namespaces and processes");
                    // Held until the end: nothing new is made while the rest of the process still runs.
                    let mut items = lock();
                    unmake(&mut items, None);
                    std::process::exit(128 + signal);
                }
            });
        }
        if cfg!(panic = "abort") {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                before(info);
                clean_up(None);
            }));
        }
    });
}

/// Removes namespaces (with the processes in them) and keys whose harness no longer runs.
///
/// Log directories stay: somebody may want to read them.
fn sweep_dead_owners() {
    for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_prefix(RUN_DIR_PREFIX).is_some_and(owner_is_dead) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let Ok(names) = std::fs::read_dir("/run/netns") else { return };
    for name in names.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        if !name.strip_prefix(NETNS_PREFIX).is_some_and(owner_is_dead) {
            continue;
        }
        delete_netns(&name);
    }
}

/// Reads the pid that a name goes on with after its prefix.
fn owner_is_dead(rest: &str) -> bool {
    let owner = rest.split('-').next().unwrap_or_default();
    owner.parse::<u32>().is_ok() && !PathBuf::from("/proc").join(owner).exists()
}

/// Kills what still runs in a namespace, such as a client that was waited for, and deletes it.
fn delete_netns(name: &str) {
    if let Ok(output) = Command::new("ip").args(["netns", "pids", name]).stderr(Stdio::null()).output() {
        let said = String::from_utf8_lossy(&output.stdout);
        for pid in said.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid != own_pid()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
}

fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

fn lock() -> std::sync::MutexGuard<'static, Vec<(u64, Item)>> {
    ITEMS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
