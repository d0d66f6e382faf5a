//! A program of a run: started with its log, taken off its CPU for a while, ended politely.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Result;
use crate::interrupt;

/// A child with its log; killed when dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it; what it says goes to `log`.
    pub(crate) fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let out = File::create(&log)?;
        let err = out.try_clone()?;
        let what = format!("start {}", command.get_program().display());
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().context(what)?;
        Ok(Self { child, log })
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }

    fn said(&self) -> String {
        std::fs::read(&self.log).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    /// Errors: it has ended, with what it said.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}: {}", self.log.display(), self.said().trim());
        }
        Ok(())
    }

    /// Takes it off its CPU until [`Self::resume`].
    pub(crate) fn pause(&self) -> Result<()> {
        Ok(kill(self.pid(), Signal::SIGSTOP)?)
    }

    pub(crate) fn resume(&self) -> Result<()> {
        Ok(kill(self.pid(), Signal::SIGCONT)?)
    }

    /// Ends it politely and returns what it said.
    pub(crate) fn stop(&mut self) -> Result<String> {
        kill(self.pid(), Signal::SIGTERM)?;
        let status = interrupt::until("a process to end", PATIENCE, || Ok(self.child.try_wait()?))?;
        if !status.success() {
            bail!("{} ended with {status}: {}", self.log.display(), self.said().trim());
        }
        Ok(self.said())
    }
}

impl Drop for Program {
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

/// Returns for how long the thread of a folder `/proc/PID/task/TID` has had its CPU, and for how long it has waited for it.
/// Units: nanoseconds. Errors: the kernel keeps no such account, or the thread is gone.
pub(crate) fn had_cpu_ns(task: &Path) -> Result<(u64, u64)> {
    let path = task.join("schedstat");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut words = text.split_whitespace().map(str::parse);
    let (Some(Ok(ran)), Some(Ok(waited))) = (words.next(), words.next()) else {
        bail!("{}: {text}", path.display());
    };
    Ok((ran, waited))
}

const PATIENCE: Duration = Duration::from_secs(20);
