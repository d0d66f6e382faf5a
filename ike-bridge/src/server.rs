//! The shell: one thread, one poll loop, and sockets that never block it. It moves messages between the
//! clients
//! of `bridge.sock` and the [`Bridge`]; every decision is the bridge's.

mod client;
mod socket;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::clock_gettime;
use shm_protocol::codec::{self, MAX_REQUEST_OCTETS, Message};
use shm_protocol::ids::Owner;
use shm_protocol::messages::control::{
    BridgeReply, BridgeRequest, CHANGED, CHANGED_BY_LOAD, EngineHello, HelloReply, Refusal,
};
use shm_protocol::messages::plugin::{self, Event, Reply, Request, Status};
use zerocopy::IntoBytes;
use zeroize::{Zeroize, Zeroizing};

use self::client::{Client, Role};
use self::socket::{Listener, Received};
use crate::bridge::{Bridge, ClientId, Output};

/// The bridge with its sockets, timers and signals.
pub struct Server {
    bridge: Bridge,
    listener: Listener,
    signals: SignalFd,
    timer: TimerFd,
    clients: BTreeMap<ClientId, Client>,
    next_client: u64,
    /// Hard expiries of daemons that are away; they are told when they are back.
    untold: HashMap<Owner, VecDeque<Event>>,
    buffer: Zeroizing<Vec<u8>>,
    next_tick_ns: u64,
}

/// What a poll found ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ready {
    Listener,
    Signal,
    Timer,
    Read(ClientId),
    Write(ClientId),
    EngineEvent(ClientId),
}

