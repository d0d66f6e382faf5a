//! Another process of this program that does what it is asked, a line at a time; it sleeps in between.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context as _;

use crate::Result;
use crate::hugepages::Hugepages;

/// See the module's text; ends when this is dropped.
#[derive(Debug)]
pub struct Asked {
    child: Child,
    ask: Option<ChildStdin>,
    answer: BufReader<ChildStdout>,
    what: String,
    _pages: Hugepages,
}

impl Asked {
    /// Starts the part `what` of this program with `mib` MiB of huge pages.
    ///
    /// # Errors
    /// No huge pages; the program cannot be started.
    pub fn start<A: AsRef<OsStr>>(what: &str, arguments: &[(&str, A)], mib: u32) -> Result<Self> {
        let pages = Hugepages::take(u64::from(mib))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(what).stdin(Stdio::piped()).stdout(Stdio::piped());
        for (name, value) in arguments {
            command.arg(name).arg(value);
        }
        let mut child = command.spawn()?;
        let ask = child.stdin.take();
        let answer = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self { child, ask, answer, what: what.to_owned(), _pages: pages })
    }

    /// Asks for something and returns what it answers.
    ///
    /// # Errors
    /// The process has ended; what it said stands on standard error.
    pub fn ask(&mut self, line: &str) -> Result<String> {
        let ask = self.ask.as_mut().context("no standard input")?;
        writeln!(ask, "{line}").with_context(|| format!("bench {} ended", self.what))?;
        self.answer()
    }

    /// Returns the next line it says.
    ///
    /// # Errors
    /// Those of [`Self::ask`].
    pub fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answer.read_line(&mut line)?;
        if line.is_empty() {
            anyhow::bail!("bench {} ended", self.what);
        }
        Ok(line)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.ask = None;
        let _ = self.child.wait();
    }
}
