//! What fails in control operations, with the operands and DPDK's own words for why.

use std::fmt;

/// A failed control operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// DPDK was initialised before; it can be once in a process.
    #[error("DPDK is already initialised in this process")]
    AlreadyInitialised,
    /// An argument holds a NUL octet and cannot be handed to C.
    #[error("{text:?} holds a NUL octet")]
    Nul {
        /// The argument.
        text: Box<str>,
    },
    /// A file prefix that cannot name a directory of its own.
    #[error(
        "file prefix {prefix:?} is not 1 to {max} letters, digits, '-', '_' or '.' that start with no '.'"
    )]
    FilePrefix {
        /// The prefix asked for.
        prefix: Box<str>,
        /// Its longest length, in octets.
        max: usize,
    },
    /// The environment abstraction layer did not start.
    #[error("DPDK does not start: {reason}")]
    Init {
        /// DPDK's own words.
        reason: Reason,
    },
    /// Packet capture by other processes could not be allowed.
    #[error("DPDK allows no packet capture: {reason}")]
    Capture {
        /// DPDK's own words.
        reason: Reason,
    },
    /// A device did not probe.
    #[error("device {device} does not probe: {reason}")]
    Probe {
        /// Its devargs.
        device: Box<str>,
        /// DPDK's own words.
        reason: Reason,
    },
    /// A device probed but has no Ethernet port.
    #[error("device {device} has no Ethernet port")]
    NoPort {
        /// Its devargs.
        device: Box<str>,
    },
    /// A device is in use by another port of this process.
    #[error("device {device} is already in use")]
    Busy {
        /// Its devargs.
        device: Box<str>,
    },
    /// More queues than the device has.
    #[error("device {device} has {max} {direction} queues, {asked} asked for")]
    Queues {
        /// Its devargs.
        device: Box<str>,
        /// `rx` or `tx`.
        direction: &'static str,
        /// Queues asked for.
        asked: u16,
        /// Queues of the device.
        max: u16,
    },
    /// An MTU outside the device's limits.
    #[error("device {device} takes an MTU of {min} to {max} octets, {asked} asked for")]
    Mtu {
        /// Its devargs.
        device: Box<str>,
        /// MTU asked for, in octets.
        asked: u16,
        /// Smallest MTU, in octets.
        min: u16,
        /// Largest MTU, in octets.
        max: u16,
    },
    /// An operation on a port failed.
    #[error("device {device}: {operation} failed: {reason}")]
    Port {
        /// Its devargs.
        device: Box<str>,
        /// What was attempted.
        operation: &'static str,
        /// DPDK's own words.
        reason: Reason,
    },
    /// A pool of buffers could not be made.
    #[error("pool {name} of {buffers} buffers: {reason}")]
    Mempool {
        /// Its name.
        name: Box<str>,
        /// Buffers asked for.
        buffers: u32,
        /// DPDK's own words.
        reason: Reason,
    },
    /// A thread could not be registered with DPDK.
    #[error("DPDK does not register the thread: {reason}")]
    Register {
        /// DPDK's own words.
        reason: Reason,
    },
    /// A thread could not be pinned to a CPU.
    #[error("thread cannot be pinned to CPU {cpu}: {errno}")]
    Pin {
        /// The CPU.
        cpu: u32,
        /// Why.
        errno: Errno,
    },
}

/// An error number of the operating system or of DPDK, positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// Takes DPDK's thread-local error number.
    pub(crate) fn last() -> Self {
        // SAFETY: reads a thread-local integer; no precondition.
        Self(unsafe { dpdk_sys::dpdk_shim_errno() })
    }

    /// Takes the error number of a call that returned `-errno`, or a bare -1 beside DPDK's own number.
    pub(crate) fn of(returned: i32) -> Self {
        if returned < -1 { Self(-returned) } else { Self::last() }
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("no reason given");
        }
        write!(f, "{}", nix::errno::Errno::from_raw(self.0).desc())
    }
}

/// Why DPDK refused: the lines it logged, else the error number in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    errno: Errno,
    lines: Box<str>,
}

impl Reason {
    pub(crate) fn new(errno: Errno, lines: &str) -> Self {
        Self { errno, lines: lines.into() }
    }

    /// Adds what was said elsewhere.
    pub(crate) fn with(self, line: &str) -> Self {
        let lines =
            if self.lines.is_empty() { line.into() } else { format!("{}; {line}", self.lines).into() };
        Self { lines, ..self }
    }

    /// Returns the error number.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.lines.is_empty(), self.errno.0) {
            (true, _) => self.errno.fmt(f),
            (false, 0) => f.write_str(&self.lines),
            (false, _) => write!(f, "{} ({})", self.lines, self.errno),
        }
    }
}
