//! A policy: which packets, in which order among the others, and what happens to them (RFC 4301 section 4.4.1).

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Deref;
use std::sync::Arc;

use esp::Spi;
use esp::selector::Compact;
use esp::wire::Family;

use super::sa::{Common, InboundSa, OutboundSa};

/// Direction of a policy, as XFRM names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

/// A template as policies keep it: nearly all name two IPv4 addresses and no SPI, which takes a third of the octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    V4 { src: Ipv4Addr, dst: Ipv4Addr, reqid: u32 },
    Other(Box<Template>),
}

impl Wanted {
    /// Returns the template.
    #[must_use]
    pub fn template(&self) -> Template {
        match &self.0 {
            Kind::V4 { src, dst, reqid } => {
                Template { src: (*src).into(), dst: (*dst).into(), reqid: *reqid, spi: None }
            }
            Kind::Other(template) => **template,
        }
    }

    /// As [`Template::fits`].
    #[must_use]
    #[inline]
    pub fn fits(&self, sa: &Common) -> bool {
        match &self.0 {
            Kind::V4 { src, dst, reqid } => {
                let address = |wanted: &Ipv4Addr, has: IpAddr| wanted.is_unspecified() || has == *wanted;
                (*reqid == 0 || *reqid == sa.reqid) && address(src, sa.src) && address(dst, sa.dst)
            }
            Kind::Other(template) => template.fits(sa),
        }
    }
}

impl From<Template> for Wanted {
    fn from(template: Template) -> Self {
        Self(match template {
            Template { src: IpAddr::V4(src), dst: IpAddr::V4(dst), reqid, spi: None } => {
                Kind::V4 { src, dst, reqid }
            }
            other => Kind::Other(Box::new(other)),
        })
    }
}

/// The SAs that serve a policy, newest first; a single one is reached without another load.
#[derive(Debug)]
pub enum Serving<K> {
    /// None, or more than one.
    List(Box<[Arc<OutboundSa<K>>]>),
    /// One.
    One(Arc<OutboundSa<K>>),
}

impl<K> From<Vec<Arc<OutboundSa<K>>>> for Serving<K> {
    fn from(mut sas: Vec<Arc<OutboundSa<K>>>) -> Self {
        match (sas.pop(), sas.is_empty()) {
            (Some(one), true) => Self::One(one),
            (last, _) => {
                sas.extend(last);
                Self::List(sas.into())
            }
        }
    }
}

impl<K> Deref for Serving<K> {
    type Target = [Arc<OutboundSa<K>>];

    #[inline]
    fn deref(&self) -> &Self::Target {
        match self {
            Self::List(list) => list,
            Self::One(one) => std::slice::from_ref(one),
        }
    }
}

/// What happens to the packets of a policy.
#[derive(Debug)]
pub enum Action<K> {
    /// They are protected by an SA that fits the template; for direction out the SAs that do, newest first.
    Protect(Wanted, Serving<K>),
    /// They pass in clear.
    Pass,
    /// They are dropped.
    Discard,
}

/// A policy.
#[derive(Debug)]
pub struct Policy<K> {
    /// Slot in the segment.
    pub slot: u32,
    /// Which packets it is about, in the direction they flow.
    pub selector: Compact,
    /// Lower comes first.
    pub priority: u32,
    /// Position in time; among equals the older policy comes first.
    pub order: u64,
    /// What happens to them.
    pub action: Action<K>,
}

impl<K> Policy<K> {
    /// Compares two policies by the order they are asked in: lower priority value first; among equals the narrower
    /// selector, then the older policy.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        let rank = |policy: &Self| policy.selector.selector().specificity();
        let narrower = || rank(other).cmp(&rank(self));
        let older = || (self.order, self.slot).cmp(&(other.order, other.slot));
        self.priority.cmp(&other.priority).then_with(narrower).then_with(older)
    }

    /// Whether this policy admits a packet that came by `sa`: the verdict of the inbound check.
    #[must_use]
    pub fn admits(&self, sa: &InboundSa<K>) -> bool {
        match &self.action {
            Action::Protect(wanted, _) => wanted.fits(&sa.common),
            Action::Pass | Action::Discard => false,
        }
    }

    /// Returns the one remote host the policy is about, where it is about one: where its packets go, or come from.
    #[must_use]
    pub fn remote(&self, direction: Direction) -> Option<IpAddr> {
        let range = match direction {
            Direction::Out => self.selector.selector().dst(),
            Direction::In | Direction::Fwd => self.selector.selector().src(),
        };
        (range.lo() == range.hi()).then(|| range.lo())
    }

    /// Returns the family of its packets.
    #[must_use]
    pub fn family(&self) -> Family {
        self.selector.selector().src().family()
    }
}
