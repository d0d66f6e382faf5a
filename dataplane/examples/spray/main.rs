//! Prints what `[engine] spray_inbound` brings where one SA arrives on one queue: `spray [WORKERS [WINDOWS]]`, 2 workers on the
//! CPUs 0 and 1 and 400 windows by default.
//!
//! The packet path alone, over frames that lie ready in memory. Windows without and with the switch take turns; in both
//! all workers poll. Each window is 2 048 packets of one flow and fails unless all leave in their order. It is short, so that
//! the system seldom takes a CPU away in its middle.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement fails by panicking")]

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crypto::Choice;
use dataplane::path::counters::Stage;
use dataplane::path::shared::WorkerShared;
use dataplane::ports::Buffer as _;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

#[allow(unreachable_pub, reason = "shared with the tests")]
#[path = "../../tests/node/mod.rs"]
mod node;
mod ports;

use node::octets::{self, ETHERNET, MAC, OWN_MAC, Udp};
use node::records::BACK;
use node::site::site;
use node::{LAN, Node, Separate, WAN};
use ports::{Frame, Ready};

const PACKETS: usize = 2048;
const LENGTHS: [usize; 3] = [64, 512, 1400];

fn main() {
    let mut words = std::env::args().skip(1).map(|word| word.parse::<usize>().unwrap());
    let (workers, windows) = (words.next().unwrap_or(2), words.next().unwrap_or(400));
    let mut peer = Node::with_crypto(site(2), 1, Choice::Auto);
    peer.commit(|records| {
        records.put_sa(&BACK.sends(4));
        BACK.policies_out(0, records);
    });
    let mut gateway = Node::with_crypto(site(1), 1, Choice::Auto);
    gateway.commit(|records| {
        records.put_sa(&BACK.receives(4));
        BACK.policies_in(0, records);
    });
    let mut sealing = peer.another_path(Ready::default());
    let mut sets = [false, true].map(|spray| {
        let paths = gateway.other_paths((0..workers).map(|_| Ready::default()).collect());
        let paths = paths.into_iter().map(|(path, shared)| (path.with_spray(spray), shared));
        paths.collect::<Vec<Separate<Ready>>>()
    });
    println!(
        "{workers} workers, {windows} windows each; ns a packet without and with spray_inbound, minimum / median / maximum;"
    );
    println!(
        "how many times as fast a window was as the one before it, lower quartile / median / upper quartile"
    );
    let mut frames = vec![Frame::empty(); PACKETS];
    for octets in LENGTHS {
        let mut taken = [Vec::new(), Vec::new()];
        for _ in 0..windows {
            for (set, taken) in sets.iter_mut().zip(&mut taken) {
                frames = seal(&mut sealing, frames, octets, gateway.now_ns);
                let ns;
                (frames, ns) = window(set, frames, gateway.now_ns);
                taken.push(ns);
            }
        }
        let ratios = taken[0].iter().zip(&taken[1]).map(|(without, with)| without / with);
        let ratios = at(ratios.collect(), [25, 50, 75], 2);
        let [without, with] = taken.map(|ns| at(ns, [0, 50, 100], 0));
        println!("{octets:>5} octets: {without} ns, {with} ns, {ratios} times as fast");
    }
    let elsewhere: u64 = sets[1][1..].iter().map(|(_, shared)| opened(shared)).sum();
    println!("others opened {elsewhere} of {} packets", windows * LENGTHS.len() * PACKETS);
}

fn opened<B>(shared: &WorkerShared<B>) -> u64 {
    shared.counters.stage(Stage::Open).packets.get()
}

/// Returns the frames as the peer sends them, the next to arrive last.
fn seal((path, _): &mut Separate<Ready>, mut frames: Vec<Frame>, octets: usize, now_ns: u64) -> Vec<Frame> {
    for (tag, frame) in (0..).zip(&mut frames) {
        frame.refill(&Udp::new("10.2.0.9", "10.1.0.9").octets(octets).tag(tag).frame());
    }
    frames.reverse();
    path.ports_mut().arriving[LAN] = frames;
    while path.poll(now_ns) > 0 {}
    let mut sealed = std::mem::take(&mut path.ports_mut().sent[WAN]);
    assert_eq!(sealed.len(), PACKETS);
    for frame in &mut sealed {
        frame.data_mut()[..12].copy_from_slice(&[OWN_MAC, MAC].concat());
    }
    sealed.reverse();
    sealed
}

/// Lets frames arrive at the first worker while all poll; returns what was sent, and the time for each.
fn window(set: &mut [Separate<Ready>], frames: Vec<Frame>, now_ns: u64) -> (Vec<Frame>, f64) {
    let (start, done) = (Barrier::new(set.len()), AtomicBool::new(false));
    let [(first, _), others @ ..] = set else { panic!("no worker") };
    first.ports_mut().arriving[WAN] = frames;
    first.ports_mut().sent[LAN].reserve(PACKETS);
    let took = std::thread::scope(|scope| {
        for (cpu, (other, _)) in (1..).zip(others) {
            let (start, done) = (&start, &done);
            scope.spawn(move || {
                pin(cpu);
                start.wait();
                while !done.load(Ordering::Relaxed) {
                    other.poll(now_ns);
                }
            });
        }
        pin(0);
        start.wait();
        let began = Instant::now();
        while first.ports_mut().sent[LAN].len() < PACKETS {
            first.poll(now_ns);
        }
        let took = began.elapsed();
        done.store(true, Ordering::Relaxed);
        took
    });
    let sent = std::mem::take(&mut first.ports_mut().sent[LAN]);
    let tags = sent.iter().map(|frame| octets::tag(&frame.data()[ETHERNET..]));
    assert!(tags.eq(0..u32::try_from(PACKETS).unwrap()), "every packet, in order");
    (sent, took.as_secs_f64() * 1e9 / f64::from(u32::try_from(PACKETS).unwrap()))
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}

/// The values that so many of a hundred are below.
fn at(mut values: Vec<f64>, percent: [usize; 3], digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    let [a, b, c] = percent.map(|percent| values[last * percent / 100]);
    format!("{a:.digits$} / {b:.digits$} / {c:.digits$}")
}
