//! Supervised child processes with their logs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::registry::{self, Item};
use crate::{Result, World, wait};

/// A running child; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    label: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with standard output and error in `LABEL.log` of the world's log directory.
    ///
    /// A second process of the same label appends.
    pub fn spawn(world: &World, label: &str, command: &mut Command) -> Result<Self> {
        let log = world.logs().join(format!("{label}.log"));
        let out = File::options().create(true).append(true).open(&log)?;
        let err = out.try_clone()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("start {label}: {command:?}"))?;
        let process = Self { label: label.to_owned(), child, log };
        registry::enter(world.id(), Item::Process(process.pid()));
        Ok(process)
    }

    /// Returns the process id. `ip netns exec` replaces itself, so it is that of the program.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }

    /// Returns the file that holds what the process said.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Returns what the process said so far.
    pub fn said(&self) -> String {
        std::fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Returns the exit status if the process has ended.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            registry::forget(&Item::Process(self.pid()));
        }
        Ok(status)
    }

    /// Fails with the last lines of its log if the process has ended.
    pub fn must_run(&mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            let said = self.said();
            let tail: Vec<_> = said.lines().rev().take(8).collect();
            bail!(
                "{} ended with {status}: {}",
                self.label,
                tail.into_iter().rev().collect::<Vec<_>>().join(" | ")
            );
        }
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("send {signal} to {}", self.label))
    }

    /// Waits for the end of a process that is about to end.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.label);
        wait::until(&what, deadline, || self.ended())
    }

    /// Ends the process politely.
    ///
    /// Errors: when it does not end; it is killed then.
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(wait::STEP)
    }

    /// Kills the process where it stands, as a crash would.
    pub fn kill9(mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(wait::STEP).map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        registry::forget(&Item::Process(self.pid()));
    }
}
