//! A running `espalier` for tests: its own runtime directory in memory, asked over its control socket.
#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::Pid;
use shm_protocol::codec;
use shm_protocol::messages::control::{EngineReply, EngineRequest};

/// A runtime directory on tmpfs and a configuration file in it; removed at the end.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::Builder::new().prefix("espalier-test-").tempdir_in("/dev/shm").unwrap())
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.0.path().join("run")
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.path().join("gw.toml")
    }

    /// Writes the configuration: `[engine]` with this place's directory, then `rest`.
    pub(crate) fn write(&self, engine: &str, rest: &str) {
        let dir = self.dir();
        let cpu = last_cpu();
        let text = format!("[engine]\nruntime_dir = {dir:?}\nworkers = [{cpu}]\n{engine}\n{rest}\n");
        std::fs::write(self.file(), text).unwrap();
    }
}

/// A started engine; killed at the end if it still runs.
pub(crate) struct Running {
    child: Child,
    dir: PathBuf,
}

impl Running {
    /// Starts an engine and waits until it answers.
    pub(crate) fn start(place: &Place) -> Self {
        let child = command(&place.file()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut running = Self { child, dir: place.dir() };
        let deadline = Instant::now() + Duration::from_secs(30);
        while running.try_ask(&EngineRequest::Workers { cursor: Default::default() }).is_none() {
            assert!(running.child.try_wait().unwrap().is_none(), "the engine ended at its start");
            assert!(Instant::now() < deadline, "the engine does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    pub(crate) fn ask(&self, request: &EngineRequest) -> EngineReply {
        self.try_ask(request).unwrap()
    }

    fn try_ask(&self, request: &EngineRequest) -> Option<EngineReply> {
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        connect(socket.as_raw_fd(), &UnixAddr::new(&self.dir.join("control.sock")).unwrap()).ok()?;
        let mut stream = UnixStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(&codec::encode(request).unwrap()).ok()?;
        let mut buffer = vec![0; codec::MAX_REPLY_OCTETS];
        let len = stream.read(&mut buffer).ok()?;
        codec::decode(&buffer[..len]).ok()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Kills the engine without waiting for its end.
    pub(crate) fn kill_and_go_on(mut self) {
        self.child.kill().unwrap();
        // A zombie is left to this test's own end.
        std::mem::forget(self);
    }

    pub(crate) fn stop(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.child.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs an engine that is expected to end by itself.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_espalier")).args(arguments).output().unwrap()
}

/// Runs an engine on a configuration that is expected to fail; returns its exit code and what it said last.
pub(crate) fn fails(file: &Path) -> (i32, String) {
    let output = command(file).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("espalier: ")).collect();
    assert_eq!(lines.len(), 1, "one line says what is wrong: {said}");
    (output.status.code().unwrap(), lines[0].to_owned())
}

/// A CPU this process may use, the last one: the first has the most other work.
pub(crate) fn last_cpu() -> usize {
    let set = nix::sched::sched_getaffinity(Pid::from_raw(0)).unwrap();
    (0..nix::sched::CpuSet::count()).rev().find(|cpu| set.is_set(*cpu).unwrap()).unwrap()
}

fn command(file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_espalier"));
    command.arg("--config").arg(file).env("ESPALIER_LOG", "warn");
    command
}
