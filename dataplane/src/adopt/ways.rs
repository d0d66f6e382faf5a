//! Ways: routes and neighbors, and what follows from them for the SAs that use them.

use std::net::IpAddr;
use std::sync::Arc;

use esp::aead::KeySchedule;

use super::{Adopter, Ask, events};
use crate::path::shared::{Limit, Notice};
use crate::ports::PortId;
use crate::tables::Derived;
use crate::tables::topology::{Mac, Topology};

/// Neighbors known at a time; on a link, whoever likes can claim to be any number of them.
const NEIGHBORS: usize = 16_384;

impl<S: KeySchedule> Adopter<S> {
    /// Takes a new configuration: routes, interfaces and static neighbors; ports stay as they are.
    pub fn set_topology(&mut self, topology: Topology) {
        for old in &self.tables.topology.neighbors {
            self.tables.neighbors.remove(&(old.port, old.ip));
        }
        for new in &topology.neighbors {
            self.tables.neighbors.insert((new.port, new.ip), new.mac);
        }
        self.tables.derived = Arc::new(Derived::of(&topology));
        self.tables.topology = Arc::new(topology);
        self.hops.resolve_all(&self.tables);
        self.tables.epochs.touch_all();
        self.dirty = true;
    }

    /// Takes up a neighbor's Ethernet address, unless the configuration names one.
    pub fn learn(&mut self, port: PortId, ip: IpAddr, mac: Mac) {
        let known = self.tables.neighbors.get(&(port, ip));
        let full = known.is_none() && self.tables.neighbors.len() >= NEIGHBORS;
        if known == Some(&mac) || full || self.is_fixed(port, ip) {
            return;
        }
        self.tables.neighbors.insert((port, ip), mac);
        self.neighbor_changed(port, ip);
    }

    /// Gives a neighbor up, unless the configuration names it.
    pub fn forget(&mut self, port: PortId, ip: IpAddr) {
        if !self.is_fixed(port, ip) && self.tables.neighbors.contains_key(&(port, ip)) {
            self.tables.neighbors.remove(&(port, ip));
            self.neighbor_changed(port, ip);
        }
    }

    fn neighbor_changed(&mut self, port: PortId, ip: IpAddr) {
        self.hops.resolve_over(port, ip, &self.tables);
        self.tables.epochs.touch_all();
        self.dirty = true;
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
            Notice::Limit { slot, uid, limit } if !self.is_news(slot, uid, limit) => {}
            Notice::Acquire { .. } | Notice::Limit { .. } | Notice::Mapping { .. } => {
                if let Some(event) = events::of(&notice, &self.tables, &self.book, now_ns) {
                    self.live.raise(&event);
                }
            }
        }
        None
    }

    /// Whether a limit of an SA that is still the one in its slot is reported for the first time.
    fn is_news(&mut self, slot: u32, uid: u64, limit: Limit) -> bool {
        self.tables.sa(slot).is_some_and(|(_, sa)| sa.uid == uid) && self.book.report(slot, limit)
    }

    /// Says that the control thread lives.
    pub fn heartbeat(&self, now_ns: u64) {
        self.live.set_heartbeat_ns(now_ns);
    }
}
