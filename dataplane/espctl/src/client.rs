//! One connection to the bridge or the engine: a request, then its answer.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use shm_protocol::codec::{self, Message};
use zeroize::Zeroize;

use crate::failure::Failure;

/// A connected socket.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    server: &'static str,
}

impl Client {
    /// Who answers at `bridge.sock`.
    pub const BRIDGE: &str = "ike-bridge";

    /// Connects to the bridge of a runtime directory. Errors: nobody listens.
    pub fn bridge(runtime_dir: &Path) -> Result<Self, Failure> {
        Self::connect(runtime_dir.join("bridge.sock"), Self::BRIDGE)
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
        let datagram = codec::encode(request).map_err(|error| Failure::Message { server, error })?;
        self.ask_encoded(&datagram)
    }

    /// Sends a request that was encoded before and returns the answer. Errors: as [`Self::ask`].
    pub fn ask_encoded<A: Message>(&self, request: &[u8]) -> Result<A, Failure> {
        let server = self.server;
        let broken = |errno| Failure::Broken { server, errno };
        send(self.socket.as_raw_fd(), request, MsgFlags::MSG_NOSIGNAL).map_err(broken)?;
        let mut buffer = vec![0; A::MAX_OCTETS + 1];
        let octets = loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(0) => return Err(broken(Errno::ECONNRESET)),
                Ok(octets) => break octets,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return Err(broken(Errno::ETIMEDOUT)),
                Err(errno) => return Err(broken(errno)),
            }
        };
        let received = buffer.get_mut(..octets).unwrap_or_default();
        let answer = codec::decode(received).map_err(|error| Failure::Message { server, error });
        // A listing may hold keys.
        received.zeroize();
        answer
    }

    /// Returns the complaint about an answer to another question.
    pub fn surprise(&self) -> Failure {
        Failure::Surprise { server: self.server }
    }
}

const PATIENCE_S: i64 = 10;
