//! `control.sock`: requests of `espctl`, one datagram each; only root and our own user are served.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, getsockopt, listen, socket, sockopt,
};
use nix::sys::stat::{Mode, umask};
use shm_protocol::codec;
use shm_protocol::messages::control::{EngineReply, EngineRequest};

/// The listening socket and its clients.
#[derive(Debug)]
pub(super) struct Server {
    listener: UnixListener,
    clients: Vec<UnixStream>,
    path: PathBuf,
}

impl Server {
    /// Listens on `path`, in place of what a run before this one left there; the caller holds the engine's lock.
    pub(super) fn listen(path: &Path) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = bind(socket.as_raw_fd(), &UnixAddr::new(path)?);
        umask(before);
        bound?;
        listen(&socket, Backlog::new(16)?)?;
        Ok(Self { listener: UnixListener::from(socket), clients: Vec::new(), path: path.to_owned() })
    }

    /// Everything to wait on: the listener first, then the clients in order.
    pub(super) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd()).chain(self.clients.iter().map(AsFd::as_fd))
    }

    /// Takes new clients.
    pub(super) fn accept(&mut self) {
        while let Ok((client, _)) = self.listener.accept() {
            let trusted = getsockopt(&client, sockopt::PeerCredentials)
                .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw());
            if trusted && self.clients.len() < MOST_CLIENTS && client.set_nonblocking(true).is_ok() {
                self.clients.push(client);
            }
        }
    }

    /// Answers the clients at these positions among the clients; those that are gone or do not read are let go.
    pub(super) fn serve(&mut self, ready: &[usize], mut answer: impl FnMut(EngineRequest) -> EngineReply) {
        let mut buffer = vec![0; codec::MAX_REPLY_OCTETS + 1];
        let mut at = 0;
        self.clients.retain_mut(|client| {
            let is_ready = ready.contains(&at);
            at += 1;
            !is_ready || serve(client, &mut buffer, &mut answer).is_ok()
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(
    client: &mut UnixStream,
    buffer: &mut [u8],
    answer: &mut impl FnMut(EngineRequest) -> EngineReply,
) -> io::Result<()> {
    let len = client.read(buffer)?;
    if len == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let reply = match codec::decode::<EngineRequest>(buffer.get(..len).unwrap_or_default()) {
        Ok(request) => answer(request),
        Err(error) => EngineReply::Failed { sentence: error.to_string() },
    };
    let message = codec::encode(&reply)
        .or_else(|error| codec::encode(&EngineReply::Failed { sentence: error.to_string() }));
    let message = message.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    client.write_all(&message)
}

const MOST_CLIENTS: usize = 32;
