//! A gateway without processes: segments in a runtime directory, the adopter, one packet path over a field.

use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use crypto::{Choice, Crypto};
use dataplane::adopt::Adopter;
use dataplane::clock::boottime_ns;
use dataplane::config::Flows;
use dataplane::path::Path;
use dataplane::path::shared::WorkerShared;
use dataplane::ports::{Burst, InterfaceId, PortId, Ports as _};
use dataplane::publish;
use dataplane::tables::Tables;
use dataplane::tables::topology::{Device, Interface, Neighbor, Port, Prefix, Route, Topology};
use dpdk::{Mbuf, Mempool};
use shm_protocol::live::Live;
use shm_protocol::place::RuntimeDir;
use shm_protocol::sad::{SadWriter, Transaction};

use super::ports::{FieldPorts, LAN, WAN};
use super::records::{IF_ID, Records, WINDOW_PKTS};
use super::sealer::{FAR_MAC, OWN_MAC};
use crate::peers::{NEIGHBOR, OURS, OUTER, OWN, Peers};
use crate::{Result, cpu, load};

/// See the module's text.
pub struct Node {
    path: Path<FieldPorts, crypto::Engine>,
    shared: Arc<WorkerShared<Mbuf>>,
    adopter: Adopter<Crypto>,
    crypto: Arc<Crypto>,
    writer: SadWriter,
}

/// What a run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Packets taken up.
    pub packets: u64,
    /// By the clock.
    pub wall: Duration,
    /// For as long the thread had its core.
    pub cpu: Duration,
}

impl std::ops::AddAssign for Run {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.wall += other.wall;
        self.cpu += other.cpu;
    }
}

impl Node {
    /// Makes a gateway without SAs in an empty directory on tmpfs; frames arrive by `arrives`.
    ///
    /// # Errors
    /// Those of the segments and the AEAD.
    pub fn new(dir: &FilePath, peers: Peers, pool: Mempool, arrives: PortId) -> Result<Self> {
        let dir = RuntimeDir::open(dir)?;
        let live = Arc::new(Live::attach_or_create(&dir)?);
        let mut writer = SadWriter::open(&dir, peers.count.saturating_mul(2), DEADLINE)?;
        let mut instance = Transaction::new();
        instance.set_instance(live.instance());
        writer.commit(&instance, DEADLINE)?;
        let crypto = Arc::new(Crypto::new(Choice::Auto)?);
        let topology = topology(peers);
        let (publisher, mut tables) = publish::channel(Tables::new(topology.clone()), 1);
        let Some(tables) = tables.pop() else { bail!("no place for a worker") };
        let shared = WorkerShared::new(topology.ports.len());
        let adopter = Adopter::new(dir, live, Arc::clone(&crypto), topology, publisher);
        let (ports, workers) = (FieldPorts::new(pool, arrives), vec![Arc::clone(&shared)]);
        let flows = usize::try_from(Flows::DEFAULT.count())?;
        let path = Path::new(0, ports, crypto.engine()?, tables, workers, dpdk::tsc).with_flows(flows);
        Ok(Self { path, shared, adopter, crypto, writer })
    }

    /// Writes the records of a row to `sad` and waits until the path uses them.
    ///
    /// # Errors
    /// Those of the segment; the adopter does not take them up.
    pub fn install(&mut self, dir: &FilePath, records: &Records) -> Result<()> {
        let deadline_ns = boottime_ns() + LIFETIME_NS;
        let peers: Vec<u32> = (0..records.peers().count).collect();
        for some in peers.chunks(CHANGES) {
            let mut changes = Transaction::new();
            for peer in some {
                changes.put_sa(&records.sa(*peer, deadline_ns)?);
            }
            self.writer.commit(&changes, DEADLINE)?;
        }
        for some in peers.chunks(CHANGES / 3) {
            let mut changes = Transaction::new();
            for peer in some {
                for policy in records.policies(*peer)? {
                    changes.put_policy(&policy);
                }
            }
            self.writer.commit(&changes, DEADLINE)?;
        }
        let end = Instant::now() + PATIENCE;
        while !load::is_settled(dir)? {
            if Instant::now() > end {
                bail!("waited {} s for the adopter", PATIENCE.as_secs());
            }
            // A look at the files every 50 ms is enough; in between whatever is left to do is done.
            for _ in 0..64 {
                self.adopter.step(boottime_ns());
                self.path.poll(boottime_ns());
            }
        }
        Ok(())
    }

