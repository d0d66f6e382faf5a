//! SOCK_SEQPACKET with file descriptors and credentials: one datagram in, one datagram out, nothing blocks.

use std::io::{IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, UnixCredentials, bind, getsockopt, listen, socket,
    sockopt,
};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags};

/// `bridge.sock`, mode 0600.
pub(super) struct Listener {
    socket: OwnedFd,
    path: PathBuf,
}

/// What a socket gave.
pub(super) enum Received {
    /// Nothing now.
    Nothing,
    /// The peer has closed it.
    Closed,
    /// A datagram that did not fit the buffer.
    TooLong,
    /// A datagram.
    Message {
        /// Its length.
        octets: usize,
        /// What came with it.
        fds: Vec<OwnedFd>,
    },
}

impl Listener {
    /// Takes the place of a socket that a bridge before this one left behind.
    pub(super) fn bind(path: PathBuf) -> nix::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        let _ = nix::unistd::unlink(&path);
        // The socket is never open to others, not even between bind and a chmod.
        let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
        let bound = bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &UnixAddr::new(&path)?);
        nix::sys::stat::umask(before);
        bound?;
        listen(&socket, Backlog::new(64)?)?;
        Ok(Self { socket, path })
    }

    /// Accepts one client of ours; others are turned away with a line in the log.
    pub(super) fn accept(&self) -> Result<Option<(OwnedFd, UnixCredentials)>> {
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let client = match rustix::net::accept_with(&self.socket, flags) {
            Ok(client) => client,
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let credentials = getsockopt(&client, sockopt::PeerCredentials)?;
        if credentials.uid() == 0 || credentials.uid() == nix::unistd::geteuid().as_raw() {
            return Ok(Some((client, credentials)));
        }
        tracing::warn!("process {} of user {} is turned away", credentials.pid(), credentials.uid());
        Ok(None)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = nix::unistd::unlink(&self.path);
    }
}

/// Receives one datagram into `buffer`.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
        Ok(received) => received,
        Err(Errno::AGAIN | Errno::INTR) => return Ok(Received::Nothing),
        Err(Errno::CONNRESET) => return Ok(Received::Closed),
        Err(errno) => return Err(errno.into()),
    };
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Ok(Received::TooLong);
    }
    if received.bytes == 0 {
        return Ok(Received::Closed);
    }
    Ok(Received::Message { octets: received.bytes, fds })
}

/// Sends one datagram. Returns false when the peer's buffer is full.
pub(super) fn send(socket: &OwnedFd, datagram: &[u8]) -> Result<bool> {
    match rustix::net::send(socket, datagram, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
        Ok(_) => Ok(true),
        Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

const MOST_FDS: usize = 4;
