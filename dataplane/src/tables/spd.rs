//! The SPD: policies by `if_id` and direction, in their total order (RFC 4301 section 4.4.1).
//!
//! A look-up finds the policies of an `if_id` by hash, and among them the first that matches: a single one directly, a
//! few one after the other, many by [groups](super::groups). A copy shares everything and a change copies one path, so
//! that neither costs more the more policies there are.

use std::sync::Arc;

use arrayvec::ArrayVec;
use esp::IfId;
use esp::wire::FlowKey;

use super::groups::Groups;
use super::hash::spread;
use super::trie::Trie;

pub use super::policy::{Action, Direction, Policy, Serving, Template};

/// Policies up to which looking at each is quicker than a hash for each shape.
const FEW: usize = 8;
/// Policies below which many become few again; apart from [`FEW`], lest one that comes and goes costs eight.
const FEW_AGAIN: usize = 4;
/// Other tunnels that are asked whether they expect a packet that nobody does.
const ASKED: usize = 64;

/// The policies of one `if_id` and direction.
#[derive(Debug)]
enum Set<K> {
    None,
    One(Arc<Policy<K>>),
    /// First match first.
    Few(Arc<ArrayVec<Arc<Policy<K>>, FEW>>),
    Many(Arc<Groups<K>>),
}

impl<K> Clone for Set<K> {
    fn clone(&self) -> Self {
        match self {
            Self::None => Self::None,
            Self::One(policy) => Self::One(Arc::clone(policy)),
            Self::Few(policies) => Self::Few(Arc::clone(policies)),
            Self::Many(groups) => Self::Many(Arc::clone(groups)),
        }
    }
}

impl<K> Set<K> {
    #[inline]
    fn lookup(&self, flow: &FlowKey) -> Option<&Arc<Policy<K>>> {
        match self {
            Self::None => None,
            Self::One(policy) => policy.selector.matches(flow).then_some(policy),
            Self::Few(policies) => policies.iter().find(|policy| policy.selector.matches(flow)),
            Self::Many(groups) => groups.lookup(flow),
        }
    }

    fn insert(&mut self, policy: Arc<Policy<K>>) {
        match self {
            Self::None => *self = Self::One(policy),
            Self::One(other) => *self = Self::of([Arc::clone(other), policy]),
            Self::Few(few) if few.is_full() => *self = Self::of(few.iter().cloned().chain([policy])),
            Self::Few(few) => {
                let at = few.partition_point(|other| other.compare(&policy).is_lt());
                Arc::make_mut(few).insert(at, policy);
            }
            Self::Many(groups) => Arc::make_mut(groups).insert(policy),
        }
    }

    fn of(policies: impl IntoIterator<Item = Arc<Policy<K>>>) -> Self {
        let mut sorted: Vec<_> = policies.into_iter().collect();
        sorted.sort_by(|one, other| one.compare(other));
        if sorted.len() > FEW {
            let mut groups = Groups::default();
            sorted.into_iter().for_each(|policy| groups.insert(policy));
            return Self::Many(Arc::new(groups));
        }
        match (sorted.pop(), sorted.is_empty()) {
            (None, _) => Self::None,
            (Some(one), true) => Self::One(one),
            (last, false) => Self::Few(Arc::new(sorted.into_iter().chain(last).collect())),
        }
    }

    /// Takes a policy out, told by its slot; returns whether it was there.
    fn remove(&mut self, policy: &Policy<K>) -> bool {
        let before = self.len();
        match self {
            Self::None => {}
            Self::One(other) if other.slot == policy.slot => *self = Self::None,
            Self::One(_) => {}
            Self::Few(few) => {
                let left = few.iter().filter(|other| other.slot != policy.slot).cloned();
                *self = Self::of(left.collect::<Vec<_>>());
            }
            Self::Many(groups) => {
                let groups = Arc::make_mut(groups);
                groups.remove(policy);
                if groups.len() <= FEW_AGAIN {
                    *self = Self::of(groups.iter().cloned().collect::<Vec<_>>());
                }
            }
        }
        self.len() < before
    }

    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Few(few) => few.len(),
            Self::Many(groups) => groups.len(),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Policy<K>>> {
        let (few, many) = match self {
            Self::None => (&[][..], None),
            Self::One(policy) => (std::slice::from_ref(policy), None),
            Self::Few(few) => (few.as_slice(), None),
            Self::Many(groups) => (&[][..], Some(groups)),
        };
        few.iter().chain(many.into_iter().flat_map(|groups| groups.iter()))
    }
}

/// The policies of one `if_id`, by direction.
#[derive(Debug)]
struct Sets<K> {
    if_id: IfId,
    inward: Set<K>,
    out: Set<K>,
    fwd: Set<K>,
}

