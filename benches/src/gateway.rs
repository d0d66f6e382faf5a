//! The release binaries of one gateway: bridge, engine, and the operator's command.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::Result;
use crate::interrupt;

/// A child with its log; killed when dropped.
#[derive(Debug)]
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn spawn(program: &str, log: PathBuf, arguments: &[&Path]) -> Result<Self> {
        let out = File::create(&log)?;
        let err = out.try_clone()?;
        let mut command = Command::new(binary(program)?);
        command.args(arguments).stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn().with_context(|| format!("start {program}"))?;
        Ok(Self { child, log })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }

    fn said(&self) -> String {
        std::fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    fn must_run(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}: {}", self.log.display(), self.said().trim());
        }
        Ok(())
    }

    /// Ends it politely and returns what it said.
    fn stop(&mut self) -> Result<String> {
        kill(self.pid(), Signal::SIGTERM)?;
        let status = interrupt::until("a process to end", PATIENCE, || Ok(self.child.try_wait()?))?;
        if !status.success() {
            bail!("{} ended with {status}: {}", self.log.display(), self.said().trim());
        }
        Ok(self.said())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // The engine gives back huge pages when it is asked to end; only one that does not is killed.
        let _ = kill(self.pid(), Signal::SIGTERM);
        let _ = kill(self.pid(), Signal::SIGCONT);
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What memory a process has. Units: octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Pages in memory, those of segments included, huge pages of packet buffers not.
    pub resident: u64,
    /// Huge pages of packet buffers.
    pub hugetlb: u64,
}

/// A running gateway in a runtime directory of its own.
#[derive(Debug)]
pub struct Gateway {
    scratch: PathBuf,
    dir: PathBuf,
    // In this order: the engine ends before the bridge.
    engine: Process,
    _bridge: Process,
}

