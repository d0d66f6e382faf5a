//! Which policies an SA may serve and which SAs may serve a policy, without looking at the others.
//!
//! A template names both outer ends or leaves them open: policies stand under the one key or the other, SAs under both.
//! Under a key they stand by the remote host they are about, where that is one: thousands of road-warriors can share an
//! address, even a reqid. A key is a hash, and a template may name more, so what is found may not fit.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use arrayvec::ArrayVec;
use esp::IfId;
use foldhash::fast::RandomState;

use super::buckets::Buckets;
use crate::tables::epochs::Host;
use crate::tables::policy::Template;
use crate::tables::sa::SELECTORS;

/// The remote hosts that an SA is about; none if they are not counted.
pub(super) type Hosts = ArrayVec<Host, SELECTORS>;

/// What a template may ask of an SA.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    pub(super) outbound: bool,
    pub(super) if_id: IfId,
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) reqid: u32,
}

/// A policy that asks for protection, as an SA finds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking {
    pub(super) slot: u32,
    pub(super) outbound: bool,
    pub(super) if_id: IfId,
    pub(super) template: Template,
    /// The remote host it is about, if it is about one.
    pub(super) host: Option<Host>,
}

/// Remote host and slot: an SA knows the reqid of what it serves, and may be about several hosts or any.
type PolicyPlace = (Option<Host>, u32);
/// Remote host, reqid, slot: a policy knows its host, and may ask for any reqid.
type SaPlace = (Option<Host>, u32, u32);

/// See the module's text.
#[derive(Default)]
pub(super) struct Index {
    /// With a seed of its own: peers have a say in what is hashed.
    hasher: RandomState,
    /// By key and reqid.
    policies: Buckets<PolicyPlace>,
    /// Policies that leave an end open; on most gateways none.
    open_policies: usize,
    /// Outbound SAs: what a policy says of inbound ones is held against each packet's own.
    sas: Buckets<SaPlace>,
}

/// The reqid of a template that asks for none.
const ANY_REQID: u32 = 0;

/// What an SA or a template says of the outer ends.
type Ends = Option<(IpAddr, IpAddr)>;

impl Index {
    fn key(&self, outbound: bool, if_id: IfId, ends: Ends) -> u64 {
        self.hasher.hash_one((outbound, if_id.0, ends))
    }

    fn key_with(&self, outbound: bool, if_id: IfId, ends: Ends, reqid: u32) -> u64 {
        self.hasher.hash_one((outbound, if_id.0, ends, reqid))
    }

    /// Returns the keys of templates that name the ends of an SA, and of those that leave them open.
    fn keys(&self, sa: &Traits) -> [u64; 2] {
        [Some((sa.src, sa.dst)), None].map(|ends| self.key(sa.outbound, sa.if_id, ends))
    }

    fn place(&self, policy: &Asking) -> (u64, PolicyPlace) {
        let Asking { slot, outbound, if_id, template, host } = *policy;
        (self.key_with(outbound, if_id, ends(&template), template.reqid), (host, slot))
    }

    /// Notes a policy.
    pub(super) fn put_policy(&mut self, policy: &Asking) {
        let (key, place) = self.place(policy);
        self.policies.insert(key, place);
        self.open_policies += usize::from(ends(&policy.template).is_none());
    }

    /// Forgets a policy that was noted.
    pub(super) fn remove_policy(&mut self, policy: &Asking) {
        let (key, place) = self.place(policy);
        self.policies.remove(key, &place);
        self.open_policies -= usize::from(ends(&policy.template).is_none());
    }

    /// Notes an outbound SA.
    pub(super) fn put_sa(&mut self, slot: u32, sa: &Traits, hosts: &Hosts) {
        for key in self.keys(sa) {
            each(hosts).for_each(|host| self.sas.insert(key, (host, sa.reqid, slot)));
        }
    }

    /// Forgets an outbound SA.
    pub(super) fn remove_sa(&mut self, slot: u32, sa: &Traits, hosts: &Hosts) {
        for key in self.keys(sa) {
            each(hosts).for_each(|host| self.sas.remove(key, &(host, sa.reqid, slot)));
        }
    }

    /// Calls `visit` with each policy that an SA may serve and the host the policy is about.
    pub(super) fn served(&self, sa: &Traits, hosts: &Hosts, mut visit: impl FnMut(u32, Option<Host>)) {
        let all = [Some((sa.src, sa.dst)), None].into_iter().take(if self.open_policies > 0 { 2 } else { 1 });
        let reqids = [sa.reqid, ANY_REQID].into_iter().take(if sa.reqid == ANY_REQID { 1 } else { 2 });
        for (ends, reqid) in all.flat_map(|ends| reqids.clone().map(move |reqid| (ends, reqid))) {
            let key = self.key_with(sa.outbound, sa.if_id, ends, reqid);
            let mut visit = |place: &PolicyPlace| visit(place.1, place.0);
            if hosts.is_empty() {
                self.policies.all(key).for_each(&mut visit);
                continue;
            }
            for host in hosts.iter().map(|host| Some(*host)).chain([None]) {
                self.policies.range(key, (host, 0)..=(host, u32::MAX)).for_each(&mut visit);
            }
        }
    }

    /// Returns the slots of the outbound SAs that may serve a policy, each once.
    pub(super) fn serving(&self, policy: &Asking) -> Vec<u32> {
        let key = self.key(policy.outbound, policy.if_id, ends(&policy.template));
        let reqid = policy.template.reqid;
        let (least, most) = if reqid == ANY_REQID { (0, u32::MAX) } else { (reqid, reqid) };
        let of = |host| self.sas.range(key, (host, least, 0)..=(host, most, u32::MAX));
        let slot = |place: &SaPlace| place.2;
        let mut slots: Vec<u32> = match policy.host {
            Some(_) => of(None).chain(of(policy.host)).map(slot).collect(),
            None => self.sas.all(key).filter(|place| (least..=most).contains(&place.1)).map(slot).collect(),
        };
        slots.sort_unstable();
        slots.dedup();
        slots
    }
}

/// Returns the ends a template names, if it names both.
fn ends(template: &Template) -> Ends {
    let Template { src, dst, .. } = *template;
    (!src.is_unspecified() && !dst.is_unspecified()).then_some((src, dst))
}

fn each(hosts: &Hosts) -> impl Iterator<Item = Option<Host>> {
    let any = hosts.is_empty().then_some(None);
    hosts.iter().map(|host| Some(*host)).chain(any)
}
