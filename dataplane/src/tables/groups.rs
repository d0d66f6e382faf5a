//! Many policies of one `if_id` and direction: in groups whose selectors have the same shape, and in each group by hash.
//!
//! A shape says which bits of a packet's addresses, protocol and ports a selector fixes: for a range of addresses those
//! of the prefix around it, for protocol and ports all or none. Within a group a packet leads to one hash, and what is
//! found there is held against the whole selector. So a look-up costs work for each shape that occurs, however many
//! policies there are.

use std::sync::Arc;

use esp::Selector;
use esp::selector::{AddressRange, PortRange};
use esp::wire::{Family, FlowKey};

use super::hash::{SEEDS, bits, fold, mix};
use super::policy::Policy;
use super::trie::Trie;

/// What selectors look at, as numbers; a shape is one too, with the bits set that are fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fields {
    src: u128,
    dst: u128,
    /// Protocol, source port, destination port.
    upper: u64,
}

impl Fields {
    #[inline]
    fn of(flow: &FlowKey) -> Self {
        let upper = upper(flow.proto.get(), flow.sport, flow.dport);
        Self { src: bits(flow.src), dst: bits(flow.dst), upper }
    }

    /// Returns the first packet of a selector.
    fn first(selector: &Selector) -> Self {
        let proto = selector.proto().map_or(0, |proto| proto.get());
        let upper = upper(proto, selector.sport().lo(), selector.dport().lo());
        Self { src: bits(selector.src().lo()), dst: bits(selector.dst().lo()), upper }
    }

    /// Returns the bits that are the same in all packets of a selector.
    fn shape(selector: &Selector) -> Self {
        let proto = if selector.proto().is_some() { u8::MAX } else { 0 };
        let upper = upper(proto, fixed_port(selector.sport()), fixed_port(selector.dport()));
        Self { src: prefix(selector.src()), dst: prefix(selector.dst()), upper }
    }

    /// Returns the hash of the bits that `shape` fixes.
    #[inline]
    fn hash(&self, shape: &Self) -> u64 {
        let [one, two, three, four, five] = SEEDS;
        let src = fold(self.src & shape.src, one, two);
        let dst = fold(self.dst & shape.dst, three, four);
        mix(src ^ self.upper & shape.upper, dst ^ five)
    }
}

#[inline]
fn upper(proto: u8, sport: u16, dport: u16) -> u64 {
    u64::from(proto) | u64::from(sport) << 16 | u64::from(dport) << 32
}

fn prefix(range: AddressRange) -> u128 {
    let differing = bits(range.lo()) ^ bits(range.hi());
    u128::MAX.checked_shl(u128::BITS - differing.leading_zeros()).unwrap_or(0)
}

const fn fixed_port(range: PortRange) -> u16 {
    if range.lo() == range.hi() { u16::MAX } else { 0 }
}

/// The policies of one shape.
#[derive(Debug)]
struct Group<K> {
    shape: Fields,
    /// No policy of the group has a lower priority value.
    least_priority: u32,
    /// Those of one hash in their order.
    policies: Trie<Arc<Policy<K>>>,
}

impl<K> Clone for Group<K> {
    fn clone(&self) -> Self {
        Self { shape: self.shape, least_priority: self.least_priority, policies: self.policies.clone() }
    }
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Groups<K> {
    /// By family, sorted by their least priority value.
    v4: Vec<Group<K>>,
    v6: Vec<Group<K>>,
}

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Self { v4: Vec::new(), v6: Vec::new() }
    }
}

impl<K> Clone for Groups<K> {
    fn clone(&self) -> Self {
        Self { v4: self.v4.clone(), v6: self.v6.clone() }
    }
}

impl<K> Groups<K> {
    /// Number of policies.
    pub(super) fn len(&self) -> usize {
        self.v4.iter().chain(&self.v6).map(|group| group.policies.len()).sum()
    }

    /// Number of shapes that occur.
    #[cfg(test)]
    pub(super) fn shapes(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Returns the first policy that matches.
    #[inline]
    pub(super) fn lookup(&self, flow: &FlowKey) -> Option<&Arc<Policy<K>>> {
        let groups = match flow.family() {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        };
        let fields = Fields::of(flow);
        let mut first: Option<&Arc<Policy<K>>> = None;
        for group in groups {
            if first.is_some_and(|first| first.priority < group.least_priority) {
                break;
            }
            let mut same_hash = group.policies.get(fields.hash(&group.shape));
            if let Some(found) = same_hash.find(|policy| policy.selector.matches(flow))
                && first.is_none_or(|first| found.compare(first).is_lt())
            {
                first = Some(found);
            }
        }
        first
    }

    fn family_mut(&mut self, family: Family) -> &mut Vec<Group<K>> {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    /// Adds a policy.
    pub(super) fn insert(&mut self, policy: Arc<Policy<K>>) {
        let selector = policy.selector.selector();
        let shape = Fields::shape(&selector);
        let groups = self.family_mut(policy.family());
        let at = groups.iter().position(|group| group.shape == shape);
        let mut group = at.map_or_else(
            || Group { shape, least_priority: policy.priority, policies: Trie::default() },
            |at| groups.remove(at),
        );
        group.least_priority = group.least_priority.min(policy.priority);
        let hash = Fields::first(&selector).hash(&shape);
        group.policies.insert(hash, Arc::clone(&policy), |other| other.compare(&policy).is_gt());
        let at = groups.partition_point(|other| other.least_priority <= group.least_priority);
        groups.insert(at, group);
    }

    /// Takes a policy out, told by its slot.
    pub(super) fn remove(&mut self, policy: &Policy<K>) -> Option<Arc<Policy<K>>> {
        let selector = policy.selector.selector();
        let shape = Fields::shape(&selector);
        let groups = self.family_mut(policy.family());
        let at = groups.iter().position(|group| group.shape == shape)?;
        let group = groups.get_mut(at)?;
        let hash = Fields::first(&selector).hash(&shape);
        let removed = group.policies.remove(hash, |other| other.slot == policy.slot);
        if group.policies.is_empty() {
            groups.remove(at);
        }
        removed
    }

    /// Walks over all policies.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Policy<K>>> {
        self.v4.iter().chain(&self.v6).flat_map(|group| group.policies.iter())
    }
}
