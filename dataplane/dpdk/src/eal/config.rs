//! How DPDK is started, and the arguments that say so.

use std::ffi::OsString;
use std::path::PathBuf;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::error::Error;
use crate::log::{Sink, to_stderr};

/// How DPDK is started.
#[derive(Clone, Debug)]
pub struct EalConfig {
    /// Keeps this process apart from every other DPDK process of the machine.
    pub file_prefix: FilePrefix,
    /// CPUs of the main lcore, which is the thread that calls `init`; empty: those it may use now.
    /// Workers are not among the EAL's lcores: they register themselves.
    pub main_cpus: Vec<u32>,
    /// Where buffers live.
    pub memory: Memory,
    /// PCI addresses DPDK may touch; empty: the PCI bus is left alone.
    pub pci: Vec<String>,
    /// Devargs of virtual devices to make at start. [`crate::Device::probe`] makes them later, with a reason for a failure,
    /// which the start does not give: a virtual device that fails here is only missing.
    pub vdevs: Vec<String>,
    /// Whether the telemetry socket is opened.
    pub telemetry: bool,
    /// Whether dumpcap and its like may attach (`rte_pdump_init`). They are secondary processes, so this takes
    /// `Memory::Huge` in a directory, kept linked, and no [`crate::Lcore`]: DPDK lets a process have one or the other.
    pub capture: bool,
    /// Where DPDK's log goes.
    pub log: Sink,
    /// Arguments of the user, after all others.
    pub extra: Vec<OsString>,
}

/// Where DPDK's memory comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Ordinary pages, of this size in all. Slow, but needs nothing.
    Small {
        /// Size, in MiB.
        mib: u32,
    },
    /// Huge pages.
    Huge {
        /// The hugetlbfs to take them from, mounted where the process's first thread sees it (DPDK reads its
        /// `/proc/mounts`); none: anonymous huge pages, which need no mount.
        dir: Option<PathBuf>,
        /// Size taken at start, in MiB; none: as needed.
        mib: Option<u32>,
        /// Whether the files are unlinked at once, so that the pages return however the process ends.
        unlink: bool,
    },
}

impl EalConfig {
    /// Makes a configuration without huge pages, with telemetry, that touches no PCI device.
    #[must_use]
    pub fn new(file_prefix: FilePrefix) -> Self {
        Self {
            file_prefix,
            main_cpus: Vec::new(),
            memory: Memory::Small { mib: 256 },
            pci: Vec::new(),
            vdevs: Vec::new(),
            telemetry: true,
            capture: false,
            log: to_stderr,
            extra: Vec::new(),
        }
    }

    /// Returns the EAL's argument vector, program name first.
    #[must_use]
    pub fn arguments(&self) -> Vec<OsString> {
        let cpus = if self.main_cpus.is_empty() { allowed_cpus() } else { self.main_cpus.clone() };
        let cpus: Vec<String> = cpus.iter().map(u32::to_string).collect();
        let mut arguments: Vec<OsString> = vec![
            "espalier".into(),
            format!("--file-prefix={}", self.file_prefix.0).into(),
            format!("--lcores=0@({})", cpus.join(",")).into(),
        ];
        self.memory.append_to(&mut arguments);
        if !self.telemetry {
            arguments.push("--no-telemetry".into());
        }
        if self.pci.is_empty() {
            arguments.push("--no-pci".into());
        }
        arguments.extend(self.pci.iter().map(|address| format!("--allow={address}").into()));
        arguments.extend(self.vdevs.iter().map(|devargs| format!("--vdev={devargs}").into()));
        arguments.extend(self.extra.iter().cloned());
        arguments
    }
}

impl Memory {
    fn append_to(&self, arguments: &mut Vec<OsString>) {
        match self {
            Self::Small { mib } => {
                // A shared configuration would promise other processes memory they cannot map.
                arguments.extend(["--no-huge", "--no-shconf", "-m"].map(OsString::from));
                arguments.push(mib.to_string().into());
            }
            Self::Huge { dir, mib, unlink } => {
                match dir {
                    Some(dir) => {
                        let mut argument = OsString::from("--huge-dir=");
                        argument.push(dir);
                        arguments.push(argument);
                        if *unlink {
                            arguments.push("--huge-unlink".into());
                        }
                    }
                    None => arguments.push("--in-memory".into()),
                }
                if let Some(mib) = mib {
                    arguments.extend([OsString::from("-m"), mib.to_string().into()]);
                }
            }
        }
    }
}

/// The name that keeps one DPDK process apart from another: of its directory, its telemetry, its huge pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePrefix(Box<str>);

impl FilePrefix {
    /// Longest prefix whose telemetry socket still fits a socket address. Units: octets.
    const MAX_OCTETS: usize = 64;

    /// Checks `prefix`. Errors: `FilePrefix` if it cannot name a directory of its own.
    pub fn new(prefix: &str) -> Result<Self, Error> {
        let fits = !prefix.is_empty()
            && prefix.len() <= Self::MAX_OCTETS
            && !prefix.starts_with('.')
            && prefix.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet));
        if fits {
            return Ok(Self(prefix.into()));
        }
        Err(Error::FilePrefix { prefix: prefix.into(), max: Self::MAX_OCTETS })
    }
}

/// Returns the CPUs the calling thread may use, CPU 0 if the kernel does not tell.
fn allowed_cpus() -> Vec<u32> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return vec![0] };
    let allowed = |cpu: &usize| set.is_set(*cpu).unwrap_or(false);
    (0..CpuSet::count()).filter(allowed).filter_map(|cpu| u32::try_from(cpu).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> EalConfig {
        let mut config = EalConfig::new(FilePrefix::new("espalier-1").expect("a plain prefix"));
        config.main_cpus = vec![0, 3];
        config
    }

    fn arguments(config: &EalConfig) -> Vec<String> {
        config.arguments().into_iter().map(|argument| argument.into_string().expect("text")).collect()
    }

    #[test]
    fn without_huge_pages_no_configuration_is_shared_and_telemetry_stays_on() {
        let said = arguments(&config());
        assert_eq!(
            said,
            [
                "espalier",
                "--file-prefix=espalier-1",
                "--lcores=0@(0,3)",
                "--no-huge",
                "--no-shconf",
                "-m",
                "256",
                "--no-pci"
            ]
        );
    }

    #[test]
    fn huge_pages_come_from_the_callers_mount() {
        let mut config = config();
        config.memory = Memory::Huge { dir: Some("/run/x/huge".into()), mib: Some(64), unlink: true };
        let said = arguments(&config);
        assert_eq!(said[3..], ["--huge-dir=/run/x/huge", "--huge-unlink", "-m", "64", "--no-pci"]);
    }

    #[test]
    fn the_users_arguments_come_last() {
        let mut config = config();
        config.pci = vec!["0000:3b:00.0".into()];
        config.extra = vec!["--log-level=debug".into()];
        let said = arguments(&config);
        assert_eq!(said[7..], ["--allow=0000:3b:00.0", "--log-level=debug"]);
    }

    #[test]
    fn a_prefix_that_leaves_its_directory_is_refused() {
        for prefix in ["", "..", "a/b", ".hidden", "a b", &"x".repeat(65)] {
            assert!(FilePrefix::new(prefix).is_err(), "{prefix}");
        }
    }
}
