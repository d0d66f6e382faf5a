//! Time of each step of the packet path, alone and then all together, in memory. None of it has cryptography or I/O.
#![allow(clippy::unwrap_used, reason = "a bench that cannot be set up fails by panicking")]

use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use dataplane::tables::fib::Fib;
use dataplane::tables::spd::Direction;
use dataplane::tables::topology::{Prefix, Route};
use esp::aead::MAX_BURST;
use esp::encap::{Df, Dscp, Outer, OuterConfig};
use esp::seq::{self, SeqLimit};
use esp::sync::AtomicU64;
use esp::wire::FlowKey;
use esp::wire::plain::Plain;
use esp::wire::udp::UdpPorts;
use esp::{Fresh, IfId, ReplayWindow, Spi, decap, ecn, window};
use espalier_benches::memory::ports::Frame;
use espalier_benches::memory::records::{self, IF_ID, LAN, Side, WAN};
use espalier_benches::memory::scenario::{clear, sealed};
use espalier_benches::memory::{Gateway, packets};

const BURST: u64 = MAX_BURST as u64;
const ETHERNET_OCTETS: usize = 14;
const SPI: Spi = Spi(0x5a50_0001);

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    parse(&mut criterion);
    spd(&mut criterion);
    fib(&mut criterion);
    replay_window(&mut criterion);
    sequence(&mut criterion);
    encap(&mut criterion);
    decap_finish(&mut criterion);
    outbound(&mut criterion);
    inbound(&mut criterion);
    criterion.final_summary();
}

fn packet() -> Vec<u8> {
    packets::frame(0, 0).unwrap()[ETHERNET_OCTETS..].to_vec()
}

fn parse(criterion: &mut Criterion) {
    let packet = packet();
    criterion.bench_function("first look", |bench| bench.iter(|| Plain::of(black_box(&packet), 1)));
    criterion.bench_function("flow key", |bench| bench.iter(|| FlowKey::parse(black_box(&packet))));
}

/// The packet fits the last of the policies.
fn spd(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("spd");
    let flow = FlowKey::parse(&packet()).unwrap();
    for count in [1_u32, 8, 1000] {
        let mut gateway = Gateway::new(Side::Sends, 1, false).unwrap();
        let policy = |slot: u32| {
            let [_, _, high, low] = slot.to_be_bytes();
            let to = if slot + 1 == count { [10, 2, 0] } else { [10, 100 + high, low] };
            records::policy_for(Side::Sends, 0, slot, to).unwrap()
        };
        gateway.install(&[], &(0..count).map(policy).collect::<Vec<_>>()).unwrap();
        let tables = gateway.tables();
        let find = || tables.spd.lookup(IfId(IF_ID), Direction::Out, black_box(&flow));
        assert_eq!(find().map(|policy| policy.slot), Some(count - 1));
        group.bench_function(BenchmarkId::from_parameter(count), |bench| bench.iter(find));
    }
}

fn fib(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fib");
    for count in [1_u16, 1000] {
        let mut topology = records::topology(Side::Sends, false);
        let device = topology.routes[0].device;
        topology.routes.extend((1..count).map(|number| {
            let [high, low] = number.to_be_bytes();
            Route { to: Prefix { addr: [10, 100 + high, low, 0].into(), len: 24 }, via: None, device }
        }));
        let fib = Fib::build(&topology);
        let destination = IpAddr::from([10, 2, 0, 9]);
        assert!(fib.lookup(destination).is_some());
        group.bench_function(BenchmarkId::from_parameter(count), |bench| {
            bench.iter(|| fib.lookup(black_box(destination)).copied());
        });
    }
}

/// A burst in order, window of 1 024 packets.
fn replay_window(criterion: &mut Criterion) {
    const WINDOW: u32 = 1024;
    let mut group = criterion.benchmark_group("window");
    group.throughput(Throughput::Elements(BURST));
    let top = AtomicU64::new(0);
    let ring: Vec<AtomicU64> = (0..window::ring_words(WINDOW)).map(|_| AtomicU64::new(0)).collect();
    let window = ReplayWindow::new(&top, &ring, WINDOW, true);
    window.preset(0);
    let mut next = 1_u32;
    group.bench_function("check and advance 64", |bench| {
        bench.iter(|| {
            let fresh: [Fresh; MAX_BURST] = std::array::from_fn(|_| {
                let fresh = window.check(next).unwrap();
                next = next.wrapping_add(1);
                fresh
            });
            let mut verdicts = [Ok(()); MAX_BURST];
            window.advance_burst(&fresh, &mut verdicts);
            assert!(verdicts.iter().all(Result::is_ok));
        });
    });
}

