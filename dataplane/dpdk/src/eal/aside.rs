//! Keeps what the EAL prints past its log (its usage page, getopt's complaints) off the caller's terminal.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::OwnedFd;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::{dup, dup2_stderr, dup2_stdout};

/// The standard output and error output, turned aside until [`Aside::end`].
pub(super) struct Aside {
    printed: File,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Aside {
    /// Turns both outputs aside, or neither.
    pub(super) fn begin() -> nix::Result<Self> {
        let printed = File::from(memfd_create(c"eal", MFdFlags::MFD_CLOEXEC)?);
        let (stdout, stderr) = (dup(std::io::stdout())?, dup(std::io::stderr())?);
        dup2_stdout(&printed)?;
        let aside = Self { printed, stdout, stderr };
        if let Err(error) = dup2_stderr(&aside.printed) {
            aside.restore();
            return Err(error);
        }
        Ok(aside)
    }

    /// Turns both outputs back and returns getopt's complaint, if it had one.
    pub(super) fn end(mut self) -> Option<String> {
        self.restore();
        let mut printed = Vec::new();
        self.printed.rewind().ok()?;
        self.printed.read_to_end(&mut printed).ok()?;
        complaint(&String::from_utf8_lossy(&printed))
    }

    fn restore(&self) {
        // SAFETY: flushes C's own streams; no precondition.
        unsafe { dpdk_sys::dpdk_shim_flush() }
        // What fails here would have to be told to the outputs that are lost.
        let _ = dup2_stdout(&self.stdout);
        let _ = dup2_stderr(&self.stderr);
    }
}

/// Returns the first line that starts with the name the EAL was given for the program.
fn complaint(printed: &str) -> Option<String> {
    printed.lines().find_map(|line| line.strip_prefix("espalier: ")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn getopts_complaint_is_found_among_the_usage() {
        let printed =
            "EAL: FATAL: x\nespalier: unrecognized option '--nonesuch'\n\nUsage: espalier [options]\n";
        assert_eq!(complaint(printed).as_deref(), Some("unrecognized option '--nonesuch'"));
        assert_eq!(complaint("Usage: espalier [options]"), None);
    }
}
