//! One connection to the bridge or the engine: a request, then its answer.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use shm_protocol::codec::{self, Message};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// A connected socket.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    server: &'static str,
}

impl Client {
    /// Connects to the bridge of a runtime directory. Errors: nobody listens.
    pub fn bridge(runtime_dir: &Path) -> Result<Self, Failure> {
        Self::connect(runtime_dir.join("bridge.sock"), "ike-bridge")
    }

    /// Connects to the engine of a runtime directory. Errors: nobody listens.
    pub fn engine(runtime_dir: &Path) -> Result<Self, Failure> {
        Self::connect(runtime_dir.join("control.sock"), "espalier")
    }

    fn connect(path: PathBuf, server: &'static str) -> Result<Self, Failure> {
        let no_server = |errno| Failure::NoServer { socket: path.clone(), errno, server };
        let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)
            .map_err(no_server)?;
        let patience = TimeVal::seconds(PATIENCE_S);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience).map_err(no_server)?;
        setsockopt(&socket, sockopt::SendTimeout, &patience).map_err(no_server)?;
        let address = UnixAddr::new(&path).map_err(no_server)?;
        connect(socket.as_raw_fd(), &address).map_err(no_server)?;
        Ok(Self { socket, server })
    }

    /// Sends a request and returns the answer. Errors: the server is gone, or of another release.
    pub fn ask<Q: Message, A: Message>(&self, request: &Q) -> Result<A, Failure> {
        let server = self.server;
        let broken = |errno| Failure::Broken { server, errno };
        let message = |error| Failure::Message { server, error };
        let datagram = codec::encode(request).map_err(message)?;
        send(self.socket.as_raw_fd(), &datagram, MsgFlags::MSG_NOSIGNAL).map_err(broken)?;
        // A listing may hold keys.
        let mut buffer = Zeroizing::new(vec![0; A::MAX_OCTETS + 1]);
        let octets = loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(0) => return Err(broken(Errno::ECONNRESET)),
                Ok(octets) => break octets,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(broken(Errno::ETIMEDOUT)),
                Err(errno) => return Err(broken(errno)),
            }
        };
        codec::decode(buffer.get(..octets).unwrap_or_default()).map_err(message)
    }

    /// Returns the complaint about an answer to another question.
    pub fn surprise(&self) -> Failure {
        Failure::Surprise { server: self.server }
    }
}

const PATIENCE_S: i64 = 10;
