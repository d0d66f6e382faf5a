//! The operator's command against one gateway.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::{Netns, Result, binaries};

/// `espctl` for one runtime directory.
#[derive(Debug, Clone)]
pub struct Espctl {
    netns: Netns,
    runtime_dir: PathBuf,
}

impl Espctl {
    /// Makes the wrapper; nothing is run.
    pub fn new(netns: &Netns, runtime_dir: &Path) -> Self {
        Self { netns: netns.clone(), runtime_dir: runtime_dir.to_path_buf() }
    }

    /// Runs `espctl --runtime-dir DIR` with the words of `arguments` and returns what it printed.
    ///
    /// Errors: another exit code than 0, with what it said.
    pub fn run(&self, arguments: &str) -> Result<String> {
        let (code, out, err) = self.outcome(arguments)?;
        if code != 0 {
            bail!("espctl {arguments}: exit code {code}: {out}{err}");
        }
        Ok(out)
    }

    /// Runs it and returns the exit code, standard output and standard error.
    pub fn outcome(&self, arguments: &str) -> Result<(i32, String, String)> {
        let program = binaries::program("espctl")?;
        let directory = self.runtime_dir.display().to_string();
        let mut words = vec!["--runtime-dir", directory.as_str()];
        words.extend(arguments.split_whitespace());
        let output = self.netns.command(&program.display().to_string(), &words).output()?;
        Ok((
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }

    /// Runs a command with `--json` and parses what it printed.
    pub fn json(&self, arguments: &str) -> Result<Value> {
        let text = self.run(&format!("{arguments} --json"))?;
        serde_json::from_str(&text).with_context(|| format!("espctl {arguments} --json printed: {text}"))
    }

    /// Feeds lines to `espctl -batch -`, so that keys stand in no argument list.
    ///
    /// Errors: another exit code than 0, with what it said.
    pub fn batch(&self, lines: &str) -> Result<String> {
        let program = binaries::program("espctl")?;
        let directory = self.runtime_dir.display().to_string();
        let mut child = self
            .netns
            .command(&program.display().to_string(), &["--runtime-dir", directory.as_str(), "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child.stdin.take().context("stdin of espctl")?.write_all(lines.as_bytes())?;
        let output = child.wait_with_output()?;
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("espctl -batch: {}: {said}", output.status);
        }
        Ok(said)
    }
}