impl<K> Clone for Sets<K> {
    fn clone(&self) -> Self {
        let Self { if_id, inward, out, fwd } = self;
        Self { if_id: *if_id, inward: inward.clone(), out: out.clone(), fwd: fwd.clone() }
    }
}

impl<K> Sets<K> {
    const fn new(if_id: IfId) -> Self {
        Self { if_id, inward: Set::None, out: Set::None, fwd: Set::None }
    }

    #[inline]
    const fn of(&self, direction: Direction) -> &Set<K> {
        match direction {
            Direction::In => &self.inward,
            Direction::Out => &self.out,
            Direction::Fwd => &self.fwd,
        }
    }

    const fn of_mut(&mut self, direction: Direction) -> &mut Set<K> {
        match direction {
            Direction::In => &mut self.inward,
            Direction::Out => &mut self.out,
            Direction::Fwd => &mut self.fwd,
        }
    }

    fn is_empty(&self) -> bool {
        Direction::ALL.into_iter().all(|direction| matches!(self.of(direction), Set::None))
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Spd<K> {
    /// Those of `if_id` 0, which every clear packet is held against.
    policy_based: Sets<K>,
    /// Those of the interfaces.
    by_if_id: Trie<Sets<K>>,
    len: usize,
}

impl<K> Default for Spd<K> {
    fn default() -> Self {
        Self { policy_based: Sets::new(IfId::POLICY_BASED), by_if_id: Trie::default(), len: 0 }
    }
}

impl<K> Clone for Spd<K> {
    fn clone(&self) -> Self {
        Self { policy_based: self.policy_based.clone(), by_if_id: self.by_if_id.clone(), len: self.len }
    }
}

impl<K> Spd<K> {
    /// Adds a policy; its slot is in use by no other.
    pub fn insert(&mut self, if_id: IfId, direction: Direction, policy: Arc<Policy<K>>) {
        self.len += 1;
        if if_id.is_policy_based() {
            return self.policy_based.of_mut(direction).insert(policy);
        }
        let hash = spread(if_id.0);
        let is = |sets: &Sets<K>| sets.if_id == if_id;
        if !self.by_if_id.get(hash).any(is) {
            self.by_if_id.insert(hash, Sets::new(if_id), |_| false);
        }
        self.by_if_id.change(hash, is, |sets| sets.of_mut(direction).insert(policy));
    }

    /// Takes a policy out, told by its slot and selector.
    pub fn remove(&mut self, if_id: IfId, direction: Direction, policy: &Policy<K>) {
        let mut removed = false;
        if if_id.is_policy_based() {
            removed = self.policy_based.of_mut(direction).remove(policy);
        } else {
            let hash = spread(if_id.0);
            let is = |sets: &Sets<K>| sets.if_id == if_id;
            let mut empty = false;
            self.by_if_id.change(hash, is, |sets| {
                removed = sets.of_mut(direction).remove(policy);
                empty = sets.is_empty();
            });
            if empty {
                self.by_if_id.remove(hash, is);
            }
        }
        self.len -= usize::from(removed);
    }

    #[inline]
    fn sets(&self, if_id: IfId) -> Option<&Sets<K>> {
        if if_id.is_policy_based() {
            return Some(&self.policy_based);
        }
        self.by_if_id.get(spread(if_id.0)).find(|sets| sets.if_id == if_id)
    }

    /// Returns the first policy that matches.
    #[must_use]
    #[inline]
    pub fn lookup(&self, if_id: IfId, direction: Direction, flow: &FlowKey) -> Option<&Arc<Policy<K>>> {
        self.sets(if_id)?.of(direction).lookup(flow)
    }

    /// Whether another `if_id` than the one given has a policy that matches; of a great many only some are asked, since
    /// whoever sends what nobody expects decides how often.
    #[must_use]
    pub fn expects_elsewhere(&self, if_id: IfId, direction: Direction, flow: &FlowKey) -> bool {
        let others = std::iter::once(&self.policy_based).chain(self.by_if_id.iter()).take(ASKED);
        let mut others = others.filter(|sets| sets.if_id != if_id);
        others.any(|sets| sets.of(direction).lookup(flow).is_some())
    }

    /// Number of policies.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no policy.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Walks over all policies.
    pub fn iter(&self) -> impl Iterator<Item = (IfId, Direction, &Arc<Policy<K>>)> {
        std::iter::once(&self.policy_based).chain(self.by_if_id.iter()).flat_map(|sets| {
            Direction::ALL.into_iter().flat_map(move |direction| {
                sets.of(direction).iter().map(move |policy| (sets.if_id, direction, policy))
            })
        })
    }
}

#[cfg(test)]
#[path = "spd_tests.rs"]
mod tests;
