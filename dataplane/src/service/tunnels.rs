//! Tunnels as a person sees them: an `if_id` and a peer, however many SAs come and go below.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use arrayvec::ArrayVec;
use shm_protocol::ids::{SaUid, Slot, Spi};
use shm_protocol::live::{LiveReader, Totals, Usage};
use shm_protocol::messages::control::{SaLine, TunnelState};
use shm_protocol::place::RuntimeDir;
use shm_protocol::sa::{AlgorithmId, Direction, Occupant};
use shm_protocol::sad::SadReader;

use crate::config::topology::is_vacant;
use crate::control::View;
use crate::tables::Tables;
use crate::tables::sa::Common;

/// What names a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Interface id; 0 for policy-based ones.
    pub(super) if_id: u32,
    /// Outer address of the peer; `None` for an interface without SAs.
    pub(super) peer: Option<IpAddr>,
}

impl Key {
    fn of(sa: &Common, direction: Direction) -> Self {
        let peer = if direction == Direction::In { sa.src } else { sa.dst };
        Self { if_id: sa.if_id.0, peer: Some(peer) }
    }
}

/// A tunnel at the last look.
#[derive(Clone, Debug)]
pub(super) struct Tunnel {
    pub(super) local: Option<IpAddr>,
    pub(super) peer_port: Option<u16>,
    /// Slots of the first few SAs.
    sas: ArrayVec<u32, MOST_SAS>,
    /// How many there are each way, inbound first.
    pub(super) counts: [u32; 2],
    pub(super) state: TunnelState,
    pub(super) since_ns: u64,
    pub(super) last_packet_ns: u64,
    pub(super) totals: Totals,
    /// By how much they grew from the look before to the last one; in the middle of a look what they were.
    grown: [u64; 4],
    pub(super) drops: u64,
    seen: bool,
    /// Since the last look; what it has was not gained in that time.
    new: bool,
}

/// Units: per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) in_bits: u64,
    pub(super) in_packets: u64,
    pub(super) out_bits: u64,
    pub(super) out_packets: u64,
}

/// Every tunnel and its past, as far as it is needed to say "since" and "per second".
pub(super) struct Tunnels {
    dir: RuntimeDir,
    sad: Option<SadReader>,
    live: Option<LiveReader>,
    /// Apart from their keys, lest the map keep room for more of them than there are.
    tunnels: BTreeMap<Key, Box<Tunnel>>,
    /// Totals per `if_id`; never falling.
    ids: BTreeMap<u32, Totals>,
    /// Tunnels per `if_id`.
    peers: BTreeMap<u32, usize>,
    sampled_ns: u64,
    /// From the look before to the last one; 0 if there was none.
    elapsed_ns: u64,
    /// Time until the next look.
    pause_ns: u64,
}

impl Tunnels {
    pub(super) fn new(dir: RuntimeDir) -> Self {
        let (tunnels, ids, peers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { dir, sad: None, live: None, tunnels, ids, peers, sampled_ns: 0, elapsed_ns: 0, pause_ns: 0 }
    }

    /// Every tunnel at the last look.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Tunnel)> {
        self.tunnels.iter().map(|(key, tunnel)| (key, &**tunnel))
    }

    /// Returns what a tunnel carried of late.
    pub(super) fn rate(&self, tunnel: &Tunnel) -> Rate {
        let per_second = |count: u64| {
            let count = u128::from(count) * 1_000_000_000;
            u64::try_from(count / u128::from(self.elapsed_ns.max(1))).unwrap_or(u64::MAX)
        };
        let [in_octets, in_packets, out_octets, out_packets] = tunnel.grown.map(per_second);
        let bits = |octets: u64| octets.saturating_mul(8);
        Rate { in_bits: bits(in_octets), in_packets, out_bits: bits(out_octets), out_packets }
    }

    /// Totals of every `if_id`, deleted SAs included.
    pub(super) fn ids(&self) -> impl Iterator<Item = (u32, &Totals)> {
        self.ids.iter().map(|(id, totals)| (*id, totals))
    }

    /// Totals of an `if_id` that has one tunnel: deleted SAs are accounted by `if_id`, not by peer.
    pub(super) fn totals_of_the_only_tunnel(&self, if_id: u32) -> Option<&Totals> {
        self.ids.get(&if_id).filter(|_| self.peers.get(&if_id) == Some(&1))
    }

    /// The generation every worker uses.
    pub(super) fn generation(&self) -> shm_protocol::ids::Generation {
        self.live.as_ref().map(LiveReader::adopted_generation).unwrap_or_default()
    }

    /// Makes the next look come at once.
    pub(super) fn look_again(&mut self) {
        self.pause_ns = 0;
    }

