//! The tables a worker reads: one immutable snapshot per burst, made by the control thread.

pub mod epochs;
pub mod fib;
pub mod foreign;
mod groups;
mod hash;
pub mod hop;
pub mod policy;
pub mod sa;
pub mod slots;
pub mod spd;
pub mod topology;
pub(crate) mod trie;

use std::net::IpAddr;
use std::sync::Arc;

use esp::wire::Ends;
use esp::{IfId, Spi};
use rustc_hash::FxHashMap;

use crate::ports::{InterfaceId, PortId};
use epochs::Epochs;
use fib::Fib;
use foreign::Foreign;
use hop::Neighbors;
use sa::{Common, InboundSa, OutboundSa};
use shm_protocol::sa::Direction;
use slots::Slots;
use spd::Spd;
use topology::{Device, Interface, Port, Topology};

/// UDP port of ESP encapsulation on which the IKE daemon listens too. RFC: 3948 section 2.
pub const NAT_T_PORT: u16 = 4500;

/// One coherent snapshot of everything a worker looks up.
#[derive(Debug)]
pub struct Tables<K> {
    /// Ports, interfaces, routes and switches from the configuration.
    pub topology: Arc<Topology>,
    /// What follows from the topology alone.
    pub derived: Arc<Derived>,
    /// Ethernet addresses of neighbors.
    pub neighbors: Neighbors,
    /// Inbound SAs by slot; the low 20 bits of an SPI of our own name it.
    pub inbound: Slots<InboundSa<K>>,
    /// Inbound SAs whose SPI is not of our allocation.
    pub foreign: Foreign<K>,
    /// Outbound SAs by slot.
    pub outbound: Slots<OutboundSa<K>>,
    /// Policies.
    pub spd: Spd<K>,
    /// What changed since another snapshot.
    pub epochs: Epochs,
}

impl<K> Clone for Tables<K> {
    fn clone(&self) -> Self {
        Self {
            topology: Arc::clone(&self.topology),
            derived: Arc::clone(&self.derived),
            neighbors: self.neighbors.clone(),
            inbound: self.inbound.clone(),
            foreign: self.foreign.clone(),
            outbound: self.outbound.clone(),
            spd: self.spd.clone(),
            epochs: self.epochs.clone(),
        }
    }
}

/// Look-ups that follow from the topology alone.
#[derive(Debug)]
pub struct Derived {
    /// Routes.
    pub fib: Fib,
    /// The gateway's own addresses.
    local: Locals,
    /// Interfaces by `if_id`.
    pub interfaces: FxHashMap<IfId, InterfaceId>,
}

/// Addresses of the gateway and the device each is on, sorted as numbers: a handful, searched thrice a packet.
#[derive(Debug, Default)]
struct Locals {
    v4: Vec<(u32, Device)>,
    v6: Vec<(u128, Device)>,
}

impl Locals {
    /// Where an address is given twice, the first device has it.
    fn new(addresses: impl Iterator<Item = (IpAddr, Device)>) -> Self {
        let mut locals = Self::default();
        for (address, device) in addresses {
            match address {
                IpAddr::V4(address) => locals.v4.push((address.to_bits(), device)),
                IpAddr::V6(address) => locals.v6.push((address.to_bits(), device)),
            }
        }
        locals.v4.sort_by_key(|(address, _)| *address);
        locals.v4.dedup_by_key(|(address, _)| *address);
        locals.v6.sort_by_key(|(address, _)| *address);
        locals.v6.dedup_by_key(|(address, _)| *address);
        locals
    }

    #[inline]
    fn device(&self, address: IpAddr) -> Option<Device> {
        match address {
            IpAddr::V4(address) => find(&self.v4, address.to_bits()),
            IpAddr::V6(address) => find(&self.v6, address.to_bits()),
        }
    }
}

#[inline]
fn find<B: Ord + Copy>(sorted: &[(B, Device)], address: B) -> Option<Device> {
    let at = sorted.binary_search_by_key(&address, |(address, _)| *address).ok()?;
    sorted.get(at).map(|(_, device)| *device)
}

impl Derived {
    /// Works the look-ups out.
    #[must_use]
    pub fn of(topology: &Topology) -> Self {
        let index = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
        let ports = topology.ports.iter().enumerate().flat_map(|(at, port)| {
            port.addresses.iter().map(move |prefix| (prefix.addr, Device::Port(PortId(index(at)))))
        });
        let tunnels = topology.interfaces.iter().enumerate().flat_map(|(at, interface)| {
            interface
                .addresses
                .iter()
                .map(move |prefix| (prefix.addr, Device::Interface(InterfaceId(index(at)))))
        });
        // A removed interface keeps its place, so that the ids of the others stay, but has no name and takes nothing.
        let by_id =
            topology.interfaces.iter().enumerate().filter(|(_, interface)| !interface.name.is_empty());
        Self {
            fib: Fib::build(topology),
            local: Locals::new(tunnels.chain(ports)),
            interfaces: by_id.map(|(at, interface)| (interface.if_id, InterfaceId(index(at)))).collect(),
        }
    }
}