    /// Returns the process's AEAD.
    #[must_use]
    pub fn crypto(&self) -> &Crypto {
        &self.crypto
    }

    /// Returns what the path has counted, as every worker does.
    #[must_use]
    pub fn shared(&self) -> &WorkerShared<Mbuf> {
        &self.shared
    }

    /// Returns the ports.
    pub fn ports(&mut self) -> &mut FieldPorts {
        self.path.ports_mut()
    }

    /// Polls until every frame of the field was taken up, for `limit` at most.
    ///
    /// # Errors
    /// What the system says.
    pub fn run(&mut self, limit: Duration) -> Result<Run> {
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let (start, on_cpu, start_ns) = (Instant::now(), cpu::thread_time()?, boottime_ns());
        let mut packets = 0;
        loop {
            let now_ns = boottime_ns();
            packets += self.path.poll(now_ns) as u64;
            if self.path.ports_mut().left() == 0 || now_ns - start_ns > limit_ns {
                break;
            }
        }
        let cpu = cpu::thread_time()?.saturating_sub(on_cpu);
        Ok(Run { packets, wall: start.elapsed(), cpu })
    }

    /// Takes every frame of the field from one port to the other with the addresses swapped and nothing else.
    ///
    /// # Errors
    /// What the system says.
    pub fn run_io_alone(&mut self) -> Result<Run> {
        let ports = self.path.ports_mut();
        let (start, on_cpu, mut packets) = (Instant::now(), cpu::thread_time()?, 0);
        while ports.left() > 0 {
            for port in [LAN, WAN] {
                let mut burst = Burst::new();
                ports.rx(port, &mut burst);
                packets += burst.len() as u64;
                for mbuf in &mut burst {
                    if let Some((destination, source)) =
                        mbuf.data_mut().get_mut(..12).and_then(|macs| macs.split_at_mut_checked(6))
                    {
                        destination.swap_with_slice(source);
                    }
                }
                if !burst.is_empty() {
                    ports.tx(port, &mut burst);
                }
            }
        }
        let cpu = cpu::thread_time()?.saturating_sub(on_cpu);
        Ok(Run { packets, wall: start.elapsed(), cpu })
    }
}

/// The gateway of the other harness, as a table: behind it a router has the hosts, before it another has the peers.
#[must_use]
pub fn topology(peers: Peers) -> Topology {
    let prefix = |(addr, len): (std::net::Ipv4Addr, u8)| Prefix { addr: addr.into(), len };
    let port = |name: &str, address| Port {
        name: name.into(),
        mac: OWN_MAC,
        mtu: 1500,
        addresses: vec![prefix((address, 24))],
    };
    let router = std::net::Ipv4Addr::new(10, 254, 0, 9);
    let neighbor = |port, ip: std::net::Ipv4Addr| Neighbor { port, ip: ip.into(), mac: FAR_MAC };
    Topology {
        ports: vec![port("lan", std::net::Ipv4Addr::new(10, 254, 0, 1)), port("wan", OWN)],
        interfaces: vec![Interface {
            name: "ipsec1".into(),
            if_id: esp::IfId(IF_ID),
            mtu: None,
            addresses: Vec::new(),
            spread: false,
            mss_clamp: None,
        }],
        routes: vec![
            Route { to: prefix(OURS), via: Some(router.into()), device: Device::Port(LAN) },
            Route { to: prefix(OUTER), via: Some(NEIGHBOR.into()), device: Device::Port(WAN) },
            Route { to: prefix(peers.networks()), via: None, device: Device::Interface(InterfaceId(0)) },
        ],
        neighbors: vec![neighbor(LAN, router), neighbor(WAN, NEIGHBOR)],
        min_replay_window: WINDOW_PKTS,
        ..Topology::default()
    }
}

const DEADLINE: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(120);
const LIFETIME_NS: u64 = 3_600_000_000_000;
/// Changes of one generation, as `espctl -batch` sends them.
const CHANGES: usize = 256;
