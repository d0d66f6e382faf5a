//! What the control thread knows of the segment: which SA stands where, which policies ask for which way, so that a
//! change is answered by rebuilding only what depends on it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use shm_protocol::ids::{IfId, SaUid, Slot, Spi};
use shm_protocol::policy::{Action as RecordAction, Policy as PolicyRecord};
use shm_protocol::sa::{Direction as SaDirection, Sa};

use super::convert;
use crate::path::shared::Limit;
use crate::tables::Tables;
use crate::tables::sa::{InboundSa, OutboundSa};
use crate::tables::spd::{Action, Direction, Policy, Template};

/// Identity of an adopted SA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adoptee {
    pub(super) slot: Slot,
    pub(super) uid: SaUid,
    pub(super) if_id: IfId,
    /// Window it runs with; kept for its life, because a worker may be using it.
    pub(super) window_pkts: u32,
    /// Limits that were reported, one bit each.
    reported: u8,
    spi: Spi,
    direction: SaDirection,
    way: Way,
}

/// Outer source and destination of one tunnel's packets.
type Way = (IfId, IpAddr, IpAddr);
type SetKey = (IfId, Direction);

/// See the module's text.
pub(super) struct Book<K> {
    sas: HashMap<u32, Adoptee>,
    outbound_by_way: HashMap<Way, BTreeSet<u32>>,
    policies: HashMap<u32, PolicyRecord>,
    built: HashMap<u32, Arc<Policy<K>>>,
    sets: HashMap<SetKey, BTreeSet<u32>>,
    /// Outbound policies by the way their template names.
    by_way: HashMap<Way, BTreeSet<u32>>,
    /// Outbound policies whose template leaves an end of the way open.
    open_ended: HashMap<IfId, BTreeSet<u32>>,
    stale_policies: HashSet<u32>,
    stale_sets: HashSet<SetKey>,
}

