//! A gateway in memory: both segments in a directory of its own, the adopter, its workers, and the far ends of its
//! ports. When it goes, every packet it took must be accounted for, exactly, for each origin and in sum.

use std::path::Path as FsPath;
use std::sync::Arc;
use std::time::Duration;

use crypto::{Choice, Crypto, Engine};
use dataplane::adopt::Adopter;
use dataplane::path::Path;
use dataplane::path::counters::Origin;
use dataplane::path::host::{FromHost, HostDevice, PuntClass};
use dataplane::path::shared::WorkerShared;
use dataplane::ports::PortId;
use dataplane::ports::memory::{MemBuf, MemPorts, Wire};
use dataplane::publish;
use dataplane::tables::Tables;
use dataplane::tables::topology::Topology;
use esp::DropReason;
use shm_protocol::ids::{InstanceId, Slot};
use shm_protocol::live::{Event, EventCursor, Live, LiveReader, Usage};
use shm_protocol::place::RuntimeDir;
use shm_protocol::sa::{Direction, Sa};
use shm_protocol::sad::{SadWriter, Transaction};

use crate::plan::{HOST, Plan, mac};
use crate::records::Side;
use crate::wire::{Mac, Packet};

pub(crate) const LAN: u16 = 0;
pub(crate) const WAN: u16 = 1;
pub(crate) const MS: u64 = 1_000_000;
const DEADLINE: Duration = Duration::from_secs(20);
/// A moment of CLOCK_BOOTTIME at which every test begins.
const START_NS: u64 = 1_000_000_000_000;

/// One worker and the far ends of its ports.
pub(crate) struct Worker {
    pub(crate) path: Path<MemPorts, Engine>,
    pub(crate) shared: Arc<WorkerShared<MemBuf>>,
    pub(crate) wires: Vec<Wire>,
}

pub(crate) struct Gateway {
    pub(crate) side: Side,
    pub(crate) now_ns: u64,
    pub(crate) adopter: Adopter<Crypto>,
    pub(crate) workers: Vec<Worker>,
    writer: Option<SadWriter>,
    events: Option<(LiveReader, EventCursor)>,
    topology: Topology,
    spray: bool,
    temp: Option<tempfile::TempDir>,
}

impl Gateway {
    pub(crate) fn start(plan: Plan) -> Self {
        let temp = tempfile::Builder::new().prefix("espalier-path-").tempdir_in("/dev/shm").unwrap();
        let dir = RuntimeDir::open(temp.path()).unwrap();
        let writer = SadWriter::open(&dir, 256, DEADLINE).unwrap();
        Self::over(plan, temp, writer, START_NS)
    }

    fn over(plan: Plan, temp: tempfile::TempDir, mut writer: SadWriter, now_ns: u64) -> Self {
        let Plan { side, topology, workers, spray } = plan;
        let dir = RuntimeDir::open(temp.path()).unwrap();
        let live = Arc::new(Live::attach_or_create(&dir).unwrap());
        if writer.reader().instance().is_none() {
            let mut instance = Transaction::new();
            instance.set_instance(live.instance());
            writer.commit(&instance, DEADLINE).unwrap();
        }
        let crypto = Arc::new(Crypto::new(Choice::RustCrypto).unwrap());
        let (publisher, subscribers) = publish::channel(Tables::new(topology.clone()), workers);
        let shared: Vec<_> = (0..workers).map(|_| WorkerShared::new(topology.ports.len())).collect();
        let worker = |(index, subscriber)| {
            let wires: Vec<_> = topology.ports.iter().map(|_| Wire::default()).collect();
            let ports = MemPorts::new(wires.clone());
            let path = Path::new(index, ports, crypto.engine().unwrap(), subscriber, shared.clone(), || 0)
                .with_spray(spray);
            Worker { path, shared: Arc::clone(&shared[index]), wires }
        };
        let workers = subscribers.into_iter().enumerate().map(worker).collect();
        let reader = LiveReader::attach(&dir).unwrap();
        let cursor = reader.event_cursor();
        let adopter = Adopter::new(dir, live, crypto, topology.clone(), publisher);
        let mut gateway = Self {
            side,
            now_ns,
            adopter,
            workers,
            writer: Some(writer),
            events: Some((reader, cursor)),
            topology,
            spray,
            temp: Some(temp),
        };
        gateway.settle();
        gateway
    }