fn sequence(criterion: &mut Criterion) {
    let counter = AtomicU64::new(0);
    criterion.bench_function("sequence numbers for 64", |bench| {
        bench.iter(|| seq::take(black_box(&counter), 64, SeqLimit::ESN));
    });
}

fn outer(v6: bool, udp: bool) -> Outer {
    let end = |number: u8| -> IpAddr {
        if v6 { [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)].into() } else { [192, 0, 2, number].into() }
    };
    let config = OuterConfig {
        src: end(1),
        dst: end(2),
        udp: udp.then_some(UdpPorts { src: 4500, dst: 4500 }),
        dscp: Dscp::Copy,
        ecn: ecn::Ingress::Copy,
        df: Df::Copy,
        ttl: 64,
    };
    Outer::new(config).unwrap()
}

fn encap(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encap");
    for (name, v6, udp) in [("v4", false, false), ("v4 and udp", false, true), ("v6", true, false)] {
        let (outer, inner) = (outer(v6, udp), packet());
        let layout = outer.layout(inner.len(), 0).unwrap();
        let mut whole = vec![0; layout.total_octets()];
        whole[layout.front_octets()..][..inner.len()].copy_from_slice(&inner);
        let mut seq = 0;
        group.bench_function(name, |bench| {
            bench.iter(|| {
                seq += 1;
                let layout = outer.layout(black_box(inner.len()), 0)?;
                outer.encap(black_box(&mut whole), &layout, SPI, seq).map(|(text, _)| text.len())
            });
        });
    }
}

fn decap_finish(criterion: &mut Criterion) {
    let (outer, inner) = (outer(false, false), packet());
    let layout = outer.layout(inner.len(), 0).unwrap();
    let mut whole = vec![0; layout.total_octets()];
    whole[layout.front_octets()..][..inner.len()].copy_from_slice(&inner);
    outer.encap(&mut whole, &layout, SPI, 1).unwrap();
    let arrived = decap::parse_outer(&whole, 4500).unwrap();
    let modes = decap::Modes { ecn: true, dscp: false };
    assert_eq!(decap::finish(&mut whole, &arrived, modes).unwrap().octets, inner.len());
    criterion.bench_function("decap finish", |bench| {
        bench.iter(|| decap::finish(black_box(&mut whole), black_box(&arrived), modes));
    });
}

/// Times the polls of a gateway alone: each takes up a burst that `arriving` made.
fn polls(
    gateway: &mut Gateway,
    (into, out): (usize, usize),
    iterations: u64,
    mut arriving: impl FnMut() -> Vec<Frame>,
) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..iterations {
        gateway.offer(0, into, arriving());
        let start = Instant::now();
        let taken = gateway.poll();
        spent += start.elapsed();
        assert_eq!((taken, gateway.take_sent(out).len()), (MAX_BURST, MAX_BURST));
    }
    spent
}

/// Flows of a burst: always the same, or new ones until all have been seen.
fn flows(known: bool) -> impl FnMut() -> Vec<u16> {
    let mut next = 0;
    move || {
        let first = next;
        next = if known { 0 } else { (next + 64) % 0xf000 };
        (first..first + 64).collect()
    }
}

fn outbound(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("outbound");
    group.throughput(Throughput::Elements(BURST));
    for (name, known) in [("64 of known flows", true), ("64 of new flows", false)] {
        let mut gateway = Gateway::with_tunnels(Side::Sends, 1, 1, false).unwrap();
        let mut flows = flows(known);
        group.bench_function(name, |bench| {
            bench.iter_custom(|iterations| {
                polls(&mut gateway, (LAN, WAN), iterations, || clear(flows(), 1).unwrap())
            });
        });
    }
}

fn inbound(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbound");
    group.throughput(Throughput::Elements(BURST));
    for (name, known) in [("64 of known flows", true), ("64 of new flows", false)] {
        let mut peer = Gateway::with_tunnels(Side::Sends, 1, 1, false).unwrap();
        let mut gateway = Gateway::with_tunnels(Side::Receives, 1, 1, false).unwrap();
        let mut flows = flows(known);
        group.bench_function(name, |bench| {
            bench.iter_custom(|iterations| {
                let arriving = || sealed(&mut peer, clear(flows(), 1).unwrap()).unwrap();
                polls(&mut gateway, (WAN, LAN), iterations, arriving)
            });
        });
    }
}
