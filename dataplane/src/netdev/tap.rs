//! A TAP or TUN device that outlives the process: its carrier goes when the engine goes, its addresses stay.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use super::error::Error;
use super::ioctl::{self, Kind};

/// An attached device; read and written without blocking.
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: Box<str>,
}

impl Tap {
    /// Makes a device or takes up the one an earlier run left.
    ///
    /// # Errors
    /// [`Error::NoTun`], [`Error::Tun`].
    pub fn open(name: &str, kind: Kind) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
        let file = options.open("/dev/net/tun").map_err(Error::NoTun)?;
        let attached = ioctl::attach(&file, name, kind);
        attached.map_err(|cause| Error::Tun { name: name.into(), cause })?;
        Ok(Self { file, name: name.into() })
    }

    /// Returns the device's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads one frame or packet into `buffer`.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel sent nothing.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Hands one frame or packet to the kernel.
    ///
    /// # Errors
    /// `WouldBlock` when the kernel's queue is full; `EIO` while the device is down.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write(packet).map(drop)
    }

    /// Takes the device away when the last file on it is closed.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn forget(self) -> io::Result<()> {
        ioctl::persist(&self.file, false)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
