//! The ways to the tunnels' peers: a cell for each outer destination, resolved anew when its next hop changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

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
    by_destination: BTreeMap<IpAddr, Way>,
    /// Next hop and destination: a neighbor's change is told to the ways that lead over it.
    by_next_hop: BTreeSet<(PortId, IpAddr, IpAddr)>,
}

impl Hops {
    /// Returns the cell of a destination for one more user.
    pub(super) fn take<K>(&mut self, destination: IpAddr, tables: &Tables<K>) -> Arc<HopCell> {
        let way = self.by_destination.entry(destination).or_insert_with(|| {
            let (next_hop, hop) = resolve(destination, tables);
            let cell = Arc::new(HopCell::new(destination));
            cell.store(hop);
            self.by_next_hop.extend(next_hop.map(|(port, ip)| (port, ip, destination)));
            Way { cell, users: 0 }
        });
        way.users += 1;
        Arc::clone(&way.cell)
    }

    /// Gives the cell of a destination back; the last user's end is the way's.
    pub(super) fn give<K>(&mut self, destination: IpAddr, tables: &Tables<K>) {
        let Some(way) = self.by_destination.get_mut(&destination) else { return };
        way.users = way.users.saturating_sub(1);
        if way.users > 0 {
            return;
        }
        // Routes are as they were when the way was resolved last.
        if let (Some((port, ip)), _) = resolve(destination, tables) {
            self.by_next_hop.remove(&(port, ip, destination));
        }
        self.by_destination.remove(&destination);
    }

    /// Resolves the ways over a neighbor that was learnt or forgotten.
    pub(super) fn resolve_over<K>(&self, port: PortId, ip: IpAddr, tables: &Tables<K>) {
        let hop = of_neighbor(port, ip, tables);
        let over = self.by_next_hop.range((port, ip, LEAST)..).take_while(|way| (way.0, way.1) == (port, ip));
        for (_, _, destination) in over {
            if let Some(way) = self.by_destination.get(destination) {
                way.cell.store(hop);
            }
        }
    }

    /// Resolves every way; after a change of routes.
    pub(super) fn resolve_all<K>(&mut self, tables: &Tables<K>) {
        self.by_next_hop.clear();
        for (destination, way) in &self.by_destination {
            let (next_hop, hop) = resolve(*destination, tables);
            way.cell.store(hop);
            self.by_next_hop.extend(next_hop.map(|(port, ip)| (port, ip, *destination)));
        }
    }
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

/// The first address in order.
const LEAST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
