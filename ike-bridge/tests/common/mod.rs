//! A bridge in a directory of its own, and clients that speak to it as the plugin, the operator and the engine do.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of this")]
#![allow(clippy::unwrap_used, missing_docs, reason = "a failed step of a test is the test's failure")]

use std::io::{IoSlice, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, sendmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use shm_protocol::codec;
use shm_protocol::live::Live;
use shm_protocol::messages::control::{BridgeReply, BridgeRequest, EngineHello, HelloReply};
use shm_protocol::messages::plugin::{
    AddSa, Expire, GetSpi, Header, Hello, Host, MAGIC, MAX_TS, Policy, PolicyRef, Ports, Range, Reply, SaId,
    SaRef, Status, TrafficSelector, UpdateSa, VERSION,
};
use shm_protocol::place::RuntimeDir;
use shm_protocol::sad::SadReader;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A running bridge; it is killed when dropped.
pub struct Bridge {
    child: Child,
    arguments: Vec<String>,
    pub dir: tempfile::TempDir,
}

impl Bridge {
    pub fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("bridge-test").tempdir_in("/dev/shm").unwrap();
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let child = spawn(dir.path(), &arguments);
        Self { child, arguments, dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Kills it where it stands and starts another.
    pub fn kill_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = spawn(self.dir.path(), &self.arguments);
    }

    /// Ends it politely and returns its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().code()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs another bridge on the same directory to its end.
    pub fn second(&self) -> (Option<i32>, String) {
        let output = command(self.path(), &[]).stderr(Stdio::piped()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }

    pub fn log(&self) -> String {
        let mut log = String::new();
        std::fs::File::open(self.path().join("log")).unwrap().read_to_string(&mut log).unwrap();
        log
    }

    pub fn sad(&self) -> SadReader {
        SadReader::attach(&RuntimeDir::open(self.path()).unwrap()).unwrap()
    }

    pub fn daemon(&self) -> Daemon {
        Daemon::hello(self.path(), 1)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(dir: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ike-bridge"));
    command.arg("--runtime-dir").arg(dir).args(arguments);
    command
}

fn spawn(dir: &Path, arguments: &[String]) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(dir.join("log")).unwrap();
    let child = command(dir, arguments).stderr(log).spawn().unwrap();
    eventually("the bridge answers", || Connection::open(&dir.join("bridge.sock")).is_some());
    child
}

/// Waits up to five seconds.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within five seconds");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A connected socket.
pub struct Connection(OwnedFd);

impl Connection {
    pub fn open(path: &Path) -> Option<Self> {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        connect(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()).ok()?;
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(5)).unwrap();
        Some(Self(fd))
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    pub fn send(&self, datagram: &[u8]) {
        send(self.0.as_raw_fd(), datagram, MsgFlags::MSG_NOSIGNAL).unwrap();
    }

    /// Returns the next datagram, `None` when the bridge has closed the connection.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; codec::MAX_REPLY_OCTETS];
        let octets =
            recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty()).expect("an answer in five seconds");
        buffer.truncate(octets);
        (octets > 0).then_some(buffer)
    }

    pub fn operate(&self, request: &BridgeRequest) -> BridgeReply {
        self.send(&codec::encode(request).unwrap());
        codec::decode(&self.receive().unwrap()).unwrap()
    }
}

/// A connection that speaks as charon's plugin.
pub struct Daemon {
    pub connection: Connection,
    next_id: u64,
    events: Vec<Vec<u8>>,
}

impl Daemon {
    /// Connects as the process of `charon` that was started at `start_ticks`.
    pub fn hello(dir: &Path, start_ticks: u64) -> Self {
        let connection = Connection::open(&dir.join("bridge.sock")).unwrap();
        let mut daemon = Self { connection, next_id: 1000 * start_ticks, events: Vec::new() };
        let mut hello = Hello::new_zeroed();
        hello.start_ticks = start_ticks.into();
        hello.daemon[..6].copy_from_slice(b"charon");
        assert_eq!(status(&daemon.ask(1, &mut hello)), Status::Success as u32);
        daemon
    }

    /// Sends a request under a new id and returns its reply; events that come in between are kept.
    pub fn ask<T: Wire>(&mut self, kind: u16, message: &mut T) -> Reply {
        let id = self.next_id();
        self.ask_as(id, 0, kind, message)
    }

    pub fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub fn ask_as<T: Wire>(&mut self, id: u64, flags: u32, kind: u16, message: &mut T) -> Reply {
        self.send_as(id, flags, kind, message);
        self.reply(id)
    }

    pub fn send_as<T: Wire>(&mut self, id: u64, flags: u32, kind: u16, message: &mut T) {
        *message.header() = Header {
            magic: MAGIC.into(),
            version: VERSION.into(),
            kind: kind.into(),
            length: u32::try_from(size_of::<T>()).unwrap().into(),
            flags: flags.into(),
            request_id: id.into(),
        };
        self.connection.send(message.as_bytes());
    }

    pub fn reply(&mut self, id: u64) -> Reply {
        loop {
            let datagram = self.connection.receive().expect("a reply");
            match Reply::ref_from_prefix(&datagram) {
                Ok((reply, _)) if reply.header.kind.get() == 64 && reply.header.request_id.get() == id => {
                    return *reply;
                }
                _ => self.events.push(datagram),
            }
        }
    }

    /// Returns the next expire event.
    pub fn expire(&mut self) -> Expire {
        loop {
            let datagram = if self.events.is_empty() {
                self.connection.receive().unwrap()
            } else {
                self.events.remove(0)
            };
            let (expire, _) = Expire::ref_from_prefix(&datagram).unwrap();
            if expire.header.kind.get() == 128 {
                return *expire;
            }
        }
    }

    pub fn get_spi(&mut self) -> u32 {
        let mut message = GetSpi::new_zeroed();
        (message.src, message.dst, message.proto) = (host("192.0.2.2"), host("192.0.2.1"), 50);
        let reply = self.ask(2, &mut message);
        assert_eq!(status(&reply), Status::Success as u32, "{}", detail(&reply));
        reply.spi.get()
    }

    pub fn add_sa(&mut self, message: &mut AddSa) -> Reply {
        self.ask(3, message)
    }

    /// Adds an inbound SA under a reserved SPI and an outbound one; returns their SPIs.
    pub fn add_pair(&mut self, peer_spi: u32) -> (u32, u32) {
        let spi = self.get_spi();
        for mut message in [inbound(spi), outbound(peer_spi)] {
            let reply = self.add_sa(&mut message);
            assert_eq!(status(&reply), Status::Success as u32, "{}", detail(&reply));
        }
        (spi, peer_spi)
    }

    pub fn query_sa(&mut self, id: SaId) -> Reply {
        let mut message = SaRef::new_zeroed();
        message.id = id;
        self.ask(5, &mut message)
    }

    pub fn del_sa(&mut self, id: SaId) -> u32 {
        let mut message = SaRef::new_zeroed();
        message.id = id;
        status(&self.ask(6, &mut message))
    }

    pub fn update_sa(&mut self, id: SaId, src: Host, dst: Host) -> Reply {
        let mut message = UpdateSa::new_zeroed();
        (message.id, message.new_src, message.new_dst, message.new_encap) = (id, src, dst, 1);
        self.ask(4, &mut message)
    }

    pub fn add_policy(&mut self, dir: u8, spi: u32) -> Reply {
        self.ask(8, &mut policy(dir, spi))
    }

    pub fn del_policy(&mut self, dir: u8, spi: u32) -> u32 {
        status(&self.ask(10, &mut policy(dir, spi)))
    }

    pub fn query_policy(&mut self, dir: u8) -> Reply {
        let mut message = PolicyRef::new_zeroed();
        message.id = policy(dir, 0).id;
        self.ask(9, &mut message)
    }
}

/// What every request has.
pub trait Wire: IntoBytes + FromBytes + KnownLayout + Immutable + Unaligned {
    fn header(&mut self) -> &mut Header;
}

macro_rules! wire {
    ($($name:ty)*) => {$(impl Wire for $name {
        fn header(&mut self) -> &mut Header {
            &mut self.header
        }
    })*};
}
wire!(Hello GetSpi AddSa UpdateSa SaRef Policy PolicyRef);

pub fn status(reply: &Reply) -> u32 {
    reply.status.get()
}

pub fn detail(reply: &Reply) -> String {
    String::from_utf8(reply.detail[..usize::from(reply.detail_octets.get())].to_vec()).unwrap()
}

pub fn host(address: &str) -> Host {
    Host::new(address.parse().unwrap(), 4500)
}

pub fn id_in(spi: u32) -> SaId {
    let mut id = SaId::new_zeroed();
    (id.src, id.dst, id.spi, id.proto) = (host("192.0.2.2"), host("192.0.2.1"), spi.into(), 50);
    id
}

pub fn id_out(spi: u32) -> SaId {
    let mut id = SaId::new_zeroed();
    (id.src, id.dst, id.spi, id.proto) = (host("192.0.2.1"), host("192.0.2.2"), spi.into(), 50);
    id
}

pub fn inbound(spi: u32) -> AddSa {
    let mut message = outbound(spi);
    message.id = id_in(spi);
    (message.inbound, message.update) = (1, 1);
    message.replay_window_pkts = 32.into();
    (message.src_ts, message.dst_ts) = (message.dst_ts, message.src_ts);
    message
}

pub fn outbound(spi: u32) -> AddSa {
    let mut message = AddSa::new_zeroed();
    message.id = id_out(spi);
    message.reqid = 1.into();
    (message.enc_alg, message.enc_key_octets, message.int_alg) = (20.into(), 36.into(), 1024.into());
    message.enc_key[..36].iter_mut().zip(0..).for_each(|(octet, at)| *octet = at ^ spi.to_le_bytes()[0]);
    (message.mode, message.cpu) = (2, u32::MAX.into());
    (message.copy_df, message.copy_ecn) = (1, 1);
    (message.src_ts_count, message.dst_ts_count) = (1, 1);
    let [mut src, mut dst] = [[TrafficSelector::new_zeroed(); MAX_TS]; 2];
    (src[0], dst[0]) = (ts("10.1.0.0", "10.1.255.255"), ts("10.2.0.0", "10.2.255.255"));
    (message.src_ts, message.dst_ts) = (src, dst);
    message
}

pub fn ts(from: &str, to: &str) -> TrafficSelector {
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    TrafficSelector::new(&Range { from, to, proto: 0, ports: Ports::Range(0, u16::MAX) })
}

/// A policy of direction 0 in, 1 out, 2 fwd.
pub fn policy(dir: u8, spi: u32) -> Policy {
    let mut message = Policy::new_zeroed();
    message.id.dir = dir;
    let sa = outbound(spi);
    let (src, dst) = (sa.src_ts[0], sa.dst_ts[0]);
    (message.id.src_ts, message.id.dst_ts) = if dir == 1 { (src, dst) } else { (dst, src) };
    let id = if dir == 1 { id_out(spi) } else { id_in(spi) };
    (message.src, message.dst) = (id.src, id.dst);
    (message.kind, message.prio, message.mode, message.esp_use) = (1, 1, 2, 1);
    (message.reqid, message.esp_spi) = (1.into(), spi.into());
    message
}

/// What the engine does, as far as the bridge sees it.
pub struct Engine {
    pub live: Live,
    pub changed: EventFd,
    pub events: EventFd,
    _connection: Connection,
}

impl Engine {
    pub fn connect(dir: &Path) -> Self {
        let live = Live::attach_or_create(&RuntimeDir::open(dir).unwrap()).unwrap();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let (changed, events) = (EventFd::from_flags(flags).unwrap(), EventFd::from_flags(flags).unwrap());
        let connection = Connection::open(&dir.join("bridge.sock")).unwrap();
        let hello =
            EngineHello { pid: std::process::id(), instance: live.instance().0, version: "test".to_owned() };
        let message = codec::encode(&hello).unwrap();
        let fds = [changed.as_fd().as_raw_fd(), events.as_fd().as_raw_fd()];
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<()>(connection.0.as_raw_fd(), &[IoSlice::new(&message)], &rights, MsgFlags::empty(), None)
            .unwrap();
        let reply: HelloReply = codec::decode(&connection.receive().unwrap()).unwrap();
        assert_eq!(reply.refused, "");
        Self { live, changed, events, _connection: connection }
    }
}

pub fn socket_of(bridge: &Bridge) -> PathBuf {
    bridge.path().join("bridge.sock")
}
