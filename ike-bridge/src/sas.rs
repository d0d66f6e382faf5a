//! The SAs the bridge answers for, found by slot, SPI and reqid. Their keys stay in the segment.

use std::collections::BTreeSet;
use std::net::IpAddr;

use shm_protocol::ids::{IfId, Owner, Slot, Spi};
use shm_protocol::policy::Template;
use shm_protocol::sa::{Direction, Keying, Mark, Sa};
use shm_protocol::secret::{Salt, SecretKey};

use crate::index::Index;
use crate::lifetime;
use crate::shelf::Shelf;

/// An address with the UDP port it is used under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address.
    pub ip: IpAddr,
    /// Port; means something only under UDP encapsulation.
    pub port: u16,
}

/// How an IKE daemon names one of its SAs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whose it is.
    pub owner: Owner,
    /// Outer source.
    pub src: Endpoint,
    /// Outer destination.
    pub dst: Endpoint,
    /// SPI.
    pub spi: Spi,
    /// Tunnel.
    pub if_id: IfId,
    /// Mark.
    pub mark: Mark,
}

/// Every SA in the segment, without its key.
#[derive(Debug, Default)]
pub struct Sas {
    by_slot: Shelf<Held>,
    by_spi: Index<Spi, Slot>,
    by_reqid: Index<u32, Slot>,
    deadlines: BTreeSet<(u64, Slot)>,
}

#[derive(Debug)]
struct Held {
    sa: Box<Sa>,
    /// Whether its counters can make anything due.
    counts: bool,
    /// Whether its owner was told of the soft limit.
    soft_told: bool,
}

impl Sas {
    /// Takes an SA in, or replaces the one in its slot, which is returned; its key is dropped.
    pub fn put(&mut self, sa: &Sa) -> Option<Box<Sa>> {
        let before = self.remove(sa.slot);
        self.by_spi.insert(sa.spi, sa.slot);
        self.by_reqid.insert(sa.reqid, sa.slot);
        self.deadlines.extend(lifetime::next_deadline_ns(sa, false).map(|ns| (ns, sa.slot)));
        let held = Held { sa: without_key(sa), counts: lifetime::counts(sa), soft_told: false };
        self.by_slot.insert(sa.slot.index(), held);
        before
    }

    /// Forgets an SA.
    pub fn remove(&mut self, slot: Slot) -> Option<Box<Sa>> {
        let Held { sa, soft_told, .. } = self.by_slot.remove(slot.index())?;
        if let Some(ns) = lifetime::next_deadline_ns(&sa, soft_told) {
            self.deadlines.remove(&(ns, slot));
        }
        self.by_spi.remove(&sa.spi, slot);
        self.by_reqid.remove(&sa.reqid, slot);
        Some(sa)
    }

    /// Returns the SA in `slot`.
    pub fn get(&self, slot: Slot) -> Option<&Sa> {
        self.by_slot.get(slot.index()).map(|held| &*held.sa)
    }

    /// Returns every SA, by slot, from `from` on.
    pub fn from(&self, from: u32) -> impl Iterator<Item = &Sa> {
        self.by_slot.range(from..).map(|held| &*held.sa)
    }

    /// Returns every SA, by slot.
    pub fn all(&self) -> impl Iterator<Item = &Sa> {
        self.by_slot.iter().map(|held| &*held.sa)
    }

    /// Returns those whose counters can make anything due.
    pub fn counting(&self) -> impl Iterator<Item = &Sa> {
        self.by_slot.iter().filter(|held| held.counts).map(|held| &*held.sa)
    }

    /// Returns how many SAs there are.
    pub const fn len(&self) -> usize {
        self.by_slot.len()
    }

    /// Returns true when there is no SA.
    pub const fn is_empty(&self) -> bool {
        self.by_slot.len() == 0
    }

    /// Returns the SAs under `spi`.
    pub fn with_spi(&self, spi: Spi) -> impl Iterator<Item = &Sa> {
        self.by_spi.get(&spi).iter().filter_map(|slot| self.get(*slot))
    }

