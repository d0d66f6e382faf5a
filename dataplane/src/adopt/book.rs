//! What the control thread knows of the segment beyond the tables: which policies an SA serves, which limits were
//! reported, so that a change is answered by rebuilding only what depends on it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use esp::selector::AddressRange;
use esp::{IfId, Selector};
use shm_protocol::policy::Policy as PolicyRecord;
use shm_protocol::sa::Direction as SaDirection;

use super::convert;
use super::index::{Asking, Hosts, Index, Traits};
use super::sparse::Sparse;
use crate::path::shared::Limit;
use crate::tables::Tables;
use crate::tables::epochs::{Epochs, Host};
use crate::tables::policy::{Action, Direction, Policy, Template};
use crate::tables::sa::{Common, OutboundSa};

/// A policy of the segment.
struct Entry<K> {
    if_id: IfId,
    direction: Direction,
    policy: Arc<Policy<K>>,
    /// Whether the SPD has it; one that needs its SAs found gets there with them.
    listed: bool,
}

impl<K> Entry<K> {
    fn template(&self) -> Option<Template> {
        match &self.policy.action {
            Action::Protect(wanted, _) => Some(wanted.template()),
            Action::Pass | Action::Discard => None,
        }
    }

    /// Returns what an SA finds it by, if it asks for one.
    fn asking(&self) -> Option<Asking> {
        let outbound = self.direction == Direction::Out;
        let (slot, if_id, host) = (self.policy.slot, self.if_id, self.host());
        self.template().map(|template| Asking { slot, outbound, if_id, template, host })
    }

    fn host(&self) -> Option<Host> {
        self.policy.remote(self.direction).map(Host::of)
    }
}

/// See the module's text.
pub(super) struct Book<K> {
    policies: Sparse<Entry<K>>,
    index: Index,
    /// Policies whose SAs are to be found anew.
    stale: BTreeSet<u32>,
    /// By slot, limits of the SA there that were reported, one bit each.
    reported: BTreeMap<u32, u8>,
}

impl<K> Default for Book<K> {
    fn default() -> Self {
        Self {
            policies: Sparse::default(),
            index: Index::default(),
            stale: BTreeSet::new(),
            reported: BTreeMap::new(),
        }
    }
}

impl<K> Book<K> {
    /// Whether a limit of the SA in a slot is reported for the first time since the SA was put or updated.
    pub(super) fn report(&mut self, slot: u32, limit: Limit) -> bool {
        let bit = 1 << limit as u8;
        let reported = self.reported.entry(slot).or_default();
        let first = *reported & bit == 0;
        *reported |= bit;
        first
    }

    /// Returns the interface id of a policy.
    pub(super) fn policy_if_id(&self, slot: u32) -> Option<IfId> {
        self.policies.get(slot).map(|entry| entry.if_id)
    }

    /// Notes an SA that is put into the tables.
    pub(super) fn link_sa(&mut self, direction: SaDirection, sa: &Common, epochs: &mut Epochs) {
        let (traits, hosts) = (traits(direction, sa), hosts(direction, sa));
        if traits.outbound {
            self.index.put_sa(sa.slot, &traits, &hosts);
        }
        self.mark(&traits, &hosts, epochs);
    }

    /// Forgets an SA that is taken out of the tables.
    pub(super) fn unlink_sa(&mut self, direction: SaDirection, sa: &Common, epochs: &mut Epochs) {
        let (traits, hosts) = (traits(direction, sa), hosts(direction, sa));
        if traits.outbound {
            self.index.remove_sa(sa.slot, &traits, &hosts);
        }
        self.mark(&traits, &hosts, epochs);
        self.reported.remove(&sa.slot);
    }