impl Gateway {
    /// Starts bridge and engine and waits until the engine answers. `capacity` is how many SAs the bridge admits, `render`
    /// makes the configuration.
    ///
    /// # Errors
    /// What a process said when it ended, or that it did not answer.
    pub fn start(scratch: &Path, capacity: u32, render: impl Fn(&Path) -> String) -> Result<Self> {
        let dir = scratch.join("run");
        // A directory of an earlier gateway would bring its keys and numbers along.
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir)?;
        let capacity = capacity.max(LEAST_CAPACITY).to_string();
        let bridge = ["--runtime-dir".as_ref(), dir.as_path(), "--capacity".as_ref(), capacity.as_ref()];
        let mut bridge = Process::spawn("ike-bridge", scratch.join("ike-bridge.log"), &bridge)?;
        let socket = dir.join("bridge.sock");
        interrupt::until("the bridge's socket", PATIENCE, || {
            bridge.must_run()?;
            Ok(socket.exists().then_some(()))
        })?;
        let engine = spawn_engine(scratch, &render(&dir))?;
        let mut gateway = Self { scratch: scratch.to_owned(), dir, engine, _bridge: bridge };
        gateway.wait_for_engine()?;
        Ok(gateway)
    }

    /// Starts another engine after [`Self::stop_engine`]; bridge, keys and numbers go on.
    ///
    /// # Errors
    /// Those of [`Self::start`].
    pub fn start_engine(&mut self, render: impl Fn(&Path) -> String) -> Result<()> {
        self.engine = spawn_engine(&self.scratch, &render(&self.dir))?;
        self.wait_for_engine()
    }

    fn wait_for_engine(&mut self) -> Result<()> {
        interrupt::until("the engine to answer", PATIENCE, || {
            self.engine.must_run()?;
            Ok(self.json("workers").ok().map(drop))
        })
    }

    /// Returns the runtime directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns what memory the engine has now.
    ///
    /// # Errors
    /// It is gone.
    pub fn memory(&self) -> Result<Memory> {
        let path = format!("/proc/{}/status", self.engine.pid());
        let text = std::fs::read_to_string(&path).context(path)?;
        Memory::parse(&text).context("no VmRSS or HugetlbPages")
    }

    /// Runs `espctl … --json` and parses what it prints.
    ///
    /// # Errors
    /// Another exit code than 0, with what it said.
    pub fn json(&self, words: &str) -> Result<Value> {
        let output = self.espctl()?.args(words.split(' ')).arg("--json").stdin(Stdio::null()).output()?;
        if !output.status.success() {
            bail!("espctl {words}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("espctl {words} --json"))
    }

    /// Feeds lines to `espctl -batch -`, so that keys stand in no argument list.
    ///
    /// # Errors
    /// Another exit code than 0, with what it said.
    pub fn batch(&self, lines: &str) -> Result<()> {
        let mut command = self.espctl()?;
        command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().context("stdin of espctl")?.write_all(lines.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("espctl -batch: {}", String::from_utf8_lossy(&said).trim());
        }
        Ok(())
    }

    /// Returns for how long the worker's thread has had its CPU, and for how long it has waited for it.
    /// Units: nanoseconds.
    ///
    /// # Errors
    /// The kernel keeps no such account, or the worker is gone.
    pub fn worker_cpu_ns(&self) -> Result<(u64, u64)> {
        let tasks = format!("/proc/{}/task", self.engine.pid());
        for task in std::fs::read_dir(tasks)?.flatten() {
            let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            if name.trim() == "worker-0" {
                let text = std::fs::read_to_string(task.path().join("schedstat"))?;
                let mut words = text.split_whitespace().map(str::parse);
                if let (Some(Ok(ran)), Some(Ok(waited))) = (words.next(), words.next()) {
                    return Ok((ran, waited));
                }
            }
        }
        bail!("the engine has no thread worker-0")
    }

    /// Takes the engine off its CPU until [`Self::resume`].
    ///
    /// # Errors
    /// It has ended.
    pub fn pause(&self) -> Result<()> {
        Ok(kill(self.engine.pid(), Signal::SIGSTOP)?)
    }

    /// Lets the engine run on.
    ///
    /// # Errors
    /// It has ended.
    pub fn resume(&self) -> Result<()> {
        Ok(kill(self.engine.pid(), Signal::SIGCONT)?)
    }

    /// Ends the engine politely and returns what it said.
    ///
    /// # Errors
    /// It did not end, or not with exit code 0.
    pub fn stop_engine(&mut self) -> Result<String> {
        self.engine.stop()
    }

    fn espctl(&self) -> Result<Command> {
        let mut command = Command::new(binary("espctl")?);
        command.arg("--runtime-dir").arg(&self.dir);
        Ok(command)
    }
}

impl Memory {
    /// Reads the file `status` of a process.
    fn parse(status: &str) -> Option<Self> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
            Some(kib * 1024)
        };
        Some(Self { resident: field("VmRSS:")?, hugetlb: field("HugetlbPages:")? })
    }
}

fn spawn_engine(scratch: &Path, config: &str) -> Result<Process> {
    let file = scratch.join("gateway.toml");
    std::fs::write(&file, config)?;
    Process::spawn("espalier", scratch.join("espalier.log"), &["--config".as_ref(), file.as_path()])
}

/// Finds a program of the workspace: in `ESPALIER_BIN_DIR`, else beside this one.
fn binary(name: &str) -> Result<PathBuf> {
    let folder = match std::env::var_os("ESPALIER_BIN_DIR") {
        Some(set) => PathBuf::from(set),
        None => std::env::current_exe()?.parent().context("this program's folder")?.to_path_buf(),
    };
    let path = folder.join(name);
    if !path.is_file() {
        bail!("{} is not built: run `make bench`, or name the folder in ESPALIER_BIN_DIR", path.display());
    }
    Ok(path)
}

const PATIENCE: Duration = Duration::from_secs(20);
/// What the bridge admits if it is not told.
const LEAST_CAPACITY: u32 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_octets() {
        let status = "Name:\tespalier\nVmRSS:\t   1024 kB\nThreads:\t5\nHugetlbPages:\t  204800 kB\n";
        let memory = Memory { resident: 1 << 20, hugetlb: 200 << 20 };
        assert_eq!(Memory::parse(status), Some(memory));
        assert_eq!(Memory::parse("Name:\tespalier\n"), None);
    }
}
