//! The packet path allocates and frees nothing: its ports here have their buffers and frames from before.
#![allow(unsafe_code, reason = "a counting allocator is an allocator")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dataplane::path::host::{FromHost, HostDevice};
use dataplane::ports::{Buffer, Burst, InterfaceId, PortId, Ports};
use dataplane::tables::topology::Topology;
use node::octets::{Udp, frame};
use node::records::{BACK, THERE};
use node::site::site;
use node::{LAN, Node, WAN};
use shm_protocol::sa::{Limit, Limits};

mod node;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Octets in front of a frame.
const HEADROOM: usize = 128;
const ROOM: usize = 2304;

/// A buffer of fixed size, moved and never on the heap by itself.
#[derive(Clone)]
struct Flat {
    room: [u8; ROOM],
    start: usize,
    end: usize,
}

impl Flat {
    const fn empty() -> Self {
        Self { room: [0; ROOM], start: HEADROOM, end: HEADROOM }
    }

    fn of(octets: &[u8]) -> Self {
        let mut flat = Self::empty();
        assert!(flat.append(octets.len()));
        flat.data_mut().copy_from_slice(octets);
        flat
    }
}

impl Buffer for Flat {
    fn data(&self) -> &[u8] {
        &self.room[self.start..self.end]
    }

    fn data_mut(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.end]
    }

    fn prepend(&mut self, octets: usize) -> bool {
        let fits = octets <= self.start;
        self.start -= if fits { octets } else { 0 };
        fits
    }

    fn append(&mut self, octets: usize) -> bool {
        let fits = octets <= ROOM - self.end;
        self.end += if fits { octets } else { 0 };
        fits
    }

    fn adj(&mut self, octets: usize) {
        self.start += octets.min(self.end - self.start);
    }

    fn trim(&mut self, octets: usize) {
        self.end -= octets.min(self.end - self.start);
    }
}

/// Ports that give out frames in lists made before and count what is sent.
#[derive(Default)]
struct Flats {
    arriving: [Vec<Flat>; 2],
    sent: [usize; 2],
}

impl Ports for Flats {
    type Buf = Flat;

    fn rx(&mut self, port: PortId, burst: &mut Burst<Flat>) -> u64 {
        let frames = &mut self.arriving[usize::from(port.0)];
        let count = frames.len().min(burst.capacity());
        burst.extend(frames.drain(..count));
        0
    }

    fn tx(&mut self, port: PortId, burst: &mut Burst<Flat>) {
        self.sent[usize::from(port.0)] += burst.drain(..).count();
    }

    fn alloc(&mut self) -> Option<Flat> {
        Some(Flat::empty())
    }

    fn owns_tx(&self, _port: PortId) -> bool {
        true
    }

    fn tx_owner(&self, _port: PortId) -> usize {
        0
    }
}

/// Everything a gateway meets: both ways through the tunnel, pieces, errors, the host, replays and forgeries.
struct Traffic {
    lan: Vec<Vec<u8>>,
    wan: Vec<Vec<u8>>,
    tun: Vec<Vec<u8>>,
}

fn traffic(peer: &mut Node, round: u32) -> Traffic {
    let there = Udp::new("10.1.0.9", "10.2.0.9").tag(round);
    let lan = vec![
        there.frame(),
        Udp::new("2001:db8:1::9", "2001:db8:2::9").frame(),
        there.octets(1500).frame(),
        Udp { dont_fragment: true, ..there.octets(1500) }.frame(),
        Udp { ttl: 1, ..there }.frame(),
        Udp::new("10.1.0.9", "10.3.0.9").frame(),
        Udp::new("10.1.0.9", "10.200.0.9").frame(),
        Udp::new("10.1.0.9", "10.2.1.77").frame(),
    ];
    let back: Vec<_> = ["10.1.0.9", "10.91.0.1", "10.1.0.77"]
        .iter()
        .map(|dst| Udp::new("10.2.0.9", dst).tag(round).packet())
        .chain([Udp::new("2001:db8:2::9", "2001:db8:1::9").packet()])
        .collect();
    let mut wan = peer.seals(&back);
    wan.push(wan[0].clone());
    let mut forged = wan[1].clone();
    *forged.last_mut().unwrap() ^= 1;
    wan.push(forged);
    wan.push(Udp { ports: (500, 500), ..Udp::new("192.0.2.2", "192.0.2.1") }.frame());
    wan.push(frame(&[0x45; 30]));
    Traffic { lan, wan, tun: vec![there.packet()] }
}

