//! What can go wrong with network devices; each error names the device and what to do.

use std::io;

/// A failed operation on a kernel network device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The TAP driver is out of reach.
    #[error("/dev/net/tun cannot be opened: {0}; load the module tun, or set engine.netdevs = false")]
    NoTun(io::Error),
    /// A TAP or TUN could not be made or taken up.
    #[error("{name} cannot be made: {cause}; {}", tun_remedy(cause))]
    Tun {
        /// Name of the device.
        name: Box<str>,
        /// What the kernel said.
        cause: io::Error,
    },
    /// No kernel device of this name.
    #[error("network device {name} does not exist in this network namespace; name an existing one in iface=")]
    NoSuchDevice {
        /// Name of the device.
        name: Box<str>,
    },
    /// A port's device without an Ethernet address.
    #[error("network device {name} has no Ethernet address; a port needs an Ethernet device")]
    NotEthernet {
        /// Name of the device.
        name: Box<str>,
    },
    /// The device carries more than can be written down and given back.
    #[error(
        "network device {name} has too many addresses to give back later; remove them with: ip address flush dev {name}"
    )]
    TooManyAddresses {
        /// Name of the device.
        name: Box<str>,
    },
    /// The kernel refused a change.
    #[error("network device {name}: {what} failed: {cause}; {}", privilege(cause))]
    Refused {
        /// Name of the device.
        name: Box<str>,
        /// The change.
        what: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The netlink socket itself failed.
    #[error("netlink: {0}")]
    Netlink(#[from] io::Error),
}

impl Error {
    /// Whether the device was not there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::NoSuchDevice { .. } => true,
            Self::Refused { cause, .. } => cause.raw_os_error() == Some(libc::ENODEV),
            Self::NoTun(_)
            | Self::Tun { .. }
            | Self::NotEthernet { .. }
            | Self::TooManyAddresses { .. }
            | Self::Netlink(_) => false,
        }
    }
}

fn tun_remedy(cause: &io::Error) -> &'static str {
    match cause.raw_os_error() {
        Some(libc::EBUSY) => "another process holds it; stop that one first",
        Some(libc::EINVAL) => "a device of another kind has that name; rename one",
        _ => privilege(cause),
    }
}

fn privilege(cause: &io::Error) -> &'static str {
    if cause.raw_os_error() == Some(libc::EPERM) {
        "run it with CAP_NET_ADMIN"
    } else {
        "see ip -d link show"
    }
}
