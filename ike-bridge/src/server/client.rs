//! One connection to `bridge.sock`: who it is, and what still has to be sent to it.

use std::collections::VecDeque;
use std::io::Result;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::socket::UnixCredentials;
use shm_protocol::ids::Owner;
use zeroize::Zeroizing;

use super::socket::{self, Received};

/// What a client has said it is.
pub(super) enum Role {
    /// It has sent no hello: `espctl`, or somebody else.
    Operator,
    /// An IKE daemon's plugin.
    Daemon(Owner),
    /// The engine, with its eventfds.
    Engine {
        /// Written when the segment has changed.
        to_engine: OwnedFd,
        /// Readable when there are events.
        from_engine: OwnedFd,
    },
}

/// One connection.
pub(super) struct Client {
    socket: OwnedFd,
    credentials: UnixCredentials,
    role: Role,
    queue: VecDeque<Zeroizing<Vec<u8>>>,
    queued_octets: usize,
    complaints: u32,
}

impl Client {
    pub(super) fn new(socket: OwnedFd, credentials: UnixCredentials) -> Self {
        let queue = VecDeque::new();
        Self { socket, credentials, role: Role::Operator, queue, queued_octets: 0, complaints: 0 }
    }

    pub(super) fn set_role(&mut self, role: Role) {
        self.role = role;
    }

    /// Returns the process at the other end.
    pub(super) fn pid(&self) -> u32 {
        u32::try_from(self.credentials.pid()).unwrap_or(0)
    }

    /// Returns whose SAs it speaks for.
    pub(super) fn owner(&self) -> Option<Owner> {
        match self.role {
            Role::Daemon(owner) => Some(owner),
            Role::Operator | Role::Engine { .. } => None,
        }
    }

    pub(super) fn is_operator(&self) -> bool {
        matches!(self.role, Role::Operator)
    }

    /// Returns what it is called in the log.
    pub(super) fn name(&self) -> String {
        let kind = match self.role {
            Role::Operator => "client",
            Role::Daemon(_) => "IKE daemon",
            Role::Engine { .. } => "engine",
        };
        format!("{kind} (process {})", self.credentials.pid())
    }

    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<Received> {
        socket::receive(&self.socket, buffer)
    }

    /// Counts a malformed message. Returns false when there were too many.
    pub(super) fn complain(&mut self) -> bool {
        self.complaints += 1;
        self.complaints < MOST_COMPLAINTS
    }

    /// Sends a datagram now or later, in order. Errors: why the connection ends, `None` when it simply has.
    pub(super) fn send(&mut self, datagram: &[u8]) -> std::result::Result<(), Option<String>> {
        if self.queue.is_empty() {
            match socket::send(&self.socket, datagram) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => return Err(farewell(&error)),
            }
        }
        self.queued_octets += datagram.len();
        if self.queued_octets > MOST_QUEUED_OCTETS {
            return Err(Some("it does not read its answers".to_owned()));
        }
        self.queue.push_back(Zeroizing::new(datagram.to_vec()));
        Ok(())
    }

    /// Sends what waits. Errors: as `send`.
    pub(super) fn flush(&mut self) -> std::result::Result<(), Option<String>> {
        while let Some(datagram) = self.queue.front() {
            match socket::send(&self.socket, datagram) {
                Ok(true) => {
                    self.queued_octets -= datagram.len();
                    self.queue.pop_front();
                }
                Ok(false) => return Ok(()),
                Err(error) => return Err(farewell(&error)),
            }
        }
        Ok(())
    }

    pub(super) fn has_output(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Returns the eventfd by which an engine says that there are events.
    pub(super) fn engine_events(&self) -> Option<BorrowedFd<'_>> {
        match &self.role {
            Role::Engine { from_engine, .. } => Some(from_engine.as_fd()),
            Role::Operator | Role::Daemon(_) => None,
        }
    }

    /// Empties that eventfd; whoever handed over a blocking one must not hold us up, so it is read only when
    /// poll said that it is readable.
    pub(super) fn drain_engine_events(&self) {
        if let Role::Engine { from_engine, .. } = &self.role {
            let _ = nix::unistd::read(from_engine, &mut [0; 8]);
        }
    }

    /// Tells an engine that the segment has changed, by adding `added` to its eventfd.
    pub(super) fn wake_engine(&self, added: u64) {
        if let Role::Engine { to_engine, .. } = &self.role {
            let mut ready = [nix::poll::PollFd::new(to_engine.as_fd(), nix::poll::PollFlags::POLLOUT)];
            // A full eventfd has woken the engine already.
            if nix::poll::poll(&mut ready, nix::poll::PollTimeout::ZERO) == Ok(1) {
                let _ = nix::unistd::write(to_engine, &added.to_ne_bytes());
            }
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn farewell(error: &std::io::Error) -> Option<String> {
    let gone = matches!(
        error.kind(),
        std::io::ErrorKind::BrokenPipe
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::NotConnected
    );
    (!gone).then(|| error.to_string())
}

const MOST_QUEUED_OCTETS: usize = 1 << 20;
const MOST_COMPLAINTS: u32 = 16;
