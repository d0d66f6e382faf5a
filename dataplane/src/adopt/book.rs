//! What the control thread knows of the segment: which SA stands where, which policies ask for which way, so that a
//! change is answered by rebuilding only what depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use shm_protocol::ids::{IfId, SaUid, Slot, Spi};
use shm_protocol::policy::Policy as PolicyRecord;
use shm_protocol::sa::{Direction as SaDirection, Sa};

use super::convert;
use super::index::{Hosts, Index, Traits};
use crate::path::shared::Limit;
use crate::tables::Tables;
use crate::tables::epochs::{Epochs, Host};
use crate::tables::policy::{Action, Direction, Policy, Template};
use crate::tables::sa::{InboundSa, OutboundSa};

/// Identity of an adopted SA.
#[derive(Clone, Debug)]
pub(super) struct Adoptee {
    pub(super) slot: Slot,
    pub(super) uid: SaUid,
    /// Window it runs with; kept for its life, because a worker may be using it.
    pub(super) window_pkts: u32,
    /// Limits that were reported, one bit each.
    reported: u8,
    foreign: bool,
    spi: Spi,
    traits: Traits,
    hosts: Hosts,
}

impl Adoptee {
    fn new(sa: &Sa, window_pkts: u32) -> Self {
        let outbound = sa.direction == SaDirection::Out;
        let Sa { slot, uid, spi, if_id, src, dst, reqid, foreign, .. } = *sa;
        let traits = Traits { outbound, if_id, src, dst, reqid };
        Self { slot, uid, window_pkts, reported: 0, foreign, spi, traits, hosts: convert::hosts(sa) }
    }

    /// Returns the outer destination of an outbound SA.
    pub(super) fn way(&self) -> Option<IpAddr> {
        self.traits.outbound.then_some(self.traits.dst)
    }
}

/// A policy of the segment.
struct Entry<K> {
    if_id: IfId,
    direction: Direction,
    policy: Arc<Policy<K>>,
    /// Whether the SPD has it; one that needs its SAs found gets there with them.
    listed: bool,
}

impl<K> Entry<K> {
    fn template(&self) -> Option<&Template> {
        match &self.policy.action {
            Action::Protect(template, _) => Some(template),
            Action::Pass | Action::Discard => None,
        }
    }

    /// Which policies an SA finds it among.
    fn outbound(&self) -> (bool, IfId) {
        (self.direction == Direction::Out, self.if_id)
    }

    fn host(&self) -> Option<Host> {
        self.policy.remote(self.direction).map(Host::of)
    }
}

/// See the module's text.
pub(super) struct Book<K> {
    sas: BTreeMap<u32, Adoptee>,
    policies: BTreeMap<u32, Entry<K>>,
    index: Index,
    /// Policies whose SAs are to be found anew.
    stale: BTreeSet<u32>,
}

impl<K> Default for Book<K> {
    fn default() -> Self {
        Self {
            sas: BTreeMap::new(),
            policies: BTreeMap::new(),
            index: Index::default(),
            stale: BTreeSet::new(),
        }
    }
}

impl<K> Book<K> {
    /// Whether nothing is adopted.
    pub(super) fn is_empty(&self) -> bool {
        self.sas.is_empty() && self.policies.is_empty()
    }

    /// Returns what was adopted from a slot.
    pub(super) fn adoptee(&self, slot: Slot) -> Option<&Adoptee> {
        self.sas.get(&slot.index())
    }

    /// Returns SPI, interface id and direction of an SA that is still the one in its slot.
    pub(super) fn about(&self, slot: Slot, uid: SaUid) -> Option<(Spi, IfId, SaDirection)> {
        let sa = self.adoptee(slot).filter(|sa| sa.uid == uid)?;
        let direction = if sa.traits.outbound { SaDirection::Out } else { SaDirection::In };
        Some((sa.spi, sa.traits.if_id, direction))
    }

