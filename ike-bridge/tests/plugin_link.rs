//! The plugin's connection (`charon-plugin/link.c`) against a bridge that answers late, never, or goes away.

#![allow(clippy::unwrap_used, reason = "a test")]

use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept, bind, listen, recv, send,
    setsockopt, socket, sockopt::ReceiveTimeout,
};
use nix::sys::time::{TimeVal, TimeValLike};
use shm_protocol::messages::plugin::{Event, Host, RESENT, Reply, Request, Status, parse};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

const ADD_POLICY: u16 = 8;
const QUERY_SA: u16 = 5;
const DEL_SA: u16 = 6;

/// The C program, compiled with the plugin's own file, and what it prints.
struct Caller {
    process: Child,
    lines: Receiver<String>,
}

impl Caller {
    fn start(folder: &Path) -> Self {
        let program = folder.join("link_test");
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let (plugin, headers) = (root.join("ike-bridge/charon-plugin"), root.join("build/strongswan/src"));
        assert!(headers.is_dir(), "no headers of strongSwan: run `make setup`");
        let compiled = Command::new("cc")
            .args([
                "-std=gnu17",
                "-O1",
                "-DSTRONGSWAN_VERSION=\"test\"",
                "-DESPALIER_PLUGIN_VERSION=\"test\"",
            ])
            .args(["-include", "config-min.h", "link.c", "link_test.c", "-o"])
            .arg(&program)
            .args(["-isystem", headers.join("libstrongswan").to_str().unwrap()])
            .args(["-L/usr/lib/ipsec", "-Wl,-rpath,/usr/lib/ipsec", "-l:libstrongswan.so.0"])
            .current_dir(plugin)
            .status();
        assert!(compiled.unwrap().success());
        let mut process = Command::new(program)
            .arg(folder.join("sock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(process.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|l| sender.send(l)));
        Caller { process, lines }
    }

    fn call(&mut self, kind: u16) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{kind}").unwrap();
    }

    /// Returns type, whether it was answered, and the milliseconds it took.
    fn ended(&self) -> (u16, bool, u32) {
        let line = self.lines.recv_timeout(Duration::from_secs(10)).unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        (words[0].parse().unwrap(), words[1] == "done", words[2].parse().unwrap())
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let ended = self.process.wait().unwrap();
        assert!(std::thread::panicking() || ended.success(), "the link ends without a fault");
    }
}

/// One message of the plugin: type, request id, whether it was sent before, deletes announced.
#[derive(Debug, PartialEq)]
struct Got {
    kind: u16,
    id: u64,
    resent: bool,
    pending_deletes: u32,
}

struct Bridge {
    listener: OwnedFd,
    connection: Option<OwnedFd>,
}

impl Bridge {
    fn start(folder: &Path) -> Self {
        let path = folder.join("sock");
        let _ = std::fs::remove_file(&path);
        let listener =
            socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(4).unwrap()).unwrap();
        Bridge { listener, connection: None }
    }

    /// Takes the next connection and answers its hello; returns the hello.
    fn greet(&mut self, status: Status) -> Got {
        self.connection = Some(accept_from(&self.listener));
        let hello = self.receive();
        assert_eq!(hello.kind, 1);
        self.send(Reply::new(hello.id, status).with_detail("a bridge for the test").as_bytes());
        hello
    }