    /// The engine ends without a word, another starts on the same directory; the bridge goes on.
    pub(crate) fn restarted(mut self) -> Self {
        self.account();
        let (temp, writer) = (self.temp.take().unwrap(), self.writer.take().unwrap());
        let workers = self.workers.len();
        let plan = Plan { side: self.side, topology: self.topology.clone(), workers, spray: self.spray };
        let now_ns = self.now_ns + MS;
        drop(self);
        Self::over(plan, temp, writer, now_ns)
    }

    pub(crate) fn dir(&self) -> &FsPath {
        self.temp.as_ref().unwrap().path()
    }

    pub(crate) fn runtime(&self) -> RuntimeDir {
        RuntimeDir::open(self.dir()).unwrap()
    }

    /// Makes changes as one generation and lets every worker see them.
    pub(crate) fn commit(&mut self, changes: impl FnOnce(&mut Transaction)) {
        self.write(changes);
        self.settle();
    }

    /// Makes changes that nobody has taken up yet.
    pub(crate) fn write(&mut self, changes: impl FnOnce(&mut Transaction)) {
        let mut transaction = Transaction::new();
        changes(&mut transaction);
        self.bridge().commit(&transaction, DEADLINE).unwrap();
    }

    pub(crate) fn bridge(&mut self) -> &mut SadWriter {
        self.writer.as_mut().unwrap()
    }

    /// The bridge starts again, and makes a new `sad` if there is none.
    pub(crate) fn restart_bridge(&mut self) {
        self.writer = None;
        self.writer = Some(SadWriter::open(&self.runtime(), 256, DEADLINE).unwrap());
    }

    /// Names the `live` segment there is now, as a bridge does that has retired every SA.
    pub(crate) fn name_instance(&mut self) -> InstanceId {
        let instance = LiveReader::attach(&self.runtime()).unwrap().instance();
        self.write(|changes| {
            changes.set_instance(instance);
        });
        instance
    }

