//! The engine's line to the bridge: two eventfds handed over once, then silence; taken up again when it breaks.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recvmsg, sendmsg, socket,
};
use shm_protocol::codec;
use shm_protocol::live::LiveReader;
use shm_protocol::messages::control::{CHANGED_BY_LOAD, EngineHello, HelloReply};
use shm_protocol::place::RuntimeDir;

/// See the module's text.
pub(super) struct BridgeLink {
    dir: RuntimeDir,
    path: PathBuf,
    socket: Option<OwnedFd>,
    connected: bool,
    changed: EventFd,
    events: EventFd,
    next_try_ns: u64,
    complained: bool,
    /// The segment the bridge was told of.
    told: Option<LiveReader>,
}

impl BridgeLink {
    /// Makes a line that is not connected yet.
    pub(super) fn new(dir: RuntimeDir) -> nix::Result<Self> {
        let event = || EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let path = dir.path().join("bridge.sock");
        let (changed, events) = (event()?, event()?);
        Ok(Self {
            dir,
            path,
            socket: None,
            connected: false,
            changed,
            events,
            next_try_ns: 0,
            complained: false,
            told: None,
        })
    }

    /// Whether the bridge has answered.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Readable when the bridge has changed the segment.
    pub(super) fn changed(&self) -> BorrowedFd<'_> {
        self.changed.as_fd()
    }

    /// Forgets that the segment was changed, before it is read; returns whether all that did were lines of a load.
    pub(super) fn clear_changed(&self) -> bool {
        self.changed.read().is_ok_and(|added| added % CHANGED_BY_LOAD == 0)
    }

    /// Tells the bridge that there are events.
    pub(super) fn ring(&self) {
        // A full counter means that the bridge has been told already.
        let _ = self.events.write(1);
    }

    /// Connects when it is time; returns the new socket, to be waited on.
    pub(super) fn tend(&mut self, now_ns: u64) -> Option<BorrowedFd<'_>> {
        if now_ns < self.next_try_ns {
            return None;
        }
        self.next_try_ns = now_ns.saturating_add(RETRY_NS);
        if self.socket.is_some() {
            if self.told.as_ref().is_some_and(LiveReader::is_current) {
                return None;
            }
            self.disconnect("the segment `live` is another one now; the bridge is told");
        }
        match self.connect() {
            Ok(socket) => self.socket = Some(socket),
            Err(error) if !self.complained => {
                tracing::info!("the bridge is not there yet ({error}); tried again every second");
                self.complained = true;
            }
            Err(_) => {}
        }
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Takes what came on the socket: the bridge's answer, or its end.
    pub(super) fn receive(&mut self) {
        let Some(socket) = &self.socket else { return };
        let mut buffer = vec![0; codec::MAX_REPLY_OCTETS];
        let received = {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            recvmsg::<()>(socket.as_raw_fd(), &mut slices, None, MsgFlags::MSG_DONTWAIT)
                .map(|message| message.bytes)
        };
        match received {
            Err(nix::Error::EAGAIN) => {}
            Ok(0) | Err(_) => self.disconnect("the bridge went away; traffic goes on with the SAs there are"),
            Ok(len) => match codec::decode::<HelloReply>(buffer.get(..len).unwrap_or_default()) {
                Ok(reply) if reply.refused.is_empty() => {
                    tracing::info!("connected to ike-bridge, process {}", reply.pid);
                    self.connected = true;
                    self.complained = false;
                }
                Ok(reply) => self.disconnect(&format!("the bridge refuses this engine: {}", reply.refused)),
                Err(error) => self.disconnect(&format!("the bridge's answer is not understood: {error}")),
            },
        }
    }

    fn disconnect(&mut self, why: &str) {
        if !self.complained {
            tracing::warn!("{why}");
            self.complained = true;
        }
        self.socket = None;
        self.connected = false;
    }

    fn connect(&mut self) -> Result<OwnedFd, shm_protocol::Error> {
        let path = self.path.clone();
        let system = |call| {
            let path = path.clone();
            move |errno| shm_protocol::Error::System { call, path, errno }
        };
        let live = LiveReader::attach(&self.dir)?;
        let instance = live.instance();
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket =
            socket(AddressFamily::Unix, SockType::SeqPacket, flags, None).map_err(system("socket"))?;
        let address = UnixAddr::new(&self.path).map_err(system("connect"))?;
        connect(socket.as_raw_fd(), &address).map_err(system("connect"))?;
        let hello = EngineHello {
            pid: std::process::id(),
            instance: instance.0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let message = codec::encode(&hello)?;
        let descriptors = [self.changed.as_fd().as_raw_fd(), self.events.as_fd().as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        let slices = [IoSlice::new(&message)];
        sendmsg::<()>(socket.as_raw_fd(), &slices, &rights, MsgFlags::MSG_NOSIGNAL, None)
            .map_err(system("sendmsg"))?;
        self.told = Some(live);
        Ok(socket)
    }
}

const RETRY_NS: u64 = 1_000_000_000;