    fn receive(&self) -> Got {
        let mut buffer = [0; 2048];
        let got =
            recv(self.connection.as_ref().unwrap().as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        let (header, request) = parse(&buffer[..got]).unwrap();
        let pending_deletes =
            if let Request::Hello(hello) = request { hello.pending_deletes.get() } else { 0 };
        let resent = header.flags.get() & RESENT != 0;
        Got { kind: header.kind.get(), id: header.request_id.get(), resent, pending_deletes }
    }

    fn send(&self, message: &[u8]) {
        let connection = self.connection.as_ref().unwrap().as_raw_fd();
        assert_eq!(send(connection, message, MsgFlags::MSG_NOSIGNAL).unwrap(), message.len());
    }

    fn answer(&self, id: u64) {
        self.send(Reply::new(id, Status::Success).as_bytes());
    }
}

#[allow(unsafe_code, reason = "nix's accept returns a bare number")]
fn accept_from(listener: &OwnedFd) -> OwnedFd {
    let number = accept(listener.as_raw_fd()).unwrap();
    // SAFETY: `accept` has just made this descriptor and nothing else owns it.
    let connection = unsafe { OwnedFd::from_raw_fd(number) };
    setsockopt(&connection, ReceiveTimeout, &TimeVal::seconds(10)).unwrap();
    connection
}

fn pair() -> (tempfile::TempDir, Bridge, Caller) {
    let folder = tempfile::tempdir().unwrap();
    let mut bridge = Bridge::start(folder.path());
    let caller = Caller::start(folder.path());
    bridge.greet(Status::Success);
    (folder, bridge, caller)
}

#[test]
fn a_query_waits_200_ms_and_its_late_answer_does_no_harm() {
    let (_folder, bridge, mut caller) = pair();
    caller.call(QUERY_SA);
    let query = bridge.receive();
    let (_, answered, ms) = caller.ended();
    assert!(!answered && (200..1500).contains(&ms), "{ms} ms");
    bridge.answer(query.id);
    caller.call(DEL_SA);
    bridge.answer(bridge.receive().id);
    assert!(caller.ended().1);
}

#[test]
fn no_call_waits_behind_another() {
    let (_folder, bridge, mut caller) = pair();
    caller.call(ADD_POLICY);
    let slow = bridge.receive();
    for _ in 0..20 {
        caller.call(DEL_SA);
        bridge.answer(bridge.receive().id);
        assert!(matches!(caller.ended(), (DEL_SA, true, _)));
    }
    bridge.answer(slow.id);
    assert!(matches!(caller.ended(), (ADD_POLICY, true, _)));
}

#[test]
fn a_change_survives_a_restart_of_the_bridge_under_one_request_id() {
    let (folder, bridge, mut caller) = pair();
    caller.call(ADD_POLICY);
    let first = bridge.receive();
    assert!(!first.resent);
    drop(bridge);
    std::thread::sleep(Duration::from_millis(300));
    let mut bridge = Bridge::start(folder.path());
    assert_eq!(bridge.greet(Status::Success).pending_deletes, 0);
    let again = bridge.receive();
    assert_eq!((again.kind, again.id, again.resent), (ADD_POLICY, first.id, true));
    bridge.answer(again.id);
    assert!(caller.ended().1);
}

#[test]
fn a_change_without_a_bridge_fails_after_two_seconds_and_is_forgotten() {
    let (folder, bridge, mut caller) = pair();
    drop(bridge);
    caller.call(ADD_POLICY);
    let (_, answered, ms) = caller.ended();
    assert!(!answered && (2000..5000).contains(&ms), "{ms} ms");
    let mut bridge = Bridge::start(folder.path());
    bridge.greet(Status::Success);
    caller.call(DEL_SA);
    let next = bridge.receive();
    assert_eq!(next.kind, DEL_SA);
    bridge.answer(next.id);
    assert!(caller.ended().1);
}

#[test]
fn deletes_left_over_are_announced_and_sent_first_in_their_order() {
    let (folder, bridge, mut caller) = pair();
    caller.call(DEL_SA);
    let sent = bridge.receive();
    drop(bridge);
    assert!(!caller.ended().1);
    let began = Instant::now();
    caller.call(DEL_SA);
    assert!(!caller.ended().1);
    assert!(began.elapsed() < Duration::from_secs(1), "a long absence does not hold charon up");
    caller.call(ADD_POLICY);
    std::thread::sleep(Duration::from_millis(100));
    let mut bridge = Bridge::start(folder.path());
    assert_eq!(bridge.greet(Status::Success).pending_deletes, 2);
    let (first, second, third) = (bridge.receive(), bridge.receive(), bridge.receive());
    assert_eq!((first.kind, first.id, first.resent), (DEL_SA, sent.id, true));
    assert_eq!((second.kind, second.resent), (DEL_SA, false));
    assert_eq!((third.kind, third.resent), (ADD_POLICY, false));
    assert!(first.id < second.id && second.id < third.id);
    for got in [third, first, second] {
        bridge.answer(got.id);
    }
    assert!(caller.ended().1);
    drop(bridge);
    let mut bridge = Bridge::start(folder.path());
    assert_eq!(bridge.greet(Status::Success).pending_deletes, 0, "what was answered is not sent again");
}

#[test]
fn a_bridge_that_refuses_the_hello_gets_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut bridge = Bridge::start(folder.path());
    let mut caller = Caller::start(folder.path());
    caller.call(ADD_POLICY);
    bridge.greet(Status::Failed);
    let first = bridge.connection.take().unwrap();
    assert_eq!(recv(first.as_raw_fd(), &mut [0; 64], MsgFlags::empty()), Ok(0), "the plugin hangs up");
    bridge.greet(Status::Success);
    bridge.answer(bridge.receive().id);
    assert!(caller.ended().1, "the next bridge serves the call");
}

#[test]
fn events_pass_while_a_call_waits() {
    let (_folder, bridge, mut caller) = pair();
    caller.call(ADD_POLICY);
    let waiting = bridge.receive();
    let peer = Host::new("192.0.2.1".parse().unwrap(), 0);
    bridge.send(Event::expire(0x1234_5678, peer, false).as_bytes());
    assert_eq!(caller.lines.recv_timeout(Duration::from_secs(5)).as_deref(), Ok("event 128"));
    bridge.answer(waiting.id);
    assert!(caller.ended().1);
}
