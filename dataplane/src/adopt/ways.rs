//! Ways: routes and neighbors, and what follows from them for the SAs that use them.

use std::net::IpAddr;
use std::sync::Arc;

use esp::aead::KeySchedule;

use super::{Adopter, Ask, events};
use crate::path::shared::Notice;
use crate::ports::PortId;
use crate::tables::Derived;
use crate::tables::hop::{Hop, HopCell};
use crate::tables::topology::{Device, Mac, Topology};

/// Neighbors known at a time; on a link, whoever likes can claim to be any number of them.
const NEIGHBORS: usize = 16_384;

impl<S: KeySchedule> Adopter<S> {
    /// Takes a new configuration: routes, interfaces and static neighbors; ports stay as they are.
    pub fn set_topology(&mut self, topology: Topology) {
        let mut neighbors = (*self.tables.neighbors).clone();
        for old in &self.tables.topology.neighbors {
            neighbors.remove(&(old.port, old.ip));
        }
        neighbors.extend(topology.neighbors.iter().map(|n| ((n.port, n.ip), n.mac)));
        self.tables.neighbors = Arc::new(neighbors);
        self.tables.derived = Arc::new(Derived::of(&topology));
        self.tables.topology = Arc::new(topology);
        self.resolve_all();
        self.dirty = true;
    }

    /// Takes up a neighbor's Ethernet address, unless the configuration names one.
    pub fn learn(&mut self, port: PortId, ip: IpAddr, mac: Mac) {
        let known = self.tables.neighbors.get(&(port, ip));
        let full = known.is_none() && self.tables.neighbors.len() >= NEIGHBORS;
        if known == Some(&mac) || full || self.is_fixed(port, ip) {
            return;
        }
        Arc::make_mut(&mut self.tables.neighbors).insert((port, ip), mac);
        self.resolve_all();
        self.dirty = true;
    }

    /// Gives a neighbor up, unless the configuration names it.
    pub fn forget(&mut self, port: PortId, ip: IpAddr) {
        if !self.is_fixed(port, ip) && self.tables.neighbors.contains_key(&(port, ip)) {
            Arc::make_mut(&mut self.tables.neighbors).remove(&(port, ip));
            self.resolve_all();
            self.dirty = true;
        }
    }

    fn is_fixed(&self, port: PortId, ip: IpAddr) -> bool {
        self.tables.topology.neighbors.iter().any(|fixed| fixed.port == port && fixed.ip == ip)
    }

    /// Takes a worker's hint; returns a neighbor to ask the kernel for.
    pub fn notice(&mut self, notice: Notice, now_ns: u64) -> Option<Ask> {
        match notice {
            Notice::Missing { destination, port } => {
                let target = self.tables.derived.fib.lookup(destination);
                let ip = target.and_then(|target| target.via).unwrap_or(destination);
                return Some(Ask { port, ip });
            }
            Notice::Learnt { port, ip, mac } => self.learn(port, ip, mac),
            Notice::Limit { slot, uid, limit } if !self.book.report(slot, uid, limit) => {}
            Notice::Acquire { .. } | Notice::Limit { .. } | Notice::Mapping { .. } => {
                if let Some(event) = events::of(&notice, &self.book, now_ns) {
                    self.live.raise(&event);
                }
            }
        }
        None
    }

    /// Says that the control thread lives.
    pub fn heartbeat(&self, now_ns: u64) {
        self.live.set_heartbeat_ns(now_ns);
    }

    pub(super) fn cell(&mut self, destination: IpAddr) -> Arc<HopCell> {
        if let Some(cell) = self.cells.get(&destination) {
            return Arc::clone(cell);
        }
        // Ways that no SA uses any more are given up when a new one is needed.
        self.cells.retain(|_, cell| Arc::strong_count(cell) > 1);
        let cell = Arc::new(HopCell::new(destination));
        cell.store(self.resolve(destination));
        self.cells.insert(destination, Arc::clone(&cell));
        cell
    }

    fn resolve(&self, destination: IpAddr) -> Hop {
        match self.tables.derived.fib.lookup(destination) {
            Some(target) => match target.device {
                Device::Port(port) => {
                    let ip = target.via.unwrap_or(destination);
                    let mac = self.tables.neighbors.get(&(port, ip));
                    mac.map_or(Hop::Unresolved(port), |mac| Hop::Resolved(port, *mac))
                }
                // A tunnel inside a tunnel would need an outer packet of its own.
                Device::Interface(_) => Hop::NoRoute,
            },
            None => Hop::NoRoute,
        }
    }

    fn resolve_all(&self) {
        for cell in self.cells.values() {
            cell.store(self.resolve(cell.destination));
        }
    }
}