/// The gateway the paths here are of; its own paths are not used.
fn gateway() -> Node {
    let mut node = Node::new(Topology { netdevs: true, ..site(1) });
    node.commit(|records| {
        let mut there = THERE.sends(3);
        there.limits = Limits { packets: Limit::new(20, 200), ..Limits::default() };
        records.put_sa(&there).put_sa(&BACK.receives(4));
        THERE.policies_out(0, records);
        BACK.policies_in(4, records);
        THERE.in_tunnel(2).policies_out(12, records);
    });
    node
}

#[test]
fn polling_allocates_and_frees_nothing_with_traffic_both_ways() {
    with_room(poll_with_traffic_both_ways);
}

#[test]
fn packets_that_another_worker_opens_go_there_and_back_without_the_allocator() {
    with_room(spray);
}

/// Runs a test: lists of buffers that are not pointers take more stack than a thread of a test has.
fn with_room(test: fn()) {
    std::thread::Builder::new().stack_size(16 << 20).spawn(test).unwrap().join().unwrap();
}

fn poll_with_traffic_both_ways() {
    let mut peer = Node::new(site(2));
    peer.commit(|records| {
        records.put_sa(&BACK.sends(4));
        BACK.policies_out(0, records);
    });
    let gateway = gateway();
    let (mut path, shared) = gateway.another_path(Flats::default());
    let mut now_ns = gateway.now_ns;
    let (mut counted, mut sent) = (0, [0; 2]);
    for round in 0..100 {
        let Traffic { lan, wan, tun } = traffic(&mut peer, round);
        for (port, frames) in [(LAN, lan), (WAN, wan)] {
            let own = frames.iter().map(|frame| Flat::of(&[&node::octets::OWN_MAC, &frame[6..]].concat()));
            path.ports_mut().arriving[port] = own.collect();
        }
        for packet in tun {
            let device = HostDevice::Interface(InterfaceId(0));
            assert!(shared.host.from_host.push(FromHost { device, buf: Flat::of(&packet) }).is_ok());
        }
        now_ns += 100_000_000;
        let before = COUNT.get();
        while path.poll(now_ns) > 0 {}
        // The first rounds may set up what is set up once.
        counted += if round < 2 { 0 } else { COUNT.get() - before };
        sent = path.ports_mut().sent;
        while shared.host.punts.pop().is_some() {}
        while shared.notices.pop().is_some() {}
    }
    assert!(COUNT.get() > 0, "the allocator counts");
    assert_eq!(counted, 0, "calls of the allocator");
    assert!(sent[LAN] >= 300 && sent[WAN] >= 200, "{sent:?}: that was traffic");
}

fn spray() {
    let mut peer = Node::new(site(2));
    peer.commit(|records| {
        records.put_sa(&BACK.sends(4));
        BACK.policies_out(0, records);
    });
    let gateway = gateway();
    let mut paths = gateway.other_paths(vec![Flats::default(), Flats::default()]).into_iter();
    let mut spraying = || paths.next().map(|(path, shared)| (path.with_spray(true), shared)).unwrap();
    let ((mut first, _), (mut second, helper)) = (spraying(), spraying());
    let mut counted = 0;
    for round in 0..20 {
        let packets: Vec<_> =
            (0..60).map(|tag| Udp::new("10.2.0.9", "10.1.0.9").tag(round * 60 + tag).packet()).collect();
        let mut frames = peer.seals(&packets);
        *frames[7].last_mut().unwrap() ^= 1;
        let own = frames.iter().map(|frame| Flat::of(&[&node::octets::OWN_MAC, &frame[6..]].concat()));
        first.ports_mut().arriving[WAN] = own.collect();
        let before = COUNT.get();
        while first.poll(gateway.now_ns) + second.poll(gateway.now_ns) > 0 {}
        counted += if round < 2 { 0 } else { COUNT.get() - before };
    }
    assert_eq!(counted, 0, "calls of the allocator");
    assert_eq!(first.ports_mut().sent[LAN], 20 * 59);
    let opened = helper.counters.stage(dataplane::path::counters::Stage::Open).packets.get();
    assert!(opened >= 20 * 16, "{opened}: the other worker helped");
}
