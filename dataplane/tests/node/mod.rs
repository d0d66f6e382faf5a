//! A whole gateway in memory: segments in a directory of its own, an adopter, one path a worker, wires, the host's
//! rings. Gateway 1 is 192.0.2.1 and 2001:db8:9::1 before 10.1.0.0/24 and 2001:db8:1::/64, gateway 2 likewise.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "each file of tests uses a part")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::{Choice, Crypto};
use dataplane::adopt::Adopter;
use dataplane::path::Path;
use dataplane::path::counters::Origin;
use dataplane::path::host::{FromHost, HostDevice, PuntClass};
use dataplane::path::shared::{Notice, WorkerShared};
use dataplane::ports::memory::{MemBuf, MemPorts, Wire};
use dataplane::ports::{Buffer as _, PortId, Ports};
use dataplane::publish;
use dataplane::tables::Tables;
use dataplane::tables::topology::Topology;
use esp::DropReason;
use shm_protocol::ids::{SaUid, Slot};
use shm_protocol::live::Live;
use shm_protocol::place::RuntimeDir;
use shm_protocol::sad::{SadWriter, Transaction};

pub(crate) mod octets;
pub(crate) mod records;
pub(crate) mod site;

use octets::{ETHERNET, OWN_MAC};

pub(crate) const LAN: usize = 0;
pub(crate) const WAN: usize = 1;
const DEADLINE: Duration = Duration::from_secs(20);

/// A path and what it shares with the other threads.
pub(crate) type Separate<P> = (Path<P, crypto::Engine>, Arc<WorkerShared<<P as Ports>::Buf>>);

/// See the module's text.
pub(crate) struct Node {
    temp: tempfile::TempDir,
    topology: Topology,
    writer: SadWriter,
    pub(crate) live: Arc<Live>,
    crypto: Arc<Crypto>,
    adopter: Adopter<Crypto>,
    paths: Vec<Path<MemPorts, crypto::Engine>>,
    /// By worker, then by port.
    wires: Vec<Vec<Wire>>,
    shared: Vec<Arc<WorkerShared<MemBuf>>>,
    pub(crate) now_ns: u64,
}

impl Node {
    /// Makes a gateway with one worker and no SA.
    pub(crate) fn new(topology: Topology) -> Self {
        Self::with_workers(topology, 1)
    }

    pub(crate) fn with_workers(topology: Topology, workers: usize) -> Self {
        Self::with_crypto(topology, workers, Choice::RustCrypto)
    }

    pub(crate) fn with_crypto(topology: Topology, workers: usize, choice: Choice) -> Self {
        let temp = tempfile::Builder::new().prefix("espalier-flows-").tempdir_in("/dev/shm").unwrap();
        let dir = RuntimeDir::open(temp.path()).unwrap();
        let live = Live::attach_or_create(&dir).unwrap();
        let mut writer = SadWriter::open(&dir, 64, DEADLINE).unwrap();
        let mut instance = Transaction::new();
        instance.set_instance(live.instance());
        writer.commit(&instance, DEADLINE).unwrap();
        drop(live);
        Self::over(temp, topology, writer, workers, Arc::new(Crypto::new(choice).unwrap()))
    }

    fn over(
        temp: tempfile::TempDir,
        topology: Topology,
        writer: SadWriter,
        workers: usize,
        crypto: Arc<Crypto>,
    ) -> Self {
        let dir = RuntimeDir::open(temp.path()).unwrap();
        let live = Arc::new(Live::attach_or_create(&dir).unwrap());
        let (publisher, subscribers) = publish::channel(Tables::new(topology.clone()), workers);
        let adopter = Adopter::new(dir, Arc::clone(&live), Arc::clone(&crypto), topology.clone(), publisher);
        let ports = topology.ports.len();
        let wires: Vec<Vec<Wire>> =
            (0..workers).map(|_| (0..ports).map(|_| Wire::default()).collect()).collect();
        let shared: Vec<_> = (0..workers).map(|_| WorkerShared::new(ports)).collect();
        let paths = subscribers.into_iter().enumerate().map(|(worker, tables)| {
            let own = MemPorts::new(wires[worker].clone());
            Path::new(worker, own, crypto.engine().unwrap(), tables, shared.clone(), || 0)
        });
        let paths = paths.collect();
        let now_ns = 1 << 30;
        let mut node = Self { temp, topology, writer, live, crypto, adopter, paths, wires, shared, now_ns };
        node.settle();
        node
    }

    /// The engine ends, another starts on the same segments.
    pub(crate) fn restarted(self) -> Self {
        let Self { temp, topology, writer, crypto, paths, .. } = self;
        let workers = paths.len();
        drop(paths);
        Self::over(temp, topology, writer, workers, crypto)
    }

    /// Makes a path over other ports that reads what this gateway's workers read now.
    pub(crate) fn another_path<P: Ports>(&self, ports: P) -> Separate<P> {
        self.other_paths(vec![ports]).remove(0)
    }

    /// As [`Self::another_path`], one path a worker.
    pub(crate) fn other_paths<P: Ports>(&self, ports: Vec<P>) -> Vec<Separate<P>> {
        let tables = Tables::clone(&self.adopter.snapshot());
        let (_, subscribers) = publish::channel(tables, ports.len());
        let shared: Vec<_> = ports.iter().map(|_| WorkerShared::new(self.topology.ports.len())).collect();
        let paths = ports.into_iter().zip(subscribers).zip(&shared).enumerate();
        let path = |(worker, ((ports, tables), own)): (usize, ((P, _), &Arc<_>))| {
            let engine = self.crypto.engine().unwrap();
            (Path::new(worker, ports, engine, tables, shared.clone(), || 0), Arc::clone(own))
        };
        paths.map(path).collect()
    }

