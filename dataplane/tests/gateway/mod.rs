//! One worker's packet path in memory, with both segments in a directory of its own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "not every test file that shares this one needs all of it")]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crypto::{Choice, Crypto};
use dataplane::adopt::Adopter;
use dataplane::path::Path;
use dataplane::path::counters::Origin;
use dataplane::path::shared::WorkerShared;
use dataplane::ports::memory::{MemBuf, MemPorts, Wire};
use dataplane::ports::{InterfaceId, PortId};
use dataplane::publish;
use dataplane::tables::Tables;
use dataplane::tables::topology::{Device, Interface, Neighbor, Port, Prefix, Route, Topology};
use esp::DropReason;
use shm_protocol::ids::{IfId, Owner, PolicySlot, SaUid, Slot, Spi};
use shm_protocol::live::Live;
use shm_protocol::place::RuntimeDir;
use shm_protocol::policy::{Action, Policy, PolicyDirection, Template};
use shm_protocol::sa::{
    AlgorithmId, Direction, HeaderRules, Initial, KeyOctets, Keying, Limits, Mark, Mode, Sa, TfcPad,
};
use shm_protocol::sad::{SadWriter, Transaction};
use shm_protocol::secret::{Salt, SecretKey};
use shm_protocol::selector::{AddressRange, PortRange, SelectorRecord};

pub(crate) const LAN: usize = 0;
pub(crate) const WAN: usize = 1;
/// The far end of every port.
pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const DEADLINE: Duration = Duration::from_secs(20);
/// A moment of the engine's clock; tests need no other.
const NOW_NS: u64 = 1_000_000_000;

/// Which gateway: A seals and is 192.0.2.1 before 10.1.0.0/24, B opens and is 192.0.2.2 before 10.2.0.0/24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    A,
    B,
}

/// A worker and the far ends of its ports.
pub(crate) struct Gateway {
    peer: Peer,
    temp: tempfile::TempDir,
    wires: Vec<Wire>,
    path: Path<MemPorts, crypto::Engine>,
    shared: Arc<WorkerShared<MemBuf>>,
    /// What the workers would share that nobody runs.
    others: Vec<Arc<WorkerShared<MemBuf>>>,
}

impl Gateway {
    /// Makes a gateway whose `sad` holds what `records` puts there.
    pub(crate) fn new(peer: Peer, records: impl FnOnce(&mut Transaction)) -> Self {
        let temp = tempfile::Builder::new().prefix("espalier-guards-").tempdir_in("/dev/shm").unwrap();
        let dir = RuntimeDir::open(temp.path()).unwrap();
        let live = Live::attach_or_create(&dir).unwrap();
        let mut writer = SadWriter::open(&dir, 64, DEADLINE).unwrap();
        let mut instance = Transaction::new();
        instance.set_instance(live.instance());
        writer.commit(&instance, DEADLINE).unwrap();
        let mut transaction = Transaction::new();
        records(&mut transaction);
        writer.commit(&transaction, DEADLINE).unwrap();
        drop((writer, live));
        Self::over(peer, temp)
    }

    /// The engine ends, another starts on the same directory.
    pub(crate) fn restarted(self) -> Self {
        let Self { peer, temp, path, .. } = self;
        drop(path);
        Self::over(peer, temp)
    }

    /// As [`Self::restarted`], but the segment with the counters is gone.
    pub(crate) fn without_its_counters(self) -> Self {
        let Self { peer, temp, path, .. } = self;
        drop(path);
        std::fs::remove_file(temp.path().join("live")).unwrap();
        Self::over(peer, temp)
    }

    fn over(peer: Peer, temp: tempfile::TempDir) -> Self {
        Self::run(peer, temp, 1, topology(peer))
    }

