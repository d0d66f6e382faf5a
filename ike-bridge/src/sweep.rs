//! What an IKE daemon leaves behind when it dies: once a new process of it says hello, an old SA goes when
//! a new
//! one fits its place, or after the grace time without an authenticated inbound packet, at the latest after
//! twice the grace time. A new connection of the same process sweeps nothing.

use std::collections::{HashMap, HashSet};

use shm_protocol::ids::{Owner, Slot};
use shm_protocol::sa::Sa;

/// Which owners are gone since when.
#[derive(Debug)]
pub struct Sweep {
    grace_ns: u64,
    gone: HashMap<Owner, u64>,
    superseded: HashMap<Slot, u64>,
}

impl Sweep {
    /// Returns a sweep with this grace time.
    pub fn new(grace_ns: u64) -> Self {
        Self { grace_ns, gone: HashMap::new(), superseded: HashMap::new() }
    }

    /// Notes that `owner`'s process is gone and another has taken its place.
    pub fn note_gone(&mut self, owner: Owner, now_ns: u64) {
        self.gone.entry(owner).or_insert(now_ns);
    }

    /// Returns true when the owner's process is gone.
    pub fn is_gone(&self, owner: Owner) -> bool {
        self.gone.contains_key(&owner)
    }

    /// Returns the owners that are gone.
    pub fn gone(&self) -> HashSet<Owner> {
        self.gone.keys().copied().collect()
    }

    /// Notes that a new SA has taken an old one's place; packets under way still find it for some seconds.
    pub fn supersede(&mut self, old: Slot, now_ns: u64) {
        self.superseded.entry(old).or_insert(now_ns.saturating_add(OVERLAP_NS));
    }

    /// Returns true when an SA that a gone owner left is to be removed; `last_inbound_ns` is when its tunnel
    /// last had an authenticated packet, 0 for never.
    pub fn is_due(&self, sa: &Sa, last_inbound_ns: u64, now_ns: u64) -> bool {
        let Some(&since_ns) = self.gone.get(&sa.owner) else { return false };
        let superseded = self.superseded.get(&sa.slot).is_some_and(|&at_ns| at_ns <= now_ns);
        superseded
            || now_ns.saturating_sub(since_ns.max(last_inbound_ns)) >= self.grace_ns
            || now_ns.saturating_sub(since_ns) >= self.grace_ns.saturating_mul(2)
    }

    /// Returns true when a policy that a gone owner left is to be removed: after the grace time once no SA of
    /// it is left, so that nothing leaks in clear while the new process sets up its own.
    pub fn is_policy_due(&self, owner: Owner, has_sa: bool, now_ns: u64) -> bool {
        self.gone.get(&owner).is_some_and(|&since_ns| {
            let age_ns = now_ns.saturating_sub(since_ns);
            (!has_sa && age_ns >= self.grace_ns) || age_ns >= self.grace_ns.saturating_mul(2)
        })
    }

    /// Forgets an SA that was removed.
    pub fn removed(&mut self, slot: Slot) {
        self.superseded.remove(&slot);
    }

    /// Forgets owners that left nothing behind any more.
    pub fn retain(&mut self, has_left: impl Fn(Owner) -> bool) {
        self.gone.retain(|&owner, _| has_left(owner));
    }

    /// Returns true when nothing is to be swept.
    pub fn is_idle(&self) -> bool {
        self.gone.is_empty()
    }
}

const OVERLAP_NS: u64 = 5_000_000_000;

#[cfg(test)]
mod tests {
    use shm_protocol::sa::Direction;

    use super::*;
    use crate::testing::sa;

    const S: u64 = 1_000_000_000;

    #[test]
    fn nothing_of_a_living_owner_is_swept() {
        let sweep = Sweep::new(300 * S);
        assert!(!sweep.is_due(&sa(Direction::In, 1), 0, u64::MAX));
    }

    #[test]
    fn an_old_sa_goes_after_the_grace_time_without_a_packet() {
        let mut sweep = Sweep::new(300 * S);
        let sa = sa(Direction::In, 1);
        sweep.note_gone(sa.owner, 1000 * S);
        assert!(!sweep.is_due(&sa, 0, 1299 * S));
        assert!(sweep.is_due(&sa, 0, 1300 * S));
        assert!(!sweep.is_due(&sa, 1200 * S, 1499 * S));
        assert!(sweep.is_due(&sa, 1200 * S, 1500 * S));
    }

    #[test]
    fn traffic_keeps_an_old_sa_for_twice_the_grace_time_at_most() {
        let mut sweep = Sweep::new(300 * S);
        let sa = sa(Direction::In, 1);
        sweep.note_gone(sa.owner, 1000 * S);
        assert!(!sweep.is_due(&sa, 1598 * S, 1599 * S));
        assert!(sweep.is_due(&sa, 1599 * S, 1600 * S));
    }

    #[test]
    fn an_old_sa_whose_place_is_taken_goes_at_once_but_for_packets_under_way() {
        let mut sweep = Sweep::new(300 * S);
        let sa = sa(Direction::In, 1);
        sweep.note_gone(sa.owner, 1000 * S);
        sweep.supersede(sa.slot, 1001 * S);
        assert!(!sweep.is_due(&sa, 1001 * S, 1005 * S));
        assert!(sweep.is_due(&sa, 1001 * S, 1006 * S));
    }

    #[test]
    fn a_second_hello_does_not_prolong_the_grace_time() {
        let mut sweep = Sweep::new(300 * S);
        let sa = sa(Direction::In, 1);
        sweep.note_gone(sa.owner, 1000 * S);
        sweep.note_gone(sa.owner, 1200 * S);
        assert!(sweep.is_due(&sa, 0, 1300 * S));
    }

    #[test]
    fn a_policy_stays_while_it_has_an_sa_and_through_the_grace_time() {
        let mut sweep = Sweep::new(300 * S);
        sweep.note_gone(Owner(5), 1000 * S);
        assert!(!sweep.is_policy_due(Owner(5), false, 1299 * S));
        assert!(sweep.is_policy_due(Owner(5), false, 1300 * S));
        assert!(!sweep.is_policy_due(Owner(5), true, 1599 * S));
        assert!(sweep.is_policy_due(Owner(5), true, 1600 * S));
    }
}