    /// Writes a transaction to `sad` and lets the engine take it up.
    pub(crate) fn commit(&mut self, records: impl FnOnce(&mut Transaction)) {
        let mut transaction = Transaction::new();
        records(&mut transaction);
        self.writer.commit(&transaction, DEADLINE).unwrap();
        self.settle();
    }

    /// Removes the segment with the counters under the running engine.
    pub(crate) fn remove_live(&mut self) {
        std::fs::remove_file(self.temp.path().join("live")).unwrap();
        self.settle();
    }

    /// Lets the control thread and the workers run until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..8 {
            self.now_ns += 100_000_000;
            self.adopter.step(self.now_ns);
            self.run();
        }
    }

    /// Polls every worker until none has anything left.
    pub(crate) fn run(&mut self) {
        while self.paths.iter_mut().map(|path| path.poll(self.now_ns)).sum::<usize>() > 0 {}
    }

    /// Polls every worker in a thread of its own until the frames it was offered are taken, then all until none has
    /// anything left.
    pub(crate) fn run_in_threads(&mut self) {
        let now_ns = self.now_ns;
        let start = std::sync::Barrier::new(self.paths.len());
        std::thread::scope(|scope| {
            for path in &mut self.paths {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    while path.poll(now_ns) > 0 {}
                });
            }
        });
        self.run();
    }

    /// Lets frames arrive at the first worker, whoever they were sent to.
    pub(crate) fn offer(&mut self, port: usize, frames: &[Vec<u8>]) {
        self.offer_to(0, port, frames);
        self.run();
    }

    /// Puts frames on a worker's wire.
    pub(crate) fn offer_to(&self, worker: usize, port: usize, frames: &[Vec<u8>]) {
        for frame in frames {
            self.wires[worker][port].send([&OWN_MAC, &frame[6..]].concat());
        }
    }

    /// Lets the host send an IP packet by a TUN or a frame by a TAP.
    pub(crate) fn host_sends(&mut self, device: HostDevice, octets: &[u8]) {
        let buf = MemBuf::from_octets(octets).unwrap();
        self.shared[0].host.from_host.push(FromHost { device, buf }).unwrap();
        self.run();
    }

    /// Takes what was handed to the host.
    pub(crate) fn punted(&self) -> Vec<(HostDevice, PuntClass, Vec<u8>)> {
        let all = self.shared.iter().flat_map(|shared| std::iter::from_fn(|| shared.host.punts.pop()));
        all.map(|punt| (punt.device, punt.class, punt.buf.data().to_vec())).collect()
    }

    /// Takes the frames that were sent, by any worker.
    pub(crate) fn sent(&self, port: usize) -> Vec<Vec<u8>> {
        self.wires.iter().flat_map(|wires| std::iter::from_fn(|| wires[port].take())).collect()
    }

    /// Takes the frames that a worker sent.
    pub(crate) fn sent_by(&self, worker: usize, port: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.wires[worker][port].take()).collect()
    }

    /// Takes the IP packets that were sent.
    pub(crate) fn sent_ip(&self, port: usize) -> Vec<Vec<u8>> {
        self.sent(port).iter().map(|frame| frame[ETHERNET..].to_vec()).collect()
    }

    /// Seals packets that arrive from the LAN; returns the frames that leave by the WAN.
    pub(crate) fn seals(&mut self, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let frames: Vec<_> = packets.iter().map(|packet| octets::frame(packet)).collect();
        self.offer(LAN, &frames);
        self.sent(WAN)
    }

    /// Opens frames that arrive from the WAN; returns the IP packets that leave by the LAN.
    pub(crate) fn opens(&mut self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        self.offer(WAN, frames);
        self.sent_ip(LAN)
    }

    /// Takes the workers' hints.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        self.shared.iter().flat_map(|shared| std::iter::from_fn(|| shared.notices.pop())).collect()
    }

    /// Lets the control thread take the workers' hints.
    pub(crate) fn take_notices(&mut self) {
        for notice in self.notices() {
            self.adopter.notice(notice, self.now_ns);
        }
        self.settle();
    }

    pub(crate) fn record(&self, slot: u32) -> &shm_protocol::live::LiveRecord {
        self.live.record(Slot::new(slot).unwrap())
    }

    pub(crate) fn uid(value: u64) -> SaUid {
        SaUid::new(value).unwrap()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.each_account(|account| account.drops_of(reason).get())
    }

    /// Packets dropped for any reason.
    pub(crate) fn drops(&self) -> u64 {
        self.each_account(|account| account.drops.iter().map(|drops| drops.get()).sum())
    }

    fn each_account(&self, of: impl Fn(&dataplane::path::counters::Account) -> u64) -> u64 {
        let accounts = self.shared.iter().flat_map(|shared| {
            self.origins().map(|origin| shared.counters.account(origin)).collect::<Vec<_>>()
        });
        accounts.map(of).sum()
    }

    /// received + host-made + made = sent + punted + drops by reason, over all workers, for each origin.
    pub(crate) fn adds_up(&self) {
        for origin in self.origins() {
            let (mut begun, mut ended) = (0, 0);
            for shared in &self.shared {
                let account = shared.counters.account(origin);
                begun += account.entered.get() + account.made.get();
                ended += account.sent.get() + account.punted.get();
                ended += account.drops.iter().map(|drops| drops.get()).sum::<u64>();
            }
            assert_eq!(begun, ended, "{origin:?}");
        }
    }

    fn origins(&self) -> impl Iterator<Item = Origin> + use<> {
        let ports = u16::try_from(self.topology.ports.len()).unwrap();
        (0..ports)
            .flat_map(|port| [Origin::Port(PortId(port)), Origin::Tap(PortId(port))])
            .chain([Origin::Tun])
    }
}

/// Parses an address.
pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