    /// Runs the first of `count` workers.
    fn run(peer: Peer, temp: tempfile::TempDir, count: usize, topology: Topology) -> Self {
        let dir = RuntimeDir::open(temp.path()).unwrap();
        let live = Arc::new(Live::attach_or_create(&dir).unwrap());
        let crypto = Arc::new(Crypto::new(Choice::RustCrypto).unwrap());
        let (publisher, mut subscribers) = publish::channel(Tables::new(topology.clone()), 1);
        let mut adopter = Adopter::new(dir, live, Arc::clone(&crypto), topology, publisher);
        // One step takes up every record; with foreign counters there is always more to do.
        adopter.step(NOW_NS);
        let wires = vec![Wire::default(), Wire::default()];
        let shared = WorkerShared::new(wires.len());
        let engine = crypto.engine().unwrap();
        let others: Vec<_> = (1..count).map(|_| WorkerShared::new(wires.len())).collect();
        let workers = std::iter::once(&shared).chain(&others).cloned().collect();
        let ports = MemPorts::new(wires.clone());
        let path = Path::new(0, ports, engine, subscribers.remove(0), workers, || 0);
        Self { peer, temp, wires, path, shared, others }
    }

    /// Lets frames arrive in one burst, whoever they were sent to.
    pub(crate) fn offer(&mut self, port: usize, frames: &[Vec<u8>]) {
        for frame in frames {
            self.wires[port].send([&OWN_MAC, &frame[6..]].concat());
        }
        self.path.poll(NOW_NS);
    }

    /// Takes the frames that were sent.
    pub(crate) fn sent(&self, port: usize) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.wires[port].take()).collect()
    }

    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        self.origins().map(|origin| self.shared.counters.account(origin).drops_of(reason).get()).sum()
    }

    /// received + host-made = sent + punted + drops by reason.
    pub(crate) fn adds_up(&self) {
        for origin in self.origins() {
            let account = self.shared.counters.account(origin);
            let drops: u64 = account.drops.iter().map(|drops| drops.get()).sum();
            let ended = account.sent.get() + account.punted.get() + drops;
            assert_eq!(account.entered.get() + account.made.get(), ended, "{origin:?}");
        }
    }

    fn origins(&self) -> impl Iterator<Item = Origin> + use<> {
        (0..2).flat_map(|port| [Origin::Port(PortId(port)), Origin::Tap(PortId(port))]).chain([Origin::Tun])
    }
}

impl Gateway {
    /// The same gateway as the first of `count` workers, on a changed topology.
    pub(crate) fn changed(self, count: usize, change: impl FnOnce(&mut Topology)) -> Self {
        let Self { peer, temp, path, .. } = self;
        drop(path);
        let mut topology = topology(peer);
        change(&mut topology);
        Self::run(peer, temp, count, topology)
    }

    /// Lets the other workers open what the first receives.
    pub(crate) fn spraying(self) -> Self {
        Self { path: self.path.with_spray(true), ..self }
    }

    /// Lets a frame arrive as it is, and the gateway work at `after_ns` from the usual moment.
    pub(crate) fn arrive(&mut self, port: usize, frame: &[u8], after_ns: u64) {
        self.wires[port].send(frame);
        self.path.poll(NOW_NS + after_ns);
    }

    /// Lets the gateway work, `after_ns` from the usual moment.
    pub(crate) fn poll(&mut self, after_ns: u64) -> usize {
        self.path.poll(NOW_NS + after_ns)
    }

    pub(crate) fn ports(&mut self) -> &mut MemPorts {
        self.path.ports_mut()
    }

    pub(crate) fn shared(&self) -> &WorkerShared<MemBuf> {
        &self.shared
    }

    pub(crate) fn others(&self) -> &[Arc<WorkerShared<MemBuf>>] {
        &self.others
    }

    /// Every reason that ended a packet, with how many it ended.
    pub(crate) fn drops(&self) -> Vec<(DropReason, u64)> {
        let counted = DropReason::ALL.iter().map(|reason| (*reason, self.dropped(*reason)));
        counted.filter(|(_, count)| *count > 0).collect()
    }
}

fn prefix(text: &str) -> Prefix {
    let (addr, len) = text.split_once('/').unwrap();
    Prefix { addr: addr.parse().unwrap(), len: len.parse().unwrap() }
}