    /// Returns the SAs with this reqid.
    pub fn with_reqid(&self, reqid: u32) -> impl Iterator<Item = &Sa> {
        self.by_reqid.get(&reqid).iter().filter_map(|slot| self.get(*slot))
    }

    /// Returns the SAs that a policy's template asks for, in either direction of the policy.
    pub fn fitting<'a>(&'a self, template: &'a Template, if_id: IfId) -> impl Iterator<Item = &'a Sa> {
        self.with_reqid(template.reqid).filter(move |sa| {
            sa.src == template.src && sa.dst == template.dst && sa.mode == template.mode && sa.if_id == if_id
        })
    }

    /// Returns the SA that a daemon means: never another's, of several the one with its ports, then the
    /// newest.
    pub fn find(&self, id: &Identity) -> Option<&Sa> {
        let candidates = self.with_spi(id.spi).filter(|sa| {
            sa.owner == id.owner
                && sa.src == id.src.ip
                && sa.dst == id.dst.ip
                && sa.if_id == id.if_id
                && sa.mark == id.mark
        });
        candidates.max_by_key(|sa| (has_ports(sa, id), sa.installed_ns))
    }

    /// Returns the SA that stands in the way of a new one under the same name.
    pub fn twin(&self, new: &Sa) -> Option<&Sa> {
        self.with_spi(new.spi).find(|old| {
            match (old.direction, new.direction) {
                // The engine finds an inbound SA by its SPI alone.
                (Direction::In, Direction::In) => true,
                (Direction::Out, Direction::Out) => {
                    (old.dst, old.if_id, old.mark, old.encap) == (new.dst, new.if_id, new.mark, new.encap)
                }
                (Direction::In, Direction::Out) | (Direction::Out, Direction::In) => false,
            }
        })
    }

    /// Returns the first moment at which time alone makes something due.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.deadlines.first().map(|&(ns, _)| ns)
    }

    /// Returns the SAs whose deadline has come.
    pub fn past_deadline(&self, now_ns: u64) -> Vec<Slot> {
        self.deadlines.iter().take_while(|&&(ns, _)| ns <= now_ns).map(|&(_, slot)| slot).collect()
    }

    /// Notes that the owner was told of the soft limit. Returns false when it knew already.
    pub fn tell_soft(&mut self, slot: Slot) -> bool {
        let Some(Held { sa, soft_told, .. }) = self.by_slot.get_mut(slot.index()) else { return false };
        if std::mem::replace(soft_told, true) {
            return false;
        }
        self.deadlines.extend(lifetime::next_deadline_ns(sa, true).map(|ns| (ns, slot)));
        if let Some(ns) = lifetime::next_deadline_ns(sa, false)
            && lifetime::next_deadline_ns(sa, true) != Some(ns)
        {
            self.deadlines.remove(&(ns, slot));
        }
        true
    }

    /// Makes the soft limits of an owner's SAs be told again: it may have missed them while it was away.
    pub fn retell_soft(&mut self, owner: Owner) {
        let told = self.by_slot.iter().filter(|held| held.soft_told && held.sa.owner == owner);
        let slots: Vec<Slot> = told.map(|held| held.sa.slot).collect();
        for slot in slots {
            let Some(Held { sa, soft_told, .. }) = self.by_slot.get_mut(slot.index()) else { continue };
            *soft_told = false;
            if let Some(ns) = lifetime::next_deadline_ns(sa, true) {
                self.deadlines.remove(&(ns, slot));
            }
            self.deadlines.extend(lifetime::next_deadline_ns(sa, false).map(|ns| (ns, slot)));
        }
    }
}

fn has_ports(sa: &Sa, id: &Identity) -> bool {
    sa.encap.is_none_or(|ports| (ports.sport, ports.dport) == (id.src.port, id.dst.port))
}