impl<K> Default for Book<K> {
    fn default() -> Self {
        Self {
            sas: HashMap::new(),
            outbound_by_way: HashMap::new(),
            policies: HashMap::new(),
            built: HashMap::new(),
            sets: HashMap::new(),
            by_way: HashMap::new(),
            open_ended: HashMap::new(),
            stale_policies: HashSet::new(),
            stale_sets: HashSet::new(),
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
        Some((sa.spi, sa.if_id, sa.direction))
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
        self.policies.get(&slot).map(|policy| policy.if_id)
    }

    /// Takes every adopted SA out.
    pub(super) fn take_sas(&mut self) -> Vec<Adoptee> {
        self.sas.drain().map(|(_, sa)| sa).collect()
    }

    /// Notes an SA and that it runs with this window.
    pub(super) fn put_sa(&mut self, sa: &Sa, window_pkts: u32) {
        let way = (sa.if_id, sa.src, sa.dst);
        let (slot, uid, if_id, spi, direction) = (sa.slot, sa.uid, sa.if_id, sa.spi, sa.direction);
        let adoptee = Adoptee { slot, uid, if_id, window_pkts, reported: 0, spi, direction, way };
        if let Some(old) = self.sas.insert(slot.index(), adoptee) {
            self.unlink(&old);
        }
        if direction == SaDirection::Out {
            self.outbound_by_way.entry(way).or_default().insert(slot.index());
            self.mark_way(way);
        }
    }

    /// Puts an inbound SA where workers look for it.
    pub(super) fn put_inbound(tables: &mut Tables<K>, sa: Arc<InboundSa<K>>, foreign: bool) {
        let (slot, spi) = (sa.common.slot, sa.common.spi);
        if foreign {
            let of_spi = Arc::make_mut(&mut tables.foreign).entry(spi).or_default();
            of_spi.retain(|other| other.common.slot != slot);
            of_spi.push(sa);
        } else {
            tables.inbound.set(slot, Some(sa));
        }
    }

    /// Puts an outbound SA where hand-offs look for it.
    pub(super) fn put_outbound(tables: &mut Tables<K>, sa: Arc<OutboundSa<K>>) {
        tables.outbound.set(sa.common.slot, Some(sa));
    }

    /// Takes an SA out of the tables; returns who it was.
    pub(super) fn remove_sa(&mut self, tables: &mut Tables<K>, slot: Slot) -> Option<Adoptee> {
        let sa = self.sas.remove(&slot.index())?;
        self.unlink(&sa);
        let index = slot.index();
        match sa.direction {
            SaDirection::Out => {
                tables.outbound.set(index, None);
            }
            SaDirection::In => {
                if tables.inbound.set(index, None).is_none() {
                    let foreign = Arc::make_mut(&mut tables.foreign);
                    foreign.retain(|_, of_spi| {
                        of_spi.retain(|other| other.common.slot != index);
                        !of_spi.is_empty()
                    });
                }
            }
        }
        Some(sa)
    }

    fn unlink(&mut self, sa: &Adoptee) {
        if sa.direction == SaDirection::Out {
            if let Some(slots) = self.outbound_by_way.get_mut(&sa.way) {
                slots.remove(&sa.slot.index());
                if slots.is_empty() {
                    self.outbound_by_way.remove(&sa.way);
                }
            }
            self.mark_way(sa.way);
        }
    }

    /// The SAs of a way changed: every policy that may use them is to be built anew.
    fn mark_way(&mut self, way: Way) {
        let named = self.by_way.get(&way).into_iter().flatten();
        let open = self.open_ended.get(&way.0).into_iter().flatten();
        self.stale_policies.extend(named.chain(open));
    }

    /// Notes a policy, or that a slot is empty; returns whether anything is different.
    pub(super) fn put_policy(&mut self, slot: u32, policy: Option<PolicyRecord>) -> bool {
        if self.policies.get(&slot) == policy.as_ref() {
            return false;
        }
        if let Some(old) = self.policies.remove(&slot) {
            self.unlink_policy(slot, &old);
        }
        if let Some(new) = policy {
            let key = (new.if_id, convert::direction(new.direction));
            self.sets.entry(key).or_default().insert(slot);
            if let Some(way) = way_of(&new) {
                let open = way.1.is_unspecified() || way.2.is_unspecified();
                let index = if open {
                    self.open_ended.entry(way.0).or_default()
                } else {
                    self.by_way.entry(way).or_default()
                };
                index.insert(slot);
            }
            self.policies.insert(slot, new);
        }
        self.stale_policies.insert(slot);
        true
    }

    fn unlink_policy(&mut self, slot: u32, old: &PolicyRecord) {
        let key = (old.if_id, convert::direction(old.direction));
        self.stale_sets.insert(key);
        if let Some(set) = self.sets.get_mut(&key) {
            set.remove(&slot);
        }
        if let Some(way) = way_of(old) {
            for index in [self.by_way.get_mut(&way), self.open_ended.get_mut(&way.0)].into_iter().flatten() {
                index.remove(&slot);
            }
        }
        self.built.remove(&slot);
    }

    /// Builds what depends on the changes since the last call.
    pub(super) fn rebuild_policies(&mut self, tables: &mut Tables<K>) {
        for slot in std::mem::take(&mut self.stale_policies) {
            let Some(record) = self.policies.get(&slot) else { continue };
            let Some(built) = self.build_policy(slot, record, tables) else { continue };
            self.stale_sets.insert((record.if_id, convert::direction(record.direction)));
            self.built.insert(slot, Arc::new(built));
        }
        for key in std::mem::take(&mut self.stale_sets) {
            let slots = self.sets.get(&key).into_iter().flatten();
            let policies = slots.filter_map(|slot| self.built.get(slot).cloned()).collect();
            tables.spd.set(esp::IfId(key.0.0), key.1, policies);
        }
    }

    fn build_policy(&self, slot: u32, record: &PolicyRecord, tables: &Tables<K>) -> Option<Policy<K>> {
        let action = match record.action {
            RecordAction::Pass => Action::Pass,
            RecordAction::Discard => Action::Discard,
            RecordAction::Protect(template) => {
                let template = Template {
                    src: template.src,
                    dst: template.dst,
                    reqid: template.reqid,
                    spi: template.spi.map(|spi| esp::Spi(spi.0)),
                };
                let sas = match convert::direction(record.direction) {
                    Direction::Out => self.fitting(record.if_id, &template, tables),
                    Direction::In | Direction::Fwd => Vec::new(),
                };
                Action::Protect(template, sas)
            }
        };
        Some(Policy {
            slot,
            selector: convert::selector(&record.selector)?,
            priority: record.priority,
            order: record.order,
            action,
        })
    }

    /// Returns the outbound SAs a template can be served by, newest first.
    fn fitting(&self, if_id: IfId, template: &Template, tables: &Tables<K>) -> Vec<Arc<OutboundSa<K>>> {
        let slots: Vec<u32> = if template.src.is_unspecified() || template.dst.is_unspecified() {
            let of_id = self.outbound_by_way.iter().filter(|(way, _)| way.0 == if_id);
            of_id.flat_map(|(_, slots)| slots).copied().collect()
        } else {
            let way = (if_id, template.src, template.dst);
            self.outbound_by_way.get(&way).into_iter().flatten().copied().collect()
        };
        let sas = slots.into_iter().filter_map(|slot| tables.outbound.get(slot));
        let mut fitting: Vec<_> = sas.filter(|sa| template.fits(&sa.common)).cloned().collect();
        fitting.sort_by_key(|sa| std::cmp::Reverse((sa.order, sa.common.slot)));
        fitting
    }
}

/// Returns the way an outbound policy's template names.
fn way_of(policy: &PolicyRecord) -> Option<Way> {
    match (convert::direction(policy.direction), policy.action) {
        (Direction::Out, RecordAction::Protect(template)) => Some((policy.if_id, template.src, template.dst)),
        _ => None,
    }
}