    /// An SA changed: every policy that may use it is to be built anew, and flows that both are about may end otherwise.
    fn mark(&mut self, traits: &Traits, hosts: &Hosts, epochs: &mut Epochs) {
        let stale = &mut self.stale;
        self.index.served(traits, hosts, |slot, host| {
            match host {
                Some(host) => epochs.touch(host),
                None if hosts.is_empty() => epochs.touch_all(),
                None => hosts.iter().for_each(|host| epochs.touch(*host)),
            }
            if traits.outbound {
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
            let (if_id, direction) = (IfId(record.if_id.0), convert::direction(record.direction));
            let policy = Arc::new(convert::policy(slot, record)?);
            Some(Entry { if_id, direction, policy, listed: false })
        });
        match (self.policies.get(slot), &new) {
            (None, None) => return false,
            (Some(old), Some(new)) if same(old, new) => return false,
            _ => {}
        }
        if let Some(old) = self.policies.remove(slot) {
            self.unlink_policy(&old, tables);
        }
        if let Some(new) = new {
            self.link_policy(slot, new, tables);
        }
        true
    }

    fn link_policy(&mut self, slot: u32, mut new: Entry<K>, tables: &mut Tables<K>) {
        touch(&mut tables.epochs, new.host());
        if let Some(asking) = new.asking() {
            self.index.put_policy(&asking);
        }
        if new.asking().is_some_and(|asking| asking.outbound) {
            self.stale.insert(slot);
        } else {
            new.listed = true;
            tables.spd.insert(new.if_id, new.direction, Arc::clone(&new.policy));
        }
        self.policies.insert(slot, new);
    }

    fn unlink_policy(&mut self, old: &Entry<K>, tables: &mut Tables<K>) {
        touch(&mut tables.epochs, old.host());
        if let Some(asking) = old.asking() {
            self.index.remove_policy(&asking);
        }
        if old.listed {
            tables.spd.remove(old.if_id, old.direction, &old.policy);
        }
    }

    /// Finds the SAs of the policies that may have others since the last call.
    pub(super) fn rebuild_policies(&mut self, tables: &mut Tables<K>) {
        for slot in std::mem::take(&mut self.stale) {
            let Some(entry) = self.policies.get_mut(slot) else { continue };
            let Some(asking) = entry.asking() else { continue };
            let sas = fitting(self.index.serving(&asking), &asking.template, &entry.policy, tables);
            let action = Action::Protect(asking.template.into(), sas.into());
            if let Some(own) = Arc::get_mut(&mut entry.policy) {
                own.action = action;
            } else {
                let Policy { ref selector, priority, order, .. } = *entry.policy;
                let selector = selector.clone();
                let new = Arc::new(Policy { slot, selector, priority, order, action });
                let old = std::mem::replace(&mut entry.policy, new);
                tables.spd.remove(entry.if_id, entry.direction, &old);
            }
            entry.listed = true;
            tables.spd.insert(entry.if_id, entry.direction, Arc::clone(&entry.policy));
        }
    }
}

/// Returns the outbound SAs that can serve a policy, newest first.
fn fitting<K>(
    found: Vec<u32>,
    template: &Template,
    policy: &Policy<K>,
    tables: &Tables<K>,
) -> Vec<Arc<OutboundSa<K>>> {
    let sas = found.into_iter().filter_map(|slot| tables.outbound.get(slot));
    let selector = policy.selector.selector();
    let fits = |sa: &&Arc<OutboundSa<K>>| template.fits(&sa.common) && sa.common.meets(&selector);
    let mut fitting: Vec<_> = sas.filter(fits).cloned().collect();
    fitting.sort_by_key(|sa| std::cmp::Reverse((sa.order, sa.common.slot)));
    fitting
}

/// Returns what templates may ask of an SA.
fn traits(direction: SaDirection, sa: &Common) -> Traits {
    let Common { if_id, src, dst, reqid, .. } = *sa;
    Traits { outbound: direction == SaDirection::Out, if_id, src, dst, reqid }
}

/// Returns the remote hosts an SA is about; none where it may carry packets of others as well.
fn hosts(direction: SaDirection, sa: &Common) -> Hosts {
    let remote = |selector: &Selector| match direction {
        SaDirection::Out => single(selector.dst()),
        SaDirection::In => single(selector.src()),
    };
    let hosts: Option<BTreeSet<Host>> = sa.selectors.iter().map(remote).collect();
    hosts.unwrap_or_default().into_iter().collect()
}

fn single(range: AddressRange) -> Option<Host> {
    (range.lo() == range.hi()).then(|| Host::of(range.lo()))
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
    let terms = |entry: &Entry<K>| (entry.if_id, entry.direction, entry.template());
    let place = |policy: &Policy<K>| (policy.selector.selector(), policy.priority, policy.order);
    terms(one) == terms(other)
        && place(&one.policy) == place(&other.policy)
        && std::mem::discriminant(&one.policy.action) == std::mem::discriminant(&other.policy.action)
}
