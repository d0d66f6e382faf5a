//! DPDK on this machine, without huge pages: one process, one EAL, so one test that plays the scenes in turn.

use std::os::fd::AsRawFd;
use std::process::Command;

use dpdk::{
    Burst, Device, Eal, EalConfig, Error, FilePrefix, Lcore, MAX_BURST, Mempool, MempoolConfig, PortConfig,
    Started, Steering, free_burst, pin_thread, tsc, tsc_hz, version,
};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr};

const POOL: u32 = 4095;

fn eal() -> Eal {
    let prefix = format!("espalier-test-{}", std::process::id());
    let mut config = EalConfig::new(FilePrefix::new(&prefix).expect("a plain prefix"));
    config.log = dpdk::silent;
    Eal::init(&config).expect("EAL without huge pages")
}

fn started(eal: Eal, devargs: &str, pool: &Mempool) -> Started {
    let device = Device::probe(eal, devargs).expect(devargs);
    device.start(&PortConfig::default(), pool).expect(devargs)
}

#[test]
fn scenes() {
    assert!(version().starts_with("DPDK 22.11"), "{}", version());
    let eal = eal();
    let pool = Mempool::new(eal, &MempoolConfig::new("test", POOL)).expect("pool");
    assert_eq!(pool.available(), POOL);
    a_second_start_is_refused(eal);
    the_clock_runs();
    an_mbuf_grows_and_shrinks_within_its_room(pool);
    a_pool_runs_dry_and_recovers(pool);
    a_pool_of_the_same_name_is_refused_with_a_reason(eal);
    a_registered_thread_frees_what_another_allocated(eal, pool);
    a_device_that_does_not_probe_says_why(eal);
    a_port_in_use_is_refused(eal, pool);
    a_port_says_how_it_divides_packets_over_its_queues(eal, pool);
    too_many_queues_are_refused(eal, pool);
    a_ring_returns_what_was_sent_and_leaves_what_does_not_fit(eal, pool);
    null_devices_take_and_bring_packets(eal, pool);
    a_capture_file_is_replayed_and_written(eal, pool);
    a_jumbo_frame_is_refused_not_chained(eal, pool);
    af_packet_talks_to_the_kernel(eal, pool);
    telemetry_answers_at_its_socket(eal);
    assert_eq!(pool.available(), POOL, "every buffer came back");
    eal.remove_runtime_dir().expect("runtime directory");
}

fn a_second_start_is_refused(_: Eal) {
    let config = EalConfig::new(FilePrefix::new("espalier-test-second").expect("a plain prefix"));
    assert!(matches!(Eal::init(&config), Err(Error::AlreadyInitialised)));
}

fn the_clock_runs() {
    assert!(tsc_hz() > 1_000_000);
    let before = tsc();
    assert!(tsc() > before);
}

fn an_mbuf_grows_and_shrinks_within_its_room(pool: Mempool) {
    let mut mbuf = pool.alloc_copy(b"espalier").expect("a buffer");
    assert_eq!(mbuf.headroom_octets(), 128);
    assert_eq!(mbuf.tailroom_octets(), 2048 - 8);
    mbuf.prepend(2).expect("headroom").copy_from_slice(b"<<");
    mbuf.append(2).expect("tailroom").copy_from_slice(b">>");
    assert_eq!(mbuf.data(), b"<<espalier>>");
    assert!(mbuf.prepend(127).is_none());
    assert!(mbuf.append(2048).is_none());
    assert!(mbuf.append(usize::MAX).is_none());
    assert_eq!(mbuf.adj(3), Some(()));
    assert_eq!(mbuf.trim(3), Some(()));
    assert_eq!(mbuf.data(), b"spalie");
    assert_eq!(mbuf.adj(7), None);
    assert_eq!(mbuf.trim(7), None);
    assert_eq!(mbuf.len(), 6);
    mbuf.adj(6).expect("all of it");
    assert!(mbuf.is_empty());
    drop(mbuf);
    assert!(pool.alloc_copy(&[0; 2049]).is_none());
    assert_eq!(pool.available(), POOL);
}

