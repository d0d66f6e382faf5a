//! The ways to the tunnels' peers: a cell for each outer destination, resolved anew when its next hop changes.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::ports::PortId;
use crate::tables::Tables;
use crate::tables::hop::{Hop, HopCell, Next};
use crate::tables::topology::Device;

struct Way {
    cell: Arc<HopCell>,
    /// Outbound SAs that go this way.
    users: u32,
}

/// See the module's text.
#[derive(Default)]
pub(super) struct Hops {
    /// With a seed of its own: peers have a say in what is hashed.
    hasher: RandomState,
    v4: Ways<Ipv4Addr>,
    v6: Ways<Ipv6Addr>,
}

impl Hops {
    /// Returns the cell of a destination for one more user.
    pub(super) fn take<K>(&mut self, destination: IpAddr, tables: &Tables<K>) -> Arc<HopCell> {
        match destination {
            IpAddr::V4(destination) => self.v4.take(destination, tables, &self.hasher),
            IpAddr::V6(destination) => self.v6.take(destination, tables, &self.hasher),
        }
    }

    /// Gives the cell of a destination back; the last user's end is the way's.
    pub(super) fn give<K>(&mut self, destination: IpAddr, tables: &Tables<K>) {
        match destination {
            IpAddr::V4(destination) => self.v4.give(destination, tables, &self.hasher),
            IpAddr::V6(destination) => self.v6.give(destination, tables, &self.hasher),
        }
    }

    /// Resolves the ways over a neighbor that was learnt or forgotten.
    pub(super) fn resolve_over<K>(&self, port: PortId, ip: IpAddr, tables: &Tables<K>) {
        let key = key(&self.hasher, (port, ip));
        self.v4.resolve_over(key, tables);
        self.v6.resolve_over(key, tables);
    }

    /// Resolves every way; after a change of routes.
    pub(super) fn resolve_all<K>(&mut self, tables: &Tables<K>) {
        self.v4.resolve_all(tables, &self.hasher);
        self.v6.resolve_all(tables, &self.hasher);
    }
}

/// An address of one family, no longer than it has to be: there is one for each peer.
trait Address: Copy + Ord + Into<IpAddr> {
    /// The first in order.
    const LEAST: Self;
}

impl Address for Ipv4Addr {
    const LEAST: Self = Self::UNSPECIFIED;
}

impl Address for Ipv6Addr {
    const LEAST: Self = Self::UNSPECIFIED;
}

/// The ways to the destinations of one family.
struct Ways<A> {
    by_destination: BTreeMap<A, Way>,
    /// Key of the next hop and destination: a neighbor's change is told to the ways that may lead over it.
    by_next_hop: BTreeSet<(u32, A)>,
}

impl<A> Default for Ways<A> {
    fn default() -> Self {
        Self { by_destination: BTreeMap::new(), by_next_hop: BTreeSet::new() }
    }
}

impl<A: Address> Ways<A> {
    fn take<K>(&mut self, destination: A, tables: &Tables<K>, hasher: &RandomState) -> Arc<HopCell> {
        let way = self.by_destination.entry(destination).or_insert_with(|| {
            let (next_hop, hop) = resolve(destination.into(), tables);
            let cell = Arc::new(HopCell::new(destination.into()));
            cell.store(hop);
            self.by_next_hop.extend(next_hop.map(|next_hop| (key(hasher, next_hop), destination)));
            Way { cell, users: 0 }
        });
        way.users += 1;
        Arc::clone(&way.cell)
    }

    fn give<K>(&mut self, destination: A, tables: &Tables<K>, hasher: &RandomState) {
        let Some(way) = self.by_destination.get_mut(&destination) else { return };
        way.users = way.users.saturating_sub(1);
        if way.users > 0 {
            return;
        }
        // Routes are as they were when the way was resolved last.
        if let (Some(next_hop), _) = resolve(destination.into(), tables) {
            self.by_next_hop.remove(&(key(hasher, next_hop), destination));
        }
        self.by_destination.remove(&destination);
    }

    /// Resolves the ways over the next hops with a key; whichever they lead over.
    fn resolve_over<K>(&self, key: u32, tables: &Tables<K>) {
        let over = self.by_next_hop.range((key, A::LEAST)..).take_while(|(other, _)| *other == key);
        for (_, destination) in over {
            if let Some(way) = self.by_destination.get(destination) {
                let (_, hop) = resolve((*destination).into(), tables);
                way.cell.store(hop);
            }
        }
    }

    fn resolve_all<K>(&mut self, tables: &Tables<K>, hasher: &RandomState) {
        self.by_next_hop.clear();
        for (destination, way) in &self.by_destination {
            let (next_hop, hop) = resolve((*destination).into(), tables);
            way.cell.store(hop);
            self.by_next_hop.extend(next_hop.map(|next_hop| (key(hasher, next_hop), *destination)));
        }
    }
}

/// Returns what a next hop is found by; others may have the same.
#[allow(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
fn key(hasher: &RandomState, (port, ip): (PortId, IpAddr)) -> u32 {
    hasher.hash_one((port.0, ip)) as u32
}

/// Returns the neighbor that the way to a destination leads over, and the way.
fn resolve<K>(destination: IpAddr, tables: &Tables<K>) -> (Option<(PortId, IpAddr)>, Hop) {
    let Some(target) = tables.derived.fib.lookup(destination) else { return (None, Hop::NoRoute) };
    match target.device {
        Device::Port(port) => {
            let ip = target.via.unwrap_or(destination);
            (Some((port, ip)), of_neighbor(port, ip, tables))
        }
        // A tunnel inside a tunnel would need an outer packet of its own.
        Device::Interface(_) => (None, Hop::NoRoute),
    }
}

fn of_neighbor<K>(port: PortId, ip: IpAddr, tables: &Tables<K>) -> Hop {
    let mac = tables.neighbors.get(&(port, ip));
    mac.map_or(Hop::Unresolved(port), |mac| Hop::Resolved(Next::new(port, *mac)))
}
