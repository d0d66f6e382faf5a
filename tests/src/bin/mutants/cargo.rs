//! Builds and runs one test of the copy.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use espalier_tests::Result;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::list::Test;
use crate::tree::Tree;

/// What became of a test.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It passed.
    Green,
    /// It failed, with what it said.
    Red(String),
    /// It did not end; a test that hangs has noticed too.
    Late,
    /// The mutant is no program, so it proves nothing.
    NotBuilt(String),
    /// There is no such test.
    Missing,
}

impl Outcome {
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Green => "GREEN",
            Self::Red(_) => "red",
            Self::Late => "red (does not end)",
            Self::NotBuilt(_) => "DOES NOT COMPILE",
            Self::Missing => "NO SUCH TEST",
        }
    }

    pub(crate) const fn is_green(&self) -> bool {
        matches!(self, Self::Green)
    }

    pub(crate) const fn is_red(&self) -> bool {
        matches!(self, Self::Red(_) | Self::Late)
    }

    pub(crate) fn said(&self) -> &str {
        match self {
            Self::Red(said) | Self::NotBuilt(said) => said,
            Self::Green => "no test noticed",
            Self::Late | Self::Missing => "",
        }
    }
}

/// Cargo in the copy.
#[derive(Debug)]
pub(crate) struct Cargo {
    program: PathBuf,
    folder: PathBuf,
    build: PathBuf,
}

impl Cargo {
    pub(crate) fn new(tree: &Tree) -> Self {
        let program = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        Self { program, folder: tree.folder().to_path_buf(), build: tree.build().to_path_buf() }
    }

    /// Builds and runs one test.
    ///
    /// Errors: cargo cannot be started.
    pub(crate) fn run(&self, test: &Test) -> Result<Outcome> {
        let built = self.command(test).arg("--no-run").output().context("cargo")?;
        if !built.status.success() {
            return Ok(Outcome::NotBuilt(tail(&String::from_utf8_lossy(&built.stderr))));
        }
        let mut command = self.command(test);
        command.args(["--", "--exact", test.name.as_str()]);
        let Some((success, said)) = bounded(&mut command)? else { return Ok(Outcome::Late) };
        if !said.contains("running 1 test") {
            return Ok(Outcome::Missing);
        }
        // A killed test prints no result; it is as red as a failed one.
        Ok(if success { Outcome::Green } else { Outcome::Red(tail(&said)) })
    }

    fn command(&self, test: &Test) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder).env("CARGO_TARGET_DIR", &self.build).env_remove("RUSTFLAGS");
        command.args(["test", "--quiet", "--package", test.package.as_str()]);
        match test.target.as_str() {
            "lib" => command.arg("--lib"),
            file => command.args(["--test", file]),
        };
        command.stdin(Stdio::null());
        command
    }
}

/// Runs a command in a process group of its own and ends the whole group when its time is up.
fn bounded(command: &mut Command) -> Result<Option<(bool, String)>> {
    let mut child = command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (mut out, mut err) = (
        child.stdout.take().context("no standard output")?,
        child.stderr.take().context("no standard error")?,
    );
    let readers = (std::thread::spawn(move || read(&mut out)), std::thread::spawn(move || read(&mut err)));
    let end = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > end {
            killpg(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGKILL)?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let (Ok(out), Ok(err)) = (readers.0.join(), readers.1.join()) else {
        bail!("reading a test's output panicked")
    };
    Ok(status.map(|status| (status.success(), out + &err)))
}

fn read(from: &mut impl std::io::Read) -> String {
    let mut octets = Vec::new();
    let _ = from.read_to_end(&mut octets);
    String::from_utf8_lossy(&octets).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// The slowest test takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(180);