fn topology(peer: Peer) -> Topology {
    let (own, lan, far) = match peer {
        Peer::A => ("192.0.2.1/24", "10.1.0.1/24", "10.2.0.0/24"),
        Peer::B => ("192.0.2.2/24", "10.2.0.1/24", "10.1.0.0/24"),
    };
    let port = |name: &str, address: &str| Port {
        name: name.into(),
        mac: OWN_MAC,
        mtu: 1500,
        addresses: vec![prefix(address)],
    };
    let interface = |if_id: u32| Interface {
        name: format!("ipsec{if_id}"),
        if_id: esp::IfId(if_id),
        mtu: None,
        addresses: Vec::new(),
        spread: false,
        mss_clamp: None,
    };
    let neighbor = |port: u16, ip: &str| Neighbor { port: PortId(port), ip: ip.parse().unwrap(), mac: MAC };
    Topology {
        ports: vec![port("lan", lan), port("wan", own)],
        interfaces: vec![interface(1), interface(2)],
        routes: vec![Route { to: prefix(far), via: None, device: Device::Interface(InterfaceId(0)) }],
        neighbors: ["192.0.2.1", "192.0.2.2"]
            .map(|ip| neighbor(1, ip))
            .into_iter()
            .chain(lan_hosts())
            .collect(),
        ..Topology::default()
    }
}

fn lan_hosts() -> impl Iterator<Item = Neighbor> {
    ["10.1.0.9", "10.2.0.9"].into_iter().map(|ip| Neighbor {
        port: PortId(0),
        ip: ip.parse().unwrap(),
        mac: MAC,
    })
}

fn outer() -> (IpAddr, IpAddr) {
    ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap())
}

/// The SA from A to B, as either end has it.
pub(crate) fn sa(direction: Direction, if_id: u32) -> Sa {
    let slot = Slot::new(3).unwrap();
    let (src, dst) = outer();
    let key = SecretKey::new(&[0x5a; 16]).unwrap();
    Sa {
        slot,
        direction,
        owner: Owner(1),
        uid: SaUid::new(77).unwrap(),
        spi: Spi::allocated(slot, 0x5a5).unwrap(),
        foreign: false,
        if_id: IfId(if_id),
        src,
        dst,
        reqid: 1,
        mode: Mode::Tunnel,
        keying: Keying::new(AlgorithmId::AesGcm16(KeyOctets::K16), key, Salt::new([1, 2, 3, 4])).unwrap(),
        esn: true,
        replay_window_pkts: 128,
        encap: None,
        selectors: Default::default(),
        limits: Limits::default(),
        initial: Initial::default(),
        headers: HeaderRules::default(),
        tfc_pad: TfcPad::Off,
        mark: Mark::default(),
        set_mark: Mark::default(),
        cpu: None,
        installed_ns: 1,
    }
}

pub(crate) fn selector(src_lo: &str, src_hi: &str, dst_lo: &str, dst_hi: &str) -> SelectorRecord {
    let range = |lo: &str, hi: &str| AddressRange::new(lo.parse().unwrap(), hi.parse().unwrap()).unwrap();
    SelectorRecord::new(range(src_lo, src_hi), range(dst_lo, dst_hi), 0, PortRange::ANY, PortRange::ANY)
        .unwrap()
}

/// Protects what goes from 10.1.0.0/24 to 10.2.0.0/24.
pub(crate) fn policy(slot: u32, direction: PolicyDirection, if_id: u32) -> Policy {
    let (src, dst) = outer();
    Policy {
        slot: PolicySlot::new(slot).unwrap(),
        owner: Owner(1),
        direction,
        if_id: IfId(if_id),
        selector: selector("10.1.0.0", "10.1.0.255", "10.2.0.0", "10.2.0.255"),
        priority: 100,
        action: Action::Protect(Template { src, dst, reqid: 1, mode: Mode::Tunnel, spi: None }),
        order: 1,
        users: 1,
        mark: Mark::default(),
    }
}

/// A frame with a UDP packet in clear.
pub(crate) fn clear(src: [u8; 4], dst: [u8; 4]) -> Vec<u8> {
    let payload = [0x17; 30];
    let octets = u16::try_from(28 + payload.len()).unwrap();
    let udp = [[4, 210], [22, 46], (octets - 20).to_be_bytes(), [0, 0]].concat();
    let header = esp::wire::ipv4::Repr {
        src: src.into(),
        dst: dst.into(),
        proto: esp::wire::Proto::UDP,
        tos: 0,
        ttl: 64,
        ident: 1,
        dont_fragment: false,
        total_octets: octets,
    };
    [&OWN_MAC[..], &MAC, &[8, 0], &header.emit(), &udp, &payload].concat()
}
