//! The SPD: policies by `if_id` and direction, in their total order (RFC 4301 section 4.4.1).

use std::net::IpAddr;
use std::sync::Arc;

use esp::wire::FlowKey;
use esp::{IfId, Selector, Spi};

use super::sa::{Common, InboundSa, OutboundSa};

/// Direction of a policy, as XFRM names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// For the host itself.
    In,
    /// Leaving.
    Out,
    /// Forwarded.
    Fwd,
}

impl Direction {
    /// Every direction.
    pub const ALL: [Self; 3] = [Self::In, Self::Out, Self::Fwd];
}

/// What a policy's packets must be protected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Outer source; unspecified fits any.
    pub src: IpAddr,
    /// Outer destination; unspecified fits any.
    pub dst: IpAddr,
    /// Request id; 0 fits any.
    pub reqid: u32,
    /// One SA only, by its SPI.
    pub spi: Option<Spi>,
}

impl Template {
    /// Whether an SA is what the template asks for.
    #[must_use]
    #[inline]
    pub fn fits(&self, sa: &Common) -> bool {
        let address = |wanted: IpAddr, has: IpAddr| wanted.is_unspecified() || wanted == has;
        (self.reqid == 0 || self.reqid == sa.reqid)
            && self.spi.is_none_or(|spi| spi == sa.spi)
            && address(self.src, sa.src)
            && address(self.dst, sa.dst)
    }
}

/// What happens to the packets of a policy.
#[derive(Debug)]
pub enum Action<K> {
    /// They are protected by an SA that fits the template; for direction out the SAs that do, newest first.
    Protect(Template, Vec<Arc<OutboundSa<K>>>),
    /// They pass in clear.
    Pass,
    /// They are dropped.
    Discard,
}

/// One policy.
#[derive(Debug)]
pub struct Policy<K> {
    /// Slot in the segment.
    pub slot: u32,
    /// Which packets it is about, in the direction they flow.
    pub selector: Selector,
    /// Lower comes first.
    pub priority: u32,
    /// Position in time; among equals the older policy comes first.
    pub order: u64,
    /// What happens to them.
    pub action: Action<K>,
}

/// The policies of one `if_id` and direction, first match first.
type Ordered<K> = Arc<[Arc<Policy<K>>]>;

/// The policies of one `if_id`, by direction.
#[derive(Debug)]
struct Sets<K>([Ordered<K>; Direction::ALL.len()]);

impl<K> Default for Sets<K> {
    fn default() -> Self {
        Self(Direction::ALL.map(|_| Ordered::<K>::from([])))
    }
}

impl<K> Clone for Sets<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Sets<K> {
    #[inline]
    const fn of(&self, direction: Direction) -> &Ordered<K> {
        let [inward, out, fwd] = &self.0;
        match direction {
            Direction::In => inward,
            Direction::Out => out,
            Direction::Fwd => fwd,
        }
    }

    const fn of_mut(&mut self, direction: Direction) -> &mut Ordered<K> {
        let [inward, out, fwd] = &mut self.0;
        match direction {
            Direction::In => inward,
            Direction::Out => out,
            Direction::Fwd => fwd,
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Spd<K> {
    /// Those of `if_id` 0, which every clear packet is held against.
    policy_based: Sets<K>,
    /// Those of the interfaces, sorted by id.
    by_if_id: Vec<(IfId, Sets<K>)>,
}

impl<K> Default for Spd<K> {
    fn default() -> Self {
        Self { policy_based: Sets::default(), by_if_id: Vec::new() }
    }
}

impl<K> Clone for Spd<K> {
    fn clone(&self) -> Self {
        Self { policy_based: self.policy_based.clone(), by_if_id: self.by_if_id.clone() }
    }
}

impl<K> Spd<K> {
    /// Replaces the policies of one `if_id` and direction.
    pub fn set(&mut self, if_id: IfId, direction: Direction, mut policies: Vec<Arc<Policy<K>>>) {
        // Lower priority value first; among equals the narrower selector, then the older policy.
        policies.sort_by_key(|policy| {
            (policy.priority, std::cmp::Reverse(policy.selector.specificity()), policy.order, policy.slot)
        });
        let mut sets = self.sets(if_id).cloned().unwrap_or_default();
        *sets.of_mut(direction) = policies.into();
        self.put(if_id, sets);
    }

    /// Stores what an `if_id` has; nothing at all takes no place.
    fn put(&mut self, if_id: IfId, sets: Sets<K>) {
        if if_id.is_policy_based() {
            self.policy_based = sets;
            return;
        }
        let found = self.by_if_id.binary_search_by_key(&if_id, |(id, _)| *id);
        if let Ok(at) = found {
            self.by_if_id.remove(at);
        }
        if sets.0.iter().any(|set| !set.is_empty()) {
            self.by_if_id.insert(found.unwrap_or_else(|at| at), (if_id, sets));
        }
    }

    #[inline]
    fn sets(&self, if_id: IfId) -> Option<&Sets<K>> {
        if if_id.is_policy_based() {
            return Some(&self.policy_based);
        }
        let at = self.by_if_id.binary_search_by_key(&if_id, |(id, _)| *id).ok()?;
        self.by_if_id.get(at).map(|(_, sets)| sets)
    }

    /// Returns the first policy that matches.
    #[must_use]
    #[inline]
    pub fn lookup(&self, if_id: IfId, direction: Direction, flow: &FlowKey) -> Option<&Arc<Policy<K>>> {
        self.sets(if_id)?.of(direction).iter().find(|policy| policy.selector.matches(flow))
    }

    /// Walks over all policies.
    pub fn iter(&self) -> impl Iterator<Item = (IfId, Direction, &Arc<Policy<K>>)> {
        let all = self.by_if_id.iter().map(|(if_id, sets)| (*if_id, sets));
        std::iter::once((IfId::POLICY_BASED, &self.policy_based)).chain(all).flat_map(|(if_id, sets)| {
            Direction::ALL.into_iter().flat_map(move |direction| {
                sets.of(direction).iter().map(move |policy| (if_id, direction, policy))
            })
        })
    }
}

/// Verdict of the inbound policy check on a decrypted packet.
impl<K> Policy<K> {
    /// Whether this policy admits a packet that came by `sa`.
    #[must_use]
    pub fn admits(&self, sa: &InboundSa<K>) -> bool {
        match &self.action {
            Action::Protect(template, _) => template.fits(&sa.common),
            Action::Pass | Action::Discard => false,
        }
    }
}