    /// Looks at every SA the workers use; not more often than every 100 ms, and for a tenth of the time at the most.
    pub(super) fn sample<K>(&mut self, view: &View<K>, now_ns: u64) {
        if self.sampled_ns != 0 && now_ns.saturating_sub(self.sampled_ns) < self.pause_ns {
            return;
        }
        self.elapsed_ns = if self.sampled_ns == 0 { 0 } else { now_ns.saturating_sub(self.sampled_ns) };
        self.sampled_ns = now_ns;
        let begin = Instant::now();
        self.attach();
        // Totals of deleted SAs are read before the SAs: one that goes in between is missed once, never counted twice.
        let retired = self.retired();
        let tables = view.tables();
        self.begin();
        self.visit(&tables, now_ns);
        self.finish(&tables, now_ns);
        self.add_up(retired);
        let took_ns = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.pause_ns = LOOK_INTERVAL_NS.max(took_ns.saturating_mul(LOOK_SHARE));
    }

    fn attach(&mut self) {
        if !self.sad.as_ref().is_some_and(SadReader::is_current) {
            self.sad = SadReader::attach(&self.dir).ok();
        }
        if !self.live.as_ref().is_some_and(LiveReader::is_current) {
            self.live = LiveReader::attach(&self.dir).ok();
        }
    }

    fn retired(&self) -> BTreeMap<u32, Totals> {
        let all = self.live.as_ref().and_then(|live| live.all_retired_totals().ok()).unwrap_or_default();
        all.into_iter().map(|counted| (counted.if_id.0, counted.totals)).collect()
    }

    fn begin(&mut self) {
        for tunnel in self.tunnels.values_mut() {
            tunnel.seen = false;
            tunnel.grown = directions(&tunnel.totals);
            tunnel.totals = Totals::default();
            tunnel.sas.clear();
            tunnel.counts = [0; 2];
            tunnel.drops = 0;
        }
    }

    fn visit<K>(&mut self, tables: &Tables<K>, now_ns: u64) {
        for sa in tables.inbound.iter().chain(tables.foreign.iter()) {
            self.add(&sa.common, Direction::In, now_ns);
        }
        for sa in tables.outbound.iter() {
            self.add(&sa.common, Direction::Out, now_ns);
        }
        let used: BTreeSet<u32> =
            self.tunnels.iter().filter(|(_, tunnel)| tunnel.seen).map(|(key, _)| key.if_id).collect();
        for interface in tables.topology.interfaces.iter().filter(|interface| !is_vacant(interface)) {
            if !used.contains(&interface.if_id.0) {
                self.tunnel(Key { if_id: interface.if_id.0, peer: None }, now_ns);
            }
        }
    }

    fn tunnel(&mut self, key: Key, now_ns: u64) -> &mut Tunnel {
        let tunnel = self.tunnels.entry(key).or_insert_with(|| {
            Box::new(Tunnel {
                local: None,
                peer_port: None,
                sas: ArrayVec::new(),
                counts: [0; 2],
                state: TunnelState::Down,
                since_ns: now_ns,
                last_packet_ns: 0,
                totals: Totals::default(),
                drops: 0,
                grown: [0; 4],
                seen: false,
                new: true,
            })
        });
        tunnel.seen = true;
        tunnel
    }

    fn add(&mut self, sa: &Common, direction: Direction, now_ns: u64) {
        let usage = usage(sa, direction);
        let tunnel = self.tunnel(Key::of(sa, direction), now_ns);
        let _ = tunnel.sas.try_push(sa.slot);
        tunnel.counts[usize::from(direction == Direction::Out)] += 1;
        tunnel.local = Some(if direction == Direction::In { sa.dst } else { sa.src });
        tunnel.peer_port =
            sa.encap.map(|ports| if direction == Direction::In { ports.src } else { ports.dst });
        tunnel.last_packet_ns = tunnel.last_packet_ns.max(usage.last_use_ns);
        tunnel.drops += usage.err_replay + usage.err_too_old + usage.err_integrity + usage.err_inner;
        let (octets, packets) = match direction {
            Direction::In => (&mut tunnel.totals.in_octets, &mut tunnel.totals.in_packets),
            Direction::Out => (&mut tunnel.totals.out_octets, &mut tunnel.totals.out_packets),
        };
        *octets += usage.octets;
        *packets += usage.packets;
    }

    /// Describes the first few SAs of a tunnel, as they are now.
    pub(super) fn sas<K>(&self, tables: &Tables<K>, key: &Key, tunnel: &Tunnel, now_ns: u64) -> Vec<SaLine> {
        let sas = tunnel.sas.iter().filter_map(|slot| tables.sa(*slot));
        // A slot may have another tunnel's SA since the last look.
        let own = sas.filter(|(direction, sa)| Key::of(sa, *direction) == *key);
        own.map(|(direction, sa)| self.line(sa, direction, &usage(sa, direction), now_ns)).collect()
    }