    /// Whether a limit of an SA is reported for the first time since the SA was put or updated.
    pub(super) fn report(&mut self, slot: u32, uid: u64, limit: Limit) -> bool {
        let Some(sa) = self.sas.get_mut(&slot).filter(|sa| sa.uid.get() == uid) else { return false };
        let bit = 1 << limit as u8;
        let first = sa.reported & bit == 0;
        sa.reported |= bit;
        first
    }

    /// Returns the interface id of a policy.
    pub(super) fn policy_if_id(&self, slot: u32) -> Option<IfId> {
        self.policies.get(&slot).map(|entry| entry.if_id)
    }

    /// Returns every adopted SA.
    pub(super) fn sas(&self) -> impl Iterator<Item = &Adoptee> {
        self.sas.values()
    }

    /// Notes an SA and that it runs with this window; returns what was noted at its slot.
    pub(super) fn put_sa(&mut self, sa: &Sa, window_pkts: u32, epochs: &mut Epochs) -> Option<Adoptee> {
        let adoptee = Adoptee::new(sa, window_pkts);
        let old = self.sas.remove(&sa.slot.index());
        if let Some(old) = &old {
            self.unlink(old, epochs);
        }
        if adoptee.traits.outbound {
            self.index.put_sa(sa.slot.index(), &adoptee.traits, &adoptee.hosts);
        }
        self.mark(&adoptee, epochs);
        self.sas.insert(sa.slot.index(), adoptee);
        old
    }

    /// Puts an inbound SA where workers look for it.
    pub(super) fn put_inbound(tables: &mut Tables<K>, sa: Arc<InboundSa<K>>, foreign: bool) {
        if foreign {
            tables.foreign.put(sa);
        } else {
            tables.inbound.set(sa.common.slot, Some(sa));
        }
    }

    /// Puts an outbound SA where hand-offs look for it.
    pub(super) fn put_outbound(tables: &mut Tables<K>, sa: Arc<OutboundSa<K>>) {
        tables.outbound.set(sa.common.slot, Some(sa));
    }

    /// Takes an SA out of the tables; returns who it was.
    pub(super) fn remove_sa(&mut self, tables: &mut Tables<K>, slot: Slot) -> Option<Adoptee> {
        let sa = self.sas.remove(&slot.index())?;
        self.unlink(&sa, &mut tables.epochs);
        let index = slot.index();
        if sa.traits.outbound {
            tables.outbound.set(index, None);
        } else if sa.foreign {
            tables.foreign.remove(esp::Spi(sa.spi.0), index);
        } else {
            tables.inbound.set(index, None);
        }
        Some(sa)
    }

    fn unlink(&mut self, sa: &Adoptee, epochs: &mut Epochs) {
        if sa.traits.outbound {
            self.index.remove_sa(sa.slot.index(), &sa.traits, &sa.hosts);
        }
        self.mark(sa, epochs);
    }

    /// An SA changed: every policy that may use it is to be built anew, and flows that both are about may end otherwise.
    fn mark(&mut self, sa: &Adoptee, epochs: &mut Epochs) {
        let stale = &mut self.stale;
        self.index.served(&sa.traits, &sa.hosts, |slot, host| {
            match host {
                Some(host) => epochs.touch(host),
                None if sa.hosts.is_empty() => epochs.touch_all(),
                None => sa.hosts.iter().for_each(|host| epochs.touch(*host)),
            }
            if sa.traits.outbound {
                stale.insert(slot);
            }
        });
    }

