//! The only unsafe code of the engine: the ioctls that make a TAP or TUN and that ask a device for its offloads.
#![allow(unsafe_code, reason = "TAP devices and ethtool exist as ioctls only")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Frames (TAP) or IP packets (TUN).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ethernet frames.
    Tap,
    /// IP packets.
    Tun,
}

/// Binds an open `/dev/net/tun` to the device `name`, made if it is not there, and makes it outlive the process.
///
/// # Errors
/// What the kernel says: `EBUSY` if another process holds it, `EINVAL` if the name is of another kind of device.
pub(super) fn attach(tun: &File, name: &str, kind: Kind) -> io::Result<()> {
    let mut request = request(name)?;
    let kind = match kind {
        Kind::Tap => libc::IFF_TAP,
        Kind::Tun => libc::IFF_TUN,
    };
    request.ifr_ifru.ifru_flags = i16::try_from(kind | libc::IFF_NO_PI).unwrap_or_default();
    // SAFETY: `request` is a whole, zero-terminated `ifreq` that lives through the call.
    unsafe { tun_set_iff(tun.as_raw_fd(), &raw const request) }?;
    persist(tun, true)
}

/// Makes the device of an attached file stay after the process, or go with it.
///
/// # Errors
/// What the kernel says.
pub(super) fn persist(tun: &File, on: bool) -> io::Result<()> {
    // SAFETY: the argument is a plain integer; the kernel follows no pointer.
    unsafe { tun_set_persist(tun.as_raw_fd(), libc::c_ulong::from(on)) }?;
    Ok(())
}

/// Asks whether one of a device's offloads is on; a device that cannot say has it off.
#[must_use]
pub(super) fn offload(name: &str, offload: Offload) -> bool {
    ask(name, offload.command()).unwrap_or(0) != 0
}

/// Offloads that leave packets unfinished on a virtual link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offload {
    /// Checksums on transmit.
    Tx,
    /// TCP segmentation.
    Tso,
    /// Generic segmentation.
    Gso,
    /// Generic receive merging.
    Gro,
}

impl Offload {
    /// Every one.
    pub(super) const ALL: [Self; 4] = [Self::Tx, Self::Tso, Self::Gso, Self::Gro];

    /// Returns the name `ethtool -K` takes.
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Tx => "tx",
            Self::Tso => "tso",
            Self::Gso => "gso",
            Self::Gro => "gro",
        }
    }

    /// `ETHTOOL_GTXCSUM`, `_GTSO`, `_GGSO`, `_GGRO` of `linux/ethtool.h`.
    fn command(self) -> u32 {
        match self {
            Self::Tx => 0x16,
            Self::Tso => 0x1e,
            Self::Gso => 0x23,
            Self::Gro => 0x2b,
        }
    }
}

fn ask(name: &str, command: u32) -> io::Result<u32> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    let mut value = EthtoolValue { command, data: 0 };
    let mut request = request(name)?;
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: `ifru_data` points at `value`, the `ethtool_value` these commands fill, and both outlive the call.
    unsafe { ethtool(socket.as_raw_fd(), &raw mut request) }?;
    Ok(value.data)
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is integers and raw pointers only, for which all zeros is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

/// `struct ethtool_value`.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

nix::ioctl_write_ptr_bad!(
    tun_set_iff,
    nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()),
    libc::ifreq
);
nix::ioctl_write_int!(tun_set_persist, b'T', 203);
nix::ioctl_readwrite_bad!(ethtool, SIOCETHTOOL, libc::ifreq);

const SIOCETHTOOL: libc::c_ulong = 0x8946;