impl<K> Tables<K> {
    /// Makes tables without SAs, policies and learnt neighbors.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        let mut neighbors = Neighbors::default();
        for neighbor in &topology.neighbors {
            neighbors.insert((neighbor.port, neighbor.ip), neighbor.mac);
        }
        Self {
            derived: Arc::new(Derived::of(&topology)),
            topology: Arc::new(topology),
            neighbors,
            inbound: Slots::default(),
            foreign: Foreign::default(),
            outbound: Slots::default(),
            spd: Spd::default(),
            epochs: Epochs::default(),
        }
    }

    /// Returns the SA in a slot and the direction of its packets.
    #[must_use]
    pub fn sa(&self, slot: u32) -> Option<(Direction, &Common)> {
        if let Some(sa) = self.outbound.get(slot) {
            return Some((Direction::Out, &sa.common));
        }
        self.inbound_at(slot).map(|sa| (Direction::In, &sa.common))
    }

    /// Puts an inbound SA where workers look for it; `foreign` says that its SPI does not name its slot.
    pub fn put_inbound(&mut self, sa: Arc<InboundSa<K>>, foreign: bool) {
        if foreign {
            self.foreign.put(sa);
        } else {
            self.inbound.set(sa.common.slot, Some(sa));
        }
    }

    /// Takes the SA in a slot out.
    pub fn remove_sa(&mut self, slot: u32) {
        self.outbound.set(slot, None);
        self.inbound.set(slot, None);
        self.foreign.remove(slot);
    }

    /// Returns the inbound SA in a slot.
    #[must_use]
    pub fn inbound_at(&self, slot: u32) -> Option<&Arc<InboundSa<K>>> {
        self.inbound.get(slot).or_else(|| self.foreign.at(slot))
    }

    /// Walks over all SAs.
    pub fn sas(&self) -> impl Iterator<Item = (Direction, &Common)> {
        let inbound = self.inbound.iter().chain(self.foreign.iter()).map(|sa| (Direction::In, &sa.common));
        inbound.chain(self.outbound.iter().map(|sa| (Direction::Out, &sa.common)))
    }

    /// Whether there is neither an SA nor a policy.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        self.inbound.is_empty() && self.foreign.is_empty() && self.outbound.is_empty() && self.spd.is_empty()
    }

    /// Takes all SAs and policies out.
    pub fn forget_all(&mut self) {
        self.inbound = Slots::default();
        self.foreign = Foreign::default();
        self.outbound = Slots::default();
        self.spd = Spd::default();
        self.epochs.touch_all();
    }

    /// Returns a port.
    #[must_use]
    #[inline]
    pub fn port(&self, port: PortId) -> Option<&Port> {
        self.topology.ports.get(usize::from(port.0))
    }

    /// Returns an interface.
    #[must_use]
    #[inline]
    pub fn interface(&self, interface: InterfaceId) -> Option<&Interface> {
        self.topology.interfaces.get(usize::from(interface.0))
    }

    /// Returns the device an address of the gateway is on; `None` for anybody else's address.
    #[must_use]
    #[inline]
    pub fn local(&self, address: IpAddr) -> Option<Device> {
        self.derived.local.device(address)
    }

    /// Starts to load what [`Self::inbound_by_slot_of`] reads last.
    #[inline]
    pub fn prefetch_inbound(&self, spi: Spi) {
        self.inbound.prefetch(spi.0 & SLOT_MASK);
    }

    /// Returns the SA that an SPI of our allocation names the slot of, which may be another one's.
    #[must_use]
    #[inline]
    pub fn inbound_by_slot_of(&self, spi: Spi) -> Option<&InboundSa<K>> {
        self.inbound.get(spi.0 & SLOT_MASK).map(Arc::as_ref)
    }

    /// Returns the SA that an ESP packet between these ends with this SPI belongs to.
    /// RFC: 4301 section 4.1, by SPI and destination.
    #[must_use]
    #[inline]
    pub fn inbound(&self, spi: Spi, ends: &Ends) -> Option<&InboundSa<K>> {
        let of_ours = self.inbound_by_slot_of(spi);
        let fits = |sa: &&InboundSa<K>| sa.is_for(spi, ends);
        of_ours.filter(fits).or_else(|| self.foreign.get(spi).find(fits))
    }
}

/// Bits of an SPI that name its slot.
const SLOT_MASK: u32 = (1 << 20) - 1;