    /// Lets control thread and workers run until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        for _ in 0..32 {
            self.now_ns += MS;
            let adopted = self.adopter.step(self.now_ns);
            self.poll();
            let told = self.take_notices();
            if !adopted.more && !adopted.published && !told {
                return;
            }
        }
        panic!("the control thread finds no end");
    }

    /// What the control thread does with hints of the workers, the kernel's part left out; whether there were any.
    pub(crate) fn take_notices(&mut self) -> bool {
        let mut told = false;
        for worker in &self.workers {
            while let Some(notice) = worker.shared.notices.pop() {
                let _ = self.adopter.notice(notice, self.now_ns);
                told = true;
            }
        }
        told
    }

    pub(crate) fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        self.settle();
    }

    /// Puts a frame on the wire of `port`, towards the first worker.
    pub(crate) fn send(&self, port: u16, frame: impl Into<Vec<u8>>) {
        self.send_to(0, port, frame);
    }

    pub(crate) fn send_to(&self, worker: usize, port: u16, frame: impl Into<Vec<u8>>) {
        self.workers[worker].wires[usize::from(port)].send(frame);
    }

    /// A packet of a host on `port`.
    pub(crate) fn host_sends(&self, port: u16, packet: &Packet) {
        self.send(port, packet.frame(mac(self.side, port), HOST));
    }

    /// What the other gateway sent arrives on the WAN.
    pub(crate) fn peer_sends(&self, packet: &Packet) {
        self.send(WAN, packet.frame(mac(self.side, WAN), mac(self.side.other(), WAN)));
    }

    /// What the kernel sends by one of our devices.
    pub(crate) fn kernel_sends(&self, device: HostDevice, octets: &[u8]) {
        let index = match device {
            HostDevice::Port(port) => usize::from(port.0),
            HostDevice::Interface(interface) => usize::from(interface.0),
        };
        let buf = MemBuf::from_octets(octets).unwrap();
        let worker = &self.workers[index % self.workers.len()];
        worker.shared.host.from_host.push(FromHost { device, buf }).unwrap();
    }

    /// The kernel sends `packet` by the TAP of the WAN to `to`.
    pub(crate) fn kernel_sends_by_wan(&self, packet: &Packet, to: Mac) {
        self.kernel_sends(HostDevice::Port(PortId(WAN)), &packet.frame(to, mac(self.side, WAN)));
    }

    /// Polls every worker until none finds anything to do; one poll takes one burst of a port.
    pub(crate) fn poll(&mut self) {
        for _ in 0..1000 {
            let taken: usize = self.workers.iter_mut().map(|worker| worker.path.poll(self.now_ns)).sum();
            if taken == 0 {
                return;
            }
        }
        panic!("packets go round and round");
    }

    /// Takes the frames that were sent out of `port`.
    pub(crate) fn sent(&self, port: u16) -> Vec<Vec<u8>> {
        self.workers
            .iter()
            .flat_map(|worker| std::iter::from_fn(|| worker.wires[usize::from(port)].take()))
            .collect()
    }

    /// Takes the packets that were sent out of `port` to a host.
    pub(crate) fn to_hosts(&self, port: u16) -> Vec<Packet> {
        let frames = self.sent(port);
        for frame in &frames {
            assert_eq!((&frame[..6], &frame[6..12]), (&HOST[..], &mac(self.side, port)[..]));
        }
        frames.iter().map(|frame| Packet::of_frame(frame)).collect()
    }

    /// Takes what was sent to the other gateway.
    pub(crate) fn to_peer(&self) -> Vec<Packet> {
        let frames = self.sent(WAN);
        for frame in &frames {
            let (to, from) = (mac(self.side.other(), WAN), mac(self.side, WAN));
            assert_eq!((&frame[..6], &frame[6..12]), (&to[..], &from[..]));
        }
        frames.iter().map(|frame| Packet::of_frame(frame)).collect()
    }

    /// Takes what was handed to the kernel.
    pub(crate) fn punted(&self) -> Vec<(HostDevice, PuntClass, Vec<u8>)> {
        let punts =
            self.workers.iter().flat_map(|worker| std::iter::from_fn(|| worker.shared.host.punts.pop()));
        punts
            .map(|punt| (punt.device, punt.class, dataplane::ports::Buffer::data(&punt.buf).to_vec()))
            .collect()
    }

    fn origins(&self) -> Vec<Origin> {
        let ports = (0..u16::try_from(self.topology.ports.len()).unwrap()).map(PortId);
        ports.flat_map(|port| [Origin::Port(port), Origin::Tap(port)]).chain([Origin::Tun]).collect()
    }

    /// How many packets ended for `reason`, whoever sent them.
    pub(crate) fn dropped(&self, reason: DropReason) -> u64 {
        let accounts = self
            .origins()
            .into_iter()
            .flat_map(|origin| self.workers.iter().map(move |worker| worker.shared.counters.account(origin)));
        accounts.map(|account| account.drops_of(reason).get()).sum()
    }

    /// Every drop there was.
    pub(crate) fn drops(&self) -> Vec<(DropReason, u64)> {
        let counts = DropReason::ALL.iter().map(|reason| (*reason, self.dropped(*reason)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    #[track_caller]
    pub(crate) fn no_drops(&self) {
        assert_eq!(self.drops(), []);
    }

    /// `count` packets were dropped for `reason`, and none for another.
    #[track_caller]
    pub(crate) fn only_drops(&self, reason: DropReason, count: u64) {
        assert_eq!(self.drops(), [(reason, count)]);
    }

    /// received + host-made + engine-made = sent + punted + drops by reason, for each origin, so in sum.
    pub(crate) fn account(&mut self) {
        // What is still held for a neighbor is given up after a second.
        self.now_ns += 1_100 * MS;
        self.poll();
        for origin in self.origins() {
            let (mut began, mut ended) = (0, 0);
            for worker in &self.workers {
                let account = worker.shared.counters.account(origin);
                began += account.entered.get() + account.made.get();
                let drops: u64 = account.drops.iter().map(|drops| drops.get()).sum();
                ended += account.sent.get() + account.punted.get() + drops;
            }
            assert_eq!(began, ended, "{origin:?} of {:?}: {:?}", self.side, self.drops());
        }
    }

    /// What `live` says about an SA.
    pub(crate) fn usage(&self, sa: &Sa) -> Usage {
        self.usage_of(sa.slot, sa)
    }

    fn usage_of(&self, slot: Slot, sa: &Sa) -> Usage {
        let reader = LiveReader::attach(&self.runtime()).unwrap();
        reader.usage(slot, sa.uid, sa.direction).unwrap()
    }

    /// Whether `live` still has a record of an SA.
    pub(crate) fn has_record(&self, sa: &Sa) -> bool {
        let reader = LiveReader::attach(&self.runtime()).unwrap();
        reader.usage(sa.slot, sa.uid, Direction::In).is_ok()
    }

    /// Events since the last call.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        self.take_notices();
        let (reader, cursor) = self.events.as_mut().unwrap();
        let mut events = Vec::new();
        reader.events(cursor, &mut events);
        events
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.temp.is_some() {
            self.account();
        }
    }
}