impl Server {
    /// Opens `bridge.sock` in the runtime directory. The caller holds the bridge's lock of it.
    ///
    /// Errors: a system call failed.
    pub fn open(bridge: Bridge, socket: PathBuf) -> nix::Result<Self> {
        let mut stop = SigSet::empty();
        stop.add(Signal::SIGTERM);
        stop.add(Signal::SIGINT);
        stop.thread_block()?;
        let signals = SignalFd::with_flags(&stop, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let timer =
            TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        Ok(Self {
            bridge,
            listener: Listener::bind(socket)?,
            signals,
            timer,
            clients: BTreeMap::new(),
            next_client: 0,
            untold: HashMap::new(),
            buffer: Zeroizing::new(vec![0; MAX_REQUEST_OCTETS + 1]),
            next_tick_ns: 0,
        })
    }

    /// Serves until SIGTERM or SIGINT.
    ///
    /// Errors: a system call of the loop itself failed.
    pub fn run(&mut self) -> nix::Result<()> {
        loop {
            let now_ns = boottime_ns()?;
            if now_ns >= self.next_tick_ns {
                self.bridge.tick(now_ns);
                self.next_tick_ns = now_ns.saturating_add(TICK_NS);
            }
            self.bridge.expire_due(now_ns);
            self.bridge.release_waiting(now_ns);
            self.send_outputs();
            for ready in self.wait(now_ns)? {
                match ready {
                    Ready::Signal => {
                        tracing::info!("stops; SAs and policies stay in the segment");
                        return Ok(());
                    }
                    Ready::Listener => self.accept(),
                    Ready::Timer => drop(self.timer.wait()),
                    Ready::Read(id) => self.read(id),
                    Ready::Write(id) => self.flush(id),
                    Ready::EngineEvent(id) => self.engine_event(id),
                }
            }
            self.send_outputs();
        }
    }

    fn wait(&mut self, now_ns: u64) -> nix::Result<Vec<Ready>> {
        let deadline_ns = self.bridge.next_deadline_ns().unwrap_or(u64::MAX).min(self.next_tick_ns);
        let left = std::time::Duration::from_nanos(deadline_ns.saturating_sub(now_ns).max(1));
        self.timer.set(Expiration::OneShot(left.into()), TimerSetTimeFlags::empty())?;
        let mut wanted = vec![
            (Ready::Signal, PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)),
            (Ready::Listener, PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)),
            (Ready::Timer, PollFd::new(self.timer.as_fd(), PollFlags::POLLIN)),
        ];
        for (&id, client) in &self.clients {
            wanted.push((Ready::Read(id), PollFd::new(client.as_fd(), PollFlags::POLLIN)));
            if client.has_output() {
                wanted.push((Ready::Write(id), PollFd::new(client.as_fd(), PollFlags::POLLOUT)));
            }
            if let Some(events) = client.engine_events() {
                wanted.push((Ready::EngineEvent(id), PollFd::new(events, PollFlags::POLLIN)));
            }
        }
        let (what, mut fds): (Vec<Ready>, Vec<PollFd<'_>>) = wanted.into_iter().unzip();
        // Adoption shows in shared memory only, so it is looked for as long as somebody waits for it.
        let timeout =
            if self.bridge.is_waiting() { PollTimeout::from(ADOPTION_POLL_MS) } else { PollTimeout::NONE };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let is_ready = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        Ok(what.into_iter().zip(&fds).filter(|(_, fd)| is_ready(fd)).map(|(what, _)| what).collect())
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok(Some((socket, credentials))) if self.clients.len() < MOST_CLIENTS => {
                let id = ClientId(self.next_client);
                self.next_client += 1;
                self.clients.insert(id, Client::new(socket, credentials));
            }
            Ok(Some(_)) => tracing::warn!("{MOST_CLIENTS} clients are connected, one more is turned away"),
            Ok(None) => {}
            Err(error) => tracing::warn!("no client was accepted: {error}"),
        }
    }

    fn read(&mut self, id: ClientId) {
        for _ in 0..MESSAGES_A_TURN {
            let Some(client) = self.clients.get(&id) else { return };
            match client.receive(&mut self.buffer) {
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) => return self.close(id, None),
                Ok(Received::TooLong) => {
                    return self.close(id, Some("a message longer than any of ours".to_owned()));
                }
                Ok(Received::Message { octets, fds }) => {
                    let mut buffer = std::mem::take(&mut *self.buffer);
                    let outcome = self.dispatch(id, buffer.get(..octets).unwrap_or_default(), fds);
                    buffer.get_mut(..octets).unwrap_or_default().zeroize();
                    *self.buffer = buffer;
                    if let Err(why) = outcome {
                        return self.close(id, Some(why));
                    }
                }
                Err(error) => return self.close(id, Some(error.to_string())),
            }
        }
    }

    /// Hands a message to whom it is for. Errors: why the connection must end.
    fn dispatch(
        &mut self,
        id: ClientId,
        datagram: &[u8],
        fds: Vec<std::os::fd::OwnedFd>,
    ) -> Result<(), String> {
        let now_ns = boottime_ns().map_err(|errno| errno.to_string())?;
        match codec::magic_of(datagram) {
            Some(plugin::MAGIC) => self.plugin_message(id, datagram, now_ns),
            Some(BridgeRequest::MAGIC) => {
                self.operator_message(id, datagram, now_ns);
                Ok(())
            }
            Some(EngineHello::MAGIC) => self.engine_hello(id, datagram, fds, now_ns),
            Some(magic) => Err(format!("a message of {} octets with magic {magic:#010x}", datagram.len())),
            None => Err(format!("a message of {} octets", datagram.len())),
        }
    }

    fn plugin_message(&mut self, id: ClientId, datagram: &[u8], now_ns: u64) -> Result<(), String> {
        let (header, request) = match plugin::parse(datagram) {
            Ok(parsed) => parsed,
            Err(why) => {
                tracing::warn!("client {}: {why}", id.0);
                let header = plugin::header(datagram).map_err(|_| why.to_string())?;
                let reply = Reply::new(header.request_id.get(), Status::Failed).with_detail(&why.to_string());
                self.queue(id, reply.as_bytes());
                let client = self.clients.get_mut(&id).ok_or("is gone")?;
                return client
                    .complain()
                    .then_some(())
                    .ok_or_else(|| "too many malformed messages".to_owned());
            }
        };
        if let Request::Hello(hello) = request {
            let pid = self.clients.get(&id).map_or(0, Client::pid);
            let owner = self.bridge.hello(hello, pid, now_ns);
            if let Some(client) = self.clients.get_mut(&id) {
                client.set_role(Role::Daemon(owner));
            }
            let reply = Reply::new(header.request_id.get(), Status::Success);
            self.queue(id, reply.as_bytes());
            for event in self.untold.remove(&owner).unwrap_or_default() {
                self.queue(id, event.as_bytes());
            }
            return Ok(());
        }
        match self.clients.get(&id).and_then(Client::owner) {
            Some(owner) => self.bridge.request(id, owner, header, &request, now_ns),
            None => {
                let why = crate::refusal::Refusal::NoHello.to_string();
                tracing::warn!("client {}: {why}", id.0);
                let reply = Reply::new(header.request_id.get(), Status::Failed).with_detail(&why);
                self.queue(id, reply.as_bytes());
            }
        }
        Ok(())
    }

    fn operator_message(&mut self, id: ClientId, datagram: &[u8], now_ns: u64) {
        let reply = match codec::decode::<BridgeRequest>(datagram) {
            Ok(request) => {
                let local = std::cell::OnceCell::new();
                let is_local = |address| local.get_or_init(local_addresses).contains(&address);
                self.bridge.operate(request, &is_local, now_ns)
            }
            Err(error) => {
                tracing::warn!("client {}: {error}", id.0);
                let errno = nix::errno::Errno::EBADMSG as i32;
                BridgeReply::Refused(Refusal { change: None, errno, sentence: error.to_string() })
            }
        };
        self.queue_message(id, &reply);
    }

    fn engine_hello(
        &mut self,
        id: ClientId,
        datagram: &[u8],
        fds: Vec<std::os::fd::OwnedFd>,
        now_ns: u64,
    ) -> Result<(), String> {
        let hello = codec::decode::<EngineHello>(datagram).map_err(|error| error.to_string())?;
        let Ok([to_engine, from_engine]) = <[_; 2]>::try_from(fds) else {
            return Err("an engine's hello without its two eventfds".to_owned());
        };
        tracing::info!("engine {} (process {}) is connected", hello.version, hello.pid);
        if let Some(client) = self.clients.get_mut(&id) {
            client.set_role(Role::Engine { to_engine, from_engine });
        }
        self.bridge.set_engine_connected(true);
        self.bridge.follow_live(now_ns);
        let reply = HelloReply {
            pid: std::process::id(),
            generation: self.bridge.generation().0,
            refused: String::new(),
        };
        self.queue_message(id, &reply);
        Ok(())
    }

    fn engine_event(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get(&id) {
            client.drain_engine_events();
        }
        if let Ok(now_ns) = boottime_ns() {
            self.bridge.read_events(now_ns);
        }
    }

    fn send_outputs(&mut self) {
        let mut wake_engine = 0;
        for output in self.bridge.take_outputs() {
            match output {
                Output::Reply(id, reply) => self.queue(id, reply.as_bytes()),
                Output::Event(owner, event) => self.tell(owner, event),
                Output::SegmentChanged { load: true } => wake_engine |= CHANGED_BY_LOAD,
                Output::SegmentChanged { load: false } => wake_engine |= CHANGED,
            }
        }
        if wake_engine != 0 {
            self.clients.values().for_each(|client| client.wake_engine(wake_engine));
        }
    }

    fn tell(&mut self, owner: Owner, event: Event) {
        let newest = self.clients.iter().rev().find(|(_, client)| client.owner() == Some(owner));
        match newest.map(|(&id, _)| id) {
            Some(id) => self.queue(id, event.as_bytes()),
            None if owner == crate::owner::OPERATOR => {}
            None => {
                let untold = self.untold.entry(owner).or_default();
                if matches!(&event, Event::Expire(expire) if expire.hard != 0) && untold.len() < MOST_UNTOLD {
                    untold.push_back(event);
                }
            }
        }
    }

    fn queue_message<M: Message>(&mut self, id: ClientId, message: &M) {
        match codec::encode(message) {
            Ok(datagram) => self.queue(id, &datagram),
            Err(error) => self.close(id, Some(format!("its answer cannot be sent: {error}"))),
        }
    }

    fn queue(&mut self, id: ClientId, datagram: &[u8]) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Err(why) = client.send(datagram) {
            self.close(id, why);
        }
    }

    fn flush(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if let Err(why) = client.flush() {
            self.close(id, why);
        }
    }

    fn close(&mut self, id: ClientId, why: Option<String>) {
        let Some(client) = self.clients.remove(&id) else { return };
        match why {
            Some(why) => tracing::warn!("{} is disconnected: {why}", client.name()),
            None if client.is_operator() => {}
            None => tracing::info!("{} has disconnected", client.name()),
        }
        let engine_left = self.clients.values().any(|client| client.engine_events().is_some());
        self.bridge.set_engine_connected(engine_left);
    }
}

/// Returns the time that limits count in.
fn boottime_ns() -> nix::Result<u64> {
    let now = clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)?;
    Ok(u64::try_from(std::time::Duration::from(now).as_nanos()).unwrap_or(u64::MAX))
}

/// Returns this host's addresses; an SA that an operator adds without a direction is placed by them.
fn local_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    interfaces.filter_map(address).collect()
}

const TICK_NS: u64 = 1_000_000_000;
const ADOPTION_POLL_MS: u8 = 1;
const MOST_CLIENTS: usize = 256;
const MESSAGES_A_TURN: usize = 64;
const MOST_UNTOLD: usize = 4096;
