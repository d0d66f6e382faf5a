//! Ports on kernel devices, in network namespaces of the test's own: silenced, spoken for by the TAP, given back.
//! Without the right to make a namespace the tests say so and pass.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::Signal;
use running::{Place, Running};
use shm_protocol::messages::control::{Cursor, EngineReply, EngineRequest};

mod running;

const PORT: &str = "[[port]]\nname = \"wan\"\ndevice = \"net_af_packet0,iface=va\"\naddresses = [\"192.0.2.1/24\", \"2001:db8::1/64\"]\n";

/// A namespace that a sleeping process holds.
struct Peer(Child);

impl Peer {
    fn new() -> Self {
        let held = Command::new("unshare").args(["-n", "sleep", "120"]).stdin(Stdio::null()).spawn().unwrap();
        let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
        let theirs = format!("/proc/{}/ns/net", held.id());
        let deadline = Instant::now() + Duration::from_secs(5);
        while std::fs::read_link(&theirs).is_ok_and(|link| link == own) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        Self(held)
    }

    fn ip(&self, arguments: &str) -> String {
        let pid = self.0.id().to_string();
        shell(&["nsenter", "-t", &pid, "-n"], &format!("ip {arguments}"))
    }

    /// Runs in the namespace, on a thread of its own.
    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let file = std::fs::File::open(format!("/proc/{}/ns/net", self.0.id())).unwrap();
        let run = move || {
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        std::thread::spawn(run).join().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `test` on a thread in a fresh namespace with a veth `va`, whose other end `vb` is at a peer with 192.0.2.2.
fn with_peer(test: impl FnOnce(&Peer) + Send + 'static) {
    let run = move || {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            eprintln!("skipped: no right to make a network namespace");
            return;
        }
        let peer = Peer::new();
        ip("link add va type veth peer name vb");
        ip(&format!("link set vb netns {}", peer.0.id()));
        ip("link set va up");
        peer.ip("link set vb up");
        peer.ip("address add 192.0.2.2/24 dev vb");
        peer.ip("-6 address add 2001:db8::2/64 dev vb nodad");
        // A veth leaves checksums unfinished, and the kernel drops them when they come from a TAP.
        let pid = peer.0.id().to_string();
        shell(&["nsenter", "-t", &pid, "-n"], "ethtool -K vb tx off tso off gso off gro off");
        shell(&[], "ethtool -K va tx off tso off gso off gro off");
        test(&peer);
    };
    std::thread::spawn(run).join().unwrap();
}

fn ip(arguments: &str) -> String {
    shell(&[], &format!("ip {arguments}"))
}

fn shell(prefix: &[&str], command: &str) -> String {
    let words: Vec<&str> = prefix.iter().copied().chain(command.split(' ')).collect();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The device as `ip` shows it, without what time changes.
fn shown() -> String {
    ip("-d link show va")
}

/// Whether a datagram to a closed port of the gateway comes back as "port unreachable": both ways work.
fn reaches(peer: &Peer, from: &'static str, to: &'static str) -> bool {
    peer.run(move || {
        let socket = UdpSocket::bind((from, 0)).unwrap();
        socket.connect((to, 9)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        (0..10).any(|_| {
            let sent = socket.send(b"are you there?");
            let answer = socket.recv(&mut [0; 64]);
            let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
            sent.is_err_and(|error| refused(&error)) || answer.is_err_and(|error| refused(&error))
        })
    })
}

#[test]
fn the_kernel_answers_through_the_tap_and_the_device_is_given_back() {
    with_peer(|peer| {
        let before = shown();
        let place = Place::new();
        place.write("", PORT);
        let engine = Running::start(&place);
        assert!(shown().contains("NOARP") && shown().contains("PROMISC"), "{}", shown());
        assert!(reaches(peer, "192.0.2.2", "192.0.2.1"), "IPv4 through the engine");
        assert!(reaches(peer, "2001:db8::2", "2001:db8::1"), "IPv6 through the engine");
        let mac = before.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        assert!(
            peer.ip("neighbour show").contains(&mac),
            "the gateway goes on under the address of its device"
        );
        let EngineReply::Workers { ledger, .. } = engine.ask(&EngineRequest::Workers { cursor: Cursor(0) })
        else {
            panic!()
        };
        assert!(ledger.received > 0 && ledger.punted > 0 && ledger.sent > 0, "{ledger:?}");
        assert_eq!(
            ledger.received + ledger.host_made,
            ledger.sent + ledger.punted + ledger.drops,
            "{ledger:?}"
        );
        assert_eq!(engine.stop(Signal::SIGTERM).code(), Some(0));
        assert_eq!(shown(), before);
        assert!(ip("address show dev wan").contains("NO-CARRIER"), "the TAP stays");
    });
}

#[test]
fn a_killed_engine_leaves_nothing_the_next_one_cannot_give_back() {
    with_peer(|peer| {
        let before = shown();
        let place = Place::new();
        place.write("", PORT);
        Running::start(&place).stop(Signal::SIGKILL);
        assert_ne!(shown(), before);
        let engine = Running::start(&place);
        assert!(reaches(peer, "192.0.2.2", "192.0.2.1"));
        assert_eq!(engine.stop(Signal::SIGTERM).code(), Some(0));
        assert_eq!(shown(), before);
    });
}

#[test]
fn without_netdevs_the_engine_answers_for_itself_and_makes_no_device() {
    with_peer(|peer| {
        let before = shown();
        let place = Place::new();
        place.write("netdevs = false", PORT);
        let engine = Running::start(&place);
        peer.run(|| {
            let socket = UdpSocket::bind("192.0.2.2:0").unwrap();
            socket.send_to(b"who has it?", "192.0.2.1:9").unwrap();
            std::thread::sleep(Duration::from_millis(500));
        });
        let neighbours = peer.ip("neighbour show 192.0.2.1");
        assert!(neighbours.contains("lladdr"), "ARP is answered: {neighbours}");
        assert!(!ip("link show").contains("wan"));
        assert_eq!(engine.stop(Signal::SIGTERM).code(), Some(0));
        assert_eq!(shown(), before);
    });
}

#[test]
fn a_failed_start_gives_the_device_back() {
    with_peer(|_| {
        let before = shown();
        let place = Place::new();
        place.write("", &format!("{PORT}[[port]]\nname = \"lan\"\ndevice = \"net_nonsense0\"\n"));
        let (code, line) = running::fails(&place.file());
        assert_eq!(code, 1);
        assert!(line.contains("port lan: device net_nonsense0"), "{line}");
        assert_eq!(shown(), before);
    });
}

#[test]
fn a_reload_makes_and_removes_interfaces_while_the_others_stay() {
    with_peer(|peer| {
        let place = Place::new();
        let interface = |id: u8| {
            format!("[[interface]]\nname = \"ipsec{id}\"\nif_id = {id}\naddresses = [\"10.255.{id}.1/30\"]\n")
        };
        let route = |id: u8| format!("[[route]]\nto = \"10.{id}.0.0/16\"\ndev = \"ipsec{id}\"\n");
        place.write("", &format!("{PORT}{}{}", interface(1), route(1)));
        let engine = Running::start(&place);
        let index = |name: &str| ip(&format!("link show {name}")).split(':').next().unwrap().to_owned();
        let first = index("ipsec1");
        place.write("", &format!("{PORT}{}{}{}{}", interface(1), interface(2), route(1), route(2)));
        assert!(matches!(engine.ask(&EngineRequest::Reload), EngineReply::Reloaded { .. }));
        assert!(ip("route show").contains("10.2.0.0/16 dev ipsec2"));
        assert_eq!(index("ipsec1"), first, "what did not change stays");
        place.write("", &format!("{PORT}{}{}", interface(2), route(2)));
        assert!(matches!(engine.ask(&EngineRequest::Reload), EngineReply::Reloaded { .. }));
        let links = ip("link show");
        assert!(!links.contains("ipsec1") && links.contains("ipsec2"), "{links}");
        assert!(reaches(peer, "192.0.2.2", "192.0.2.1"));
        assert_eq!(engine.stop(Signal::SIGTERM).code(), Some(0));
    });
}
