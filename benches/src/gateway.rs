//! The release binaries of one gateway: bridge, engine, and the operator's command.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::Result;
use crate::interrupt;
use crate::program::{self, Program};

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
    engine: Program,
    _bridge: Program,
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
        let mut bridge = spawn("ike-bridge", scratch, &bridge)?;
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
                return program::had_cpu_ns(&task.path());
            }
        }
        bail!("the engine has no thread worker-0")
    }

    /// Takes the engine off its CPU until [`Self::resume`].
    ///
    /// # Errors
    /// It has ended.
    pub fn pause(&self) -> Result<()> {
        self.engine.pause()
    }

    /// Lets the engine run on.
    ///
    /// # Errors
    /// It has ended.
    pub fn resume(&self) -> Result<()> {
        self.engine.resume()
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

fn spawn_engine(scratch: &Path, config: &str) -> Result<Program> {
    let file = scratch.join("gateway.toml");
    std::fs::write(&file, config)?;
    spawn("espalier", scratch, &["--config".as_ref(), file.as_path()])
}

fn spawn(name: &str, scratch: &Path, arguments: &[&Path]) -> Result<Program> {
    Program::start(Command::new(binary(name)?).args(arguments), scratch.join(format!("{name}.log")))
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