fn without_key(sa: &Sa) -> Box<Sa> {
    let zeros = [0; 32];
    let algorithm = sa.keying.algorithm();
    let key = zeros.get(..algorithm.key_octets()).and_then(SecretKey::new);
    match key.and_then(|key| Keying::new(algorithm, key, Salt::new([0; 4]))) {
        Some(keying) => Box::new(Sa { keying, selectors: sa.selectors.clone(), ..*sa }),
        None => Box::new(sa.clone()),
    }
}

#[cfg(test)]
mod tests {
    use shm_protocol::sa::{EncapPorts, Limit, Limits};

    use super::*;
    use crate::testing::sa;

    fn identity(sa: &Sa) -> Identity {
        let ports = sa.encap.unwrap_or(EncapPorts { sport: 4500, dport: 4500 });
        Identity {
            owner: sa.owner,
            src: Endpoint { ip: sa.src, port: ports.sport },
            dst: Endpoint { ip: sa.dst, port: ports.dport },
            spi: sa.spi,
            if_id: sa.if_id,
            mark: sa.mark,
        }
    }

    #[test]
    fn no_key_is_kept() {
        let mut sas = Sas::default();
        sas.put(&sa(Direction::In, 9));
        let kept = sas.get(Slot::new(9).unwrap()).unwrap();
        assert_eq!(kept.keying.key().expose(), [0; 16]);
        assert_eq!(kept.keying.salt().expose(), [0; 4]);
    }

    #[test]
    fn an_sa_is_found_by_the_name_its_owner_gives_it_and_by_no_other() {
        let mut sas = Sas::default();
        let one = sa(Direction::Out, 1);
        sas.put(&one);
        let id = identity(&one);
        assert_eq!(sas.find(&id).map(|sa| sa.slot), Some(one.slot));
        assert!(sas.find(&Identity { owner: Owner(1), ..id }).is_none());
        assert!(sas.find(&Identity { if_id: IfId(1), ..id }).is_none());
        assert!(sas.find(&Identity { spi: Spi(77), ..id }).is_none());
    }

    #[test]
    fn two_peers_behind_one_nat_may_choose_the_same_spi() {
        let mut sas = Sas::default();
        let behind = |slot: u32, dport: u16| Sa {
            spi: Spi(0x1000),
            encap: Some(EncapPorts { sport: 4500, dport }),
            ..sa(Direction::Out, slot)
        };
        let (a, b) = (behind(1, 1024), behind(2, 1025));
        sas.put(&a);
        assert!(sas.twin(&b).is_none());
        assert!(sas.twin(&behind(3, 1024)).is_some());
        sas.put(&b);
        assert_eq!(sas.find(&identity(&a)).map(|sa| sa.slot), Some(a.slot));
        assert_eq!(sas.find(&identity(&b)).map(|sa| sa.slot), Some(b.slot));
    }

    #[test]
    fn deadlines_come_in_order_and_soft_ones_once() {
        let mut sas = Sas::default();
        let timed = |slot, soft, hard| Sa {
            limits: Limits { deadline_ns: Limit::new(soft, hard), ..Limits::default() },
            ..sa(Direction::In, slot)
        };
        sas.put(&timed(1, 10, 20));
        sas.put(&timed(2, 0, 15));
        let slot = Slot::new(1).unwrap();
        assert_eq!(sas.next_deadline_ns(), Some(10));
        assert_eq!(sas.past_deadline(10), [slot]);
        assert!(sas.tell_soft(slot));
        assert!(!sas.tell_soft(slot));
        assert_eq!(sas.next_deadline_ns(), Some(15));
        sas.retell_soft(Owner(7 << 32));
        assert_eq!(sas.next_deadline_ns(), Some(10));
        sas.remove(slot);
        assert_eq!(sas.next_deadline_ns(), Some(15));
        sas.remove(Slot::new(2).unwrap());
        assert_eq!(sas.next_deadline_ns(), None);
        assert!(sas.is_empty());
    }
}
