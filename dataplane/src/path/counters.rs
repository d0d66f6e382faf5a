//! What a worker counts. One worker writes, anybody reads; no counter ever falls.
//!
//! Every packet is accounted to its origin, so that for each origin, and so in sum,
//! received + host-made = sent + punted + drops by reason, exactly, whenever no packet is on its way.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use esp::DropReason;

use crate::ports::PortId;

/// A counter with one writer: an add is a load and a store, without a locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; for the owning worker alone.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Returns the count.
    #[must_use]
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where a packet entered the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Received on a port.
    Port(PortId),
    /// Read from the TAP of a port.
    Tap(PortId),
    /// Read from the TUN of any interface.
    Tun,
}

impl Origin {
    /// Number of origins with `ports` ports.
    #[must_use]
    pub const fn count(ports: usize) -> usize {
        2 * ports + 1
    }

    /// Position of this origin's account among those of `ports` ports.
    #[must_use]
    #[inline]
    pub fn index(self, ports: usize) -> usize {
        match self {
            Self::Port(port) => usize::from(port.0),
            Self::Tap(port) => ports + usize::from(port.0),
            Self::Tun => 2 * ports,
        }
    }
}

/// What became of the packets of one origin.
#[derive(Debug)]
pub struct Account {
    /// Received from the wire (origin port) or made by the host (origin TAP or TUN).
    pub entered: Counter,
    /// Made by the engine on behalf of this origin's packets: ICMP errors, ARP and ND, further fragments.
    pub made: Counter,
    /// Handed to a transmit queue.
    pub sent: Counter,
    /// Handed to the host.
    pub punted: Counter,
    /// Dropped, by [`DropReason::index`].
    pub drops: [Counter; DropReason::COUNT],
}

impl Account {
    /// Returns the counter of one reason.
    #[must_use]
    #[inline]
    #[allow(
        clippy::indexing_slicing,
        reason = "a reason's index is below the number of reasons, the array's length"
    )]
    pub fn drops_of(&self, reason: DropReason) -> &Counter {
        &self.drops[reason.index()]
    }
}

impl Default for Account {
    fn default() -> Self {
        Self {
            entered: Counter::default(),
            made: Counter::default(),
            sent: Counter::default(),
            punted: Counter::default(),
            drops: [const { Counter(AtomicU64::new(0)) }; DropReason::COUNT],
        }
    }
}

/// The stages whose cost is accounted, in the order a packet meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Taking packets from receive queues and the host's ring.
    Rx,
    /// Sending packets of known flows on their way.
    Known,
    /// Telling ESP, IKE, neighbor discovery, local and transit packets apart.
    Classify,
    /// SPI to SA, outer header against the SA, replay check.
    Lookup,
    /// Opening the AEAD, also of packets that another worker received.
    Open,
    /// Offering packets to other workers, and taking them back in their order.
    Spray,
    /// Window advance, decapsulation, inbound policy.
    Decap,
    /// Route of the inner packet.
    Forward,
    /// Outbound policy, SA, MTU, next hop.
    Outbound,
    /// Sequence numbers and encapsulation.
    Encap,
    /// Sealing.
    Seal,
    /// Handing to transmit queues.
    Tx,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 12] = [
        Self::Rx,
        Self::Known,
        Self::Classify,
        Self::Lookup,
        Self::Open,
        Self::Spray,
        Self::Decap,
        Self::Forward,
        Self::Outbound,
        Self::Encap,
        Self::Seal,
        Self::Tx,
    ];

    /// Name shown by `espctl workers`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rx => "rx",
            Self::Known => "known",
            Self::Classify => "classify",
            Self::Lookup => "lookup",
            Self::Open => "open",
            Self::Spray => "spray",
            Self::Decap => "decap",
            Self::Forward => "forward",
            Self::Outbound => "outbound",
            Self::Encap => "encap",
            Self::Seal => "seal",
            Self::Tx => "tx",
        }
    }
}

/// Cost of one stage.
#[derive(Debug, Default)]
pub struct StageCount {
    /// Bursts worked on.
    pub calls: Counter,
    /// Packets worked on.
    pub packets: Counter,
    /// Time stamp counter ticks spent.
    pub cycles: Counter,
}

/// All counters of one worker.
#[derive(Debug)]
pub struct Counters {
    accounts: Vec<CachePadded<Account>>,
    stages: [StageCount; Stage::ALL.len()],
    /// Polls that found no packet.
    pub idle_polls: Counter,
    /// Polls.
    pub polls: Counter,
    ports: usize,
}

impl Counters {
    /// Makes zeroed counters for `ports` ports.
    #[must_use]
    pub fn new(ports: usize) -> Self {
        Self {
            accounts: (0..Origin::count(ports)).map(|_| CachePadded::default()).collect(),
            stages: Default::default(),
            idle_polls: Counter::default(),
            polls: Counter::default(),
            ports,
        }
    }

    /// Number of ports the accounts are for.
    #[must_use]
    pub fn ports(&self) -> usize {
        self.ports
    }

    /// Returns the account of `origin`; of an origin that does not exist, that of the interfaces.
    #[must_use]
    #[inline]
    #[allow(
        clippy::indexing_slicing,
        reason = "the last account always exists, and the index is at most its position"
    )]
    pub fn account(&self, origin: Origin) -> &Account {
        let index = origin.index(self.ports).min(2 * self.ports);
        &self.accounts[index]
    }

    /// Counts a dropped packet.
    #[inline]
    pub fn dropped(&self, origin: Origin, reason: DropReason) {
        self.account(origin).drops_of(reason).add(1);
    }

    /// Returns the cost of `stage`.
    #[must_use]
    #[inline]
    #[allow(clippy::indexing_slicing, reason = "there is a place for each variant")]
    pub fn stage(&self, stage: Stage) -> &StageCount {
        &self.stages[stage as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_origin_has_its_own_account() {
        let ports = 3;
        let mut indices: Vec<_> = (0..3)
            .flat_map(|port| [Origin::Port(PortId(port)), Origin::Tap(PortId(port))])
            .chain([Origin::Tun])
            .map(|origin| origin.index(ports))
            .collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..Origin::count(ports)).collect::<Vec<_>>());
    }

    #[test]
    fn a_drop_is_counted_for_its_origin_and_reason_alone() {
        let counters = Counters::new(1);
        counters.dropped(Origin::Tun, DropReason::ALL[2]);
        assert_eq!(counters.account(Origin::Tun).drops[2].get(), 1);
        assert_eq!(counters.account(Origin::Tun).drops[1].get(), 0);
        assert_eq!(counters.account(Origin::Port(PortId(0))).drops[2].get(), 0);
    }
}