    /// Notes a policy, or that a slot is empty; returns whether anything is different.
    pub(super) fn put_policy(
        &mut self,
        slot: u32,
        record: Option<&PolicyRecord>,
        tables: &mut Tables<K>,
    ) -> bool {
        let new = record.and_then(|record| {
            let (if_id, direction) = (record.if_id, convert::direction(record.direction));
            let policy = Arc::new(convert::policy(slot, record)?);
            Some(Entry { if_id, direction, policy, listed: false })
        });
        match (self.policies.get(&slot), &new) {
            (None, None) => return false,
            (Some(old), Some(new)) if same(old, new) => return false,
            _ => {}
        }
        if let Some(old) = self.policies.remove(&slot) {
            self.unlink_policy(slot, &old, tables);
        }
        if let Some(new) = new {
            self.link_policy(slot, new, tables);
        }
        true
    }

    fn link_policy(&mut self, slot: u32, mut new: Entry<K>, tables: &mut Tables<K>) {
        touch(&mut tables.epochs, new.host());
        if let Some(template) = new.template() {
            self.index.put_policy(slot, new.outbound(), template, new.host());
        }
        if new.direction == Direction::Out && new.template().is_some() {
            self.stale.insert(slot);
        } else {
            new.listed = true;
            tables.spd.insert(esp::IfId(new.if_id.0), new.direction, Arc::clone(&new.policy));
        }
        self.policies.insert(slot, new);
    }

    fn unlink_policy(&mut self, slot: u32, old: &Entry<K>, tables: &mut Tables<K>) {
        touch(&mut tables.epochs, old.host());
        if let Some(template) = old.template() {
            self.index.remove_policy(slot, old.outbound(), template, old.host());
        }
        if old.listed {
            tables.spd.remove(esp::IfId(old.if_id.0), old.direction, &old.policy);
        }
    }

    /// Finds the SAs of the policies that may have others since the last call.
    pub(super) fn rebuild_policies(&mut self, tables: &mut Tables<K>) {
        for slot in std::mem::take(&mut self.stale) {
            let Some(entry) = self.policies.get_mut(&slot) else { continue };
            let Some(template) = entry.template().copied() else { continue };
            let found = self.index.serving(entry.if_id, &template, entry.host());
            let old = Arc::clone(&entry.policy);
            let sas = fitting(found, &template, &old, tables);
            entry.policy = Arc::new(Policy {
                slot,
                selector: old.selector,
                priority: old.priority,
                order: old.order,
                action: Action::Protect(template, sas.into()),
            });
            let if_id = esp::IfId(entry.if_id.0);
            if std::mem::replace(&mut entry.listed, true) {
                tables.spd.remove(if_id, entry.direction, &old);
            }
            tables.spd.insert(if_id, entry.direction, Arc::clone(&entry.policy));
        }
    }
}

/// Returns the outbound SAs that can serve a policy, newest first.
fn fitting<K>(
    found: BTreeSet<u32>,
    template: &Template,
    policy: &Policy<K>,
    tables: &Tables<K>,
) -> Vec<Arc<OutboundSa<K>>> {
    let sas = found.into_iter().filter_map(|slot| tables.outbound.get(slot));
    let fits = |sa: &&Arc<OutboundSa<K>>| template.fits(&sa.common) && sa.common.meets(&policy.selector);
    let mut fitting: Vec<_> = sas.filter(fits).cloned().collect();
    fitting.sort_by_key(|sa| std::cmp::Reverse((sa.order, sa.common.slot)));
    fitting
}

/// A policy about this host came or went.
fn touch(epochs: &mut Epochs, host: Option<Host>) {
    match host {
        Some(host) => epochs.touch(host),
        None => epochs.touch_all(),
    }
}

/// Whether two policies at one slot differ in nothing but their SAs.
fn same<K>(one: &Entry<K>, other: &Entry<K>) -> bool {
    let terms = |entry: &Entry<K>| (entry.if_id, entry.direction, entry.template().copied());
    let place = |policy: &Policy<K>| (policy.selector, policy.priority, policy.order);
    terms(one) == terms(other)
        && place(&one.policy) == place(&other.policy)
        && std::mem::discriminant(&one.policy.action) == std::mem::discriminant(&other.policy.action)
}