    fn line(&self, sa: &Common, direction: Direction, usage: &Usage, now_ns: u64) -> SaLine {
        let record = Slot::new(sa.slot).and_then(|slot| self.sad.as_ref()?.sa(slot).ok());
        let record = record.and_then(|contents| match contents.occupant {
            Occupant::Sa(record) if record.uid.get() == sa.uid => Some(record),
            Occupant::Sa(_) | Occupant::Empty | Occupant::Larval(_) => None,
        });
        let installed_ns = record.as_ref().map_or(now_ns, |record| record.installed_ns);
        let deadline_ns = record.as_ref().and_then(|record| record.limits.deadline_ns.hard());
        SaLine {
            spi: Spi(sa.spi.0),
            direction,
            algorithm: record.map(|record| algorithm(record.keying.algorithm(), sa.esn)).unwrap_or_default(),
            packets: usage.packets,
            octets: usage.octets,
            seq: if direction == Direction::In { usage.iseq_top } else { usage.oseq },
            age_seconds: seconds(now_ns.saturating_sub(installed_ns)),
            expires_in_seconds: deadline_ns.map(|deadline| seconds(deadline.saturating_sub(now_ns))),
        }
    }

    /// Works out states and rates; a tunnel without SAs stays as long as its interface does.
    fn finish<K>(&mut self, tables: &Tables<K>, now_ns: u64) {
        let named = |id: u32| tables.derived.interfaces.contains_key(&esp::IfId(id));
        self.tunnels.retain(|key, tunnel| {
            let down_ns = now_ns.saturating_sub(tunnel.since_ns);
            let remembered = named(key.if_id) && key.peer.is_some() && down_ns < REMEMBERED_NS;
            tunnel.seen
                || (remembered && tunnel.state == TunnelState::Down)
                || tunnel.state != TunnelState::Down
        });
        let with_peer: BTreeSet<u32> =
            self.tunnels.keys().filter(|key| key.peer.is_some()).map(|key| key.if_id).collect();
        self.tunnels.retain(|key, _| key.peer.is_some() || !with_peer.contains(&key.if_id));
        self.peers.clear();
        for key in self.tunnels.keys() {
            *self.peers.entry(key.if_id).or_default() += 1;
        }
        for tunnel in self.tunnels.values_mut() {
            tunnel.finish(now_ns);
        }
    }

    fn add_up(&mut self, retired: BTreeMap<u32, Totals>) {
        let mut now = retired;
        for (key, tunnel) in &self.tunnels {
            let totals = now.entry(key.if_id).or_default();
            *totals = sum(*totals, tunnel.totals);
        }
        for (id, totals) in now {
            let known = self.ids.entry(id).or_default();
            *known = larger(*known, totals);
        }
    }
}

impl Tunnel {
    fn finish(&mut self, now_ns: u64) {
        let state = match self.counts {
            [0, 0] => TunnelState::Down,
            [0, _] | [_, 0] => TunnelState::Half,
            _ => TunnelState::Up,
        };
        if state != self.state {
            self.state = state;
            self.since_ns = now_ns;
        }
        let before = std::mem::take(&mut self.grown);
        if !std::mem::take(&mut self.new) {
            let now = directions(&self.totals);
            self.grown = std::array::from_fn(|at| {
                now.get(at).zip(before.get(at)).map_or(0, |(now, before)| now.saturating_sub(*before))
            });
        }
    }
}

/// Returns what an SA has used, out of the map that workers count in.
fn usage(sa: &Common, direction: Direction) -> Usage {
    SaUid::new(sa.uid).and_then(|uid| sa.live.usage(uid, direction)).unwrap_or_default()
}

fn directions(totals: &Totals) -> [u64; 4] {
    [totals.in_octets, totals.in_packets, totals.out_octets, totals.out_packets]
}

fn algorithm(algorithm: AlgorithmId, esn: bool) -> String {
    let AlgorithmId::AesGcm16(_) = algorithm;
    let esn = if esn { "-esn" } else { "" };
    format!("aes{}gcm16{esn}", algorithm.key_octets() * 8)
}

fn sum(a: Totals, b: Totals) -> Totals {
    Totals {
        in_octets: a.in_octets + b.in_octets,
        in_packets: a.in_packets + b.in_packets,
        out_octets: a.out_octets + b.out_octets,
        out_packets: a.out_packets + b.out_packets,
        errors: a.errors + b.errors,
    }
}

fn larger(a: Totals, b: Totals) -> Totals {
    Totals {
        in_octets: a.in_octets.max(b.in_octets),
        in_packets: a.in_packets.max(b.in_packets),
        out_octets: a.out_octets.max(b.out_octets),
        out_packets: a.out_packets.max(b.out_packets),
        errors: a.errors.max(b.errors),
    }
}

/// Whole seconds of a time in nanoseconds.
pub(super) fn seconds(ns: u64) -> u64 {
    ns / 1_000_000_000
}

/// SAs of a tunnel that are shown.
const MOST_SAS: usize = 8;
/// A tunnel that went down is shown for an hour.
const REMEMBERED_NS: u64 = 3_600_000_000_000;
const LOOK_INTERVAL_NS: u64 = 100_000_000;
/// A pause is as many times as long as the look before it.
const LOOK_SHARE: u64 = 9;