fn a_pool_runs_dry_and_recovers(pool: Mempool) {
    let mut bursts = Vec::new();
    loop {
        let mut burst = Burst::new();
        if !pool.alloc_into(&mut burst, MAX_BURST) {
            break;
        }
        bursts.push(burst);
    }
    let mut rest = Burst::new();
    assert!(pool.alloc_into(&mut rest, 63));
    assert!(pool.alloc().is_none());
    assert_eq!(pool.available(), 0);
    assert!(!pool.alloc_into(&mut rest, 2), "no room in the burst");
    free_burst(&mut rest);
    assert!(rest.is_empty());
    assert_eq!(pool.available(), 63);
    drop(bursts);
    assert_eq!(pool.available(), POOL);
}

fn a_pool_of_the_same_name_is_refused_with_a_reason(eal: Eal) {
    let error = Mempool::new(eal, &MempoolConfig::new("test", 127)).expect_err("the name is taken");
    assert_eq!(error.to_string().lines().count(), 1);
    assert!(error.to_string().contains("File exists"), "{error}");
}

fn a_registered_thread_frees_what_another_allocated(eal: Eal, pool: Mempool) {
    let mbuf = pool.alloc().expect("a buffer");
    std::thread::spawn(move || {
        pin_thread(eal, 0).expect("CPU 0");
        assert!(matches!(pin_thread(eal, 1_000_000), Err(Error::Pin { .. })));
        let lcore = Lcore::register(eal).expect("an lcore id");
        assert_ne!(lcore.id(), 0);
        drop(mbuf);
        assert_eq!(pool.available(), POOL, "caches count");
    })
    .join()
    .expect("the thread");
    assert_eq!(pool.available(), POOL);
}

fn a_device_that_does_not_probe_says_why(eal: Eal) {
    for (devargs, why) in [
        ("net_af_packet8,iface=does-not-exist", "No such device"),
        ("net_pcap8,rx_pcap=/does/not/exist.pcap", "/does/not/exist.pcap"),
        ("net_nonesuch8", "net_nonesuch8"),
        ("0000:7f:1f.7", "0000:7f:1f.7"),
    ] {
        let error = Device::probe(eal, devargs).expect_err(devargs);
        eprintln!("{error}");
        let said = error.to_string();
        assert!(matches!(error, Error::Probe { .. }), "{said}");
        let reason = said.split_once(": ").expect("a reason").1;
        assert!(reason.contains(why), "{said}");
        assert_eq!(said.lines().count(), 1);
    }
}

fn a_port_says_how_it_divides_packets_over_its_queues(eal: Eal, pool: Mempool) {
    let with = |devargs: &str, queues: u16| {
        let config = PortConfig { rx_queues: queues, tx_queues: queues, ..PortConfig::default() };
        let device = Device::probe(eal, devargs).expect(devargs);
        let started = device.start(&config, &pool).expect(devargs);
        started.port.steering().expect(devargs)
    };
    let one = with("net_null8,no-rx=1", 1);
    assert_eq!((one, one.to_string().as_str()), (Steering::OneQueue, "one queue"));
    let two = with("net_null9,no-rx=1", 2);
    assert_eq!(two, Steering::Rss { queues: 2, ip: true, udp: true, esp: false });
    assert_eq!(two.to_string(), "2 queues, RSS by IP addresses, UDP ports");
    assert_eq!(Steering::Own { queues: 4 }.to_string(), "4 queues, by the device's own rule");
}

fn a_port_in_use_is_refused(eal: Eal, pool: Mempool) {
    let port = started(eal, "net_null7,no-rx=1", &pool);
    assert!(matches!(Device::probe(eal, "net_null7"), Err(Error::Busy { .. })));
    drop(port);
    drop(started(eal, "net_null7,no-rx=1", &pool));
}

