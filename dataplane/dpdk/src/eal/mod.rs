//! DPDK's environment abstraction layer: initialised once, up until the process ends.

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Reason};
use crate::log;

mod aside;
mod config;

pub use config::{EalConfig, FilePrefix, Memory};

/// Proof that DPDK is up in this process. It is never taken down: buffers may be anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Eal(());

/// DPDK refuses a second start, even after a failed one.
static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts DPDK. The calling thread becomes the main lcore and keeps the CPUs of `config.main_cpus`.
    /// Errors: `AlreadyInitialised`; `Init` with DPDK's reason; `Nul`; `Capture`.
    pub fn init(config: &EalConfig) -> Result<Self, Error> {
        let arguments = c_arguments(config)?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(Error::AlreadyInitialised);
        }
        log::install(config.log).map_err(|errno| Error::Init { reason: Reason::new(errno, "") })?;
        // DPDK keeps pointers into its arguments, and getopt reorders the array: both stay for good.
        let argv = arguments.leak();
        let argc = c_int::try_from(argv.len().saturating_sub(1)).unwrap_or(0);
        // The EAL answers a question for its usage on the standard output and ends the process.
        let asked = config.extra.iter().any(|argument| argument == "-h" || argument == "--help");
        let aside = if asked { None } else { aside::Aside::begin().ok() };
        // SAFETY: `argv` holds `argc` NUL-terminated strings and a null pointer, all leaked and writable;
        // `STARTED` lets one thread pass.
        let up = log::reasoned(|| unsafe { dpdk_sys::rte_eal_init(argc, argv.as_mut_ptr()) });
        let complaint = aside.and_then(aside::Aside::end);
        up.map_err(|reason| Error::Init {
            reason: complaint.iter().fold(reason, |reason, complaint| reason.with(complaint)),
        })?;
        if config.capture {
            // SAFETY: DPDK is up, as `reasoned` above returned success.
            log::reasoned(|| unsafe { dpdk_sys::rte_pdump_init() })
                .map_err(|reason| Error::Capture { reason })?;
        }
        Ok(Self(()))
    }

    /// Returns the directory of this process's telemetry socket (`dpdk_telemetry.v2`) and lock files.
    #[must_use]
    pub fn runtime_dir(self) -> PathBuf {
        // SAFETY: DPDK is up; the string is static and NUL-terminated.
        let path = unsafe { CStr::from_ptr(dpdk_sys::rte_eal_get_runtime_dir()) };
        Path::new(std::ffi::OsStr::from_bytes(path.to_bytes())).to_owned()
    }

    /// Removes [`Eal::runtime_dir`], for an orderly end of the process: DPDK itself leaves it behind.
    /// Errors: those of the file system.
    pub fn remove_runtime_dir(self) -> std::io::Result<()> {
        std::fs::remove_dir_all(self.runtime_dir())
    }
}

/// Makes the argument vector, with the null pointer at its end.
fn c_arguments(config: &EalConfig) -> Result<Vec<*mut c_char>, Error> {
    let mut strings = Vec::new();
    for argument in config.arguments() {
        let text = argument.as_bytes();
        strings
            .push(CString::new(text).map_err(|_| Error::Nul { text: String::from_utf8_lossy(text).into() })?);
    }
    let mut argv: Vec<*mut c_char> = strings.into_iter().map(CString::into_raw).collect();
    argv.push(std::ptr::null_mut());
    Ok(argv)
}