fn too_many_queues_are_refused(eal: Eal, pool: Mempool) {
    let device = Device::probe(eal, "net_ring6").expect("a ring");
    let config = PortConfig { rx_queues: u16::MAX, ..PortConfig::default() };
    assert!(matches!(device.start(&config, &pool), Err(Error::Queues { direction: "rx", .. })));
    let device = Device::probe(eal, "net_ring6").expect("a ring again");
    let config = PortConfig { mtu_octets: 20, ..PortConfig::default() };
    assert!(matches!(device.start(&config, &pool), Err(Error::Mtu { asked: 20, .. })));
}

fn a_ring_returns_what_was_sent_and_leaves_what_does_not_fit(eal: Eal, pool: Mempool) {
    let Started { port, mut rx, mut tx } = started(eal, "net_ring0", &pool);
    assert!(port.link().expect("link").up);
    let (mut sent, mut made, mut burst) = (0_u32, 0_u32, Burst::new());
    while burst.is_empty() {
        while !burst.is_full() {
            burst.push(pool.alloc_copy(&made.to_be_bytes()).expect("a buffer"));
            made += 1;
        }
        sent += u32::from(tx[0].tx_burst(&mut burst));
    }
    assert!(sent > 0);
    assert_eq!(burst.first().expect("the ring is full").data(), sent.to_be_bytes(), "order is kept");
    drop(burst);
    let mut back = 0_u32;
    loop {
        let mut burst = Burst::new();
        if rx[0].rx_burst(&mut burst).pkts == 0 {
            break;
        }
        for mbuf in &burst {
            assert_eq!(mbuf.data(), back.to_be_bytes());
            back += 1;
        }
    }
    assert_eq!(back, sent);
    assert_eq!(port.stats().expect("stats").tx_pkts, u64::from(sent));
    assert_eq!(pool.available(), POOL);
}

fn null_devices_take_and_bring_packets(eal: Eal, pool: Mempool) {
    let Started { port, mut rx, tx: _tx } = started(eal, "net_null0,size=100,copy=1", &pool);
    let mut burst = Burst::new();
    assert_eq!(usize::from(rx[0].rx_burst(&mut burst).pkts), MAX_BURST);
    assert!(burst.iter().all(|mbuf| mbuf.len() == 100 && mbuf.port() == port.id()));
    assert_eq!(rx[0].rx_burst(&mut burst).pkts, 0, "a full burst takes no more");
    let Started { mut rx, mut tx, .. } = started(eal, "net_null1,no-rx=1", &pool);
    assert_eq!(usize::from(tx[0].tx_burst(&mut burst)), MAX_BURST);
    assert!(burst.is_empty());
    assert_eq!(rx[0].rx_burst(&mut burst).pkts, 0);
}

fn pcap(path: &std::path::Path, frames: &[Vec<u8>]) {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65535, 1] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        let len = u32::try_from(frame.len()).expect("a short frame");
        for word in [0, 0, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    std::fs::write(path, file).expect("a capture file");
}

fn a_capture_file_is_replayed_and_written(eal: Eal, pool: Mempool) {
    let dir = tempfile::tempdir().expect("a directory");
    let (from, to) = (dir.path().join("from.pcap"), dir.path().join("to.pcap"));
    let frames: Vec<Vec<u8>> = (0..5_u8).map(|n| vec![n; 60 + usize::from(n)]).collect();
    pcap(&from, &frames);
    let devargs = format!("net_pcap0,rx_pcap={},tx_pcap={}", from.display(), to.display());
    let Started { port, mut rx, mut tx } = started(eal, &devargs, &pool);
    let mut burst = Burst::new();
    assert_eq!(rx[0].rx_burst(&mut burst).pkts, 5);
    for (mbuf, frame) in burst.iter().zip(&frames) {
        assert_eq!(mbuf.data(), frame);
    }
    assert_eq!(tx[0].tx_burst(&mut burst), 5);
    drop((port, rx, tx));
    let written = std::fs::metadata(&to).expect("a capture").len();
    let octets: usize = frames.iter().map(|frame| 16 + frame.len()).sum();
    assert_eq!(written, 24 + octets as u64);
}

fn a_jumbo_frame_is_refused_not_chained(eal: Eal, pool: Mempool) {
    let dir = tempfile::tempdir().expect("a directory");
    let from = dir.path().join("jumbo.pcap");
    pcap(&from, &[vec![1; 60], vec![2; 5000], vec![3; 60]]);
    let devargs = format!("net_pcap1,rx_pcap={}", from.display());
    let Started { mut rx, .. } = started(eal, &devargs, &pool);
    let (mut burst, mut refused) = (Burst::new(), 0);
    for _ in 0..4 {
        refused += rx[0].rx_burst(&mut burst).refused_pkts;
    }
    assert_eq!(refused, 1);
    assert_eq!(burst.iter().map(|mbuf| mbuf.data()[0]).collect::<Vec<_>>(), [1, 3]);
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("ip");
    assert!(status.success(), "ip {arguments}");
}

/// Two ports on the two ends of one veth pair, in a namespace of this thread's own.
fn af_packet_talks_to_the_kernel(eal: Eal, pool: Mempool) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("af_packet is left out: it takes root");
        return;
    }
    std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).expect("a namespace");
        ip("link add dpdk0 type veth peer name dpdk1");
        ip("link set dpdk0 up");
        ip("link set dpdk1 up");
        let Started { port: left, tx: mut left_tx, .. } = started(eal, "net_af_packet0,iface=dpdk0", &pool);
        let config = PortConfig { mtu_octets: 1400, promiscuous: true, ..PortConfig::default() };
        let device = Device::probe(eal, "net_af_packet1,iface=dpdk1").expect("af_packet");
        assert_eq!(device.limits().driver.as_ref(), "net_af_packet");
        let Started { port: right, rx: mut right_rx, .. } = device.start(&config, &pool).expect("af_packet");
        assert!(right.limits().if_index.is_some(), "af_packet names its kernel device");
        assert_eq!(right.mtu_octets().expect("MTU"), 1400);
        let mac = dpdk::MacAddress([2, 0, 0, 0, 0, 9]);
        right.set_mac(mac).expect("a new address");
        assert_eq!(right.mac().expect("MAC"), mac);
        assert_ne!(left.mac().expect("MAC"), mac);
        let frame: Vec<u8> =
            [[2; 6], [4; 6]].concat().into_iter().chain([0x88, 0xb5]).chain(0..100).collect();
        let mut burst = Burst::new();
        burst.push(pool.alloc_copy(&frame).expect("a buffer"));
        assert_eq!(left_tx[0].tx_burst(&mut burst), 1);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !burst.iter().any(|mbuf| mbuf.data() == frame) {
            burst.clear();
            right_rx[0].rx_burst(&mut burst);
            assert!(std::time::Instant::now() < deadline, "the frame did not arrive");
        }
        assert!(right.stats().expect("stats").rx_pkts >= 1);
    })
    .join()
    .expect("the thread");
}

fn telemetry_answers_at_its_socket(eal: Eal) {
    let path = eal.runtime_dir().join("dpdk_telemetry.v2");
    let socket =
        socket::socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None).expect("socket");
    socket::connect(socket.as_raw_fd(), &UnixAddr::new(&path).expect("a short path")).expect("telemetry");
    let mut greeting = [0; 1024];
    let n = socket::recv(socket.as_raw_fd(), &mut greeting, MsgFlags::empty()).expect("a greeting");
    let greeting = String::from_utf8_lossy(&greeting[..n]);
    assert!(greeting.contains(&format!("\"pid\":{}", std::process::id())), "{greeting}");
}
