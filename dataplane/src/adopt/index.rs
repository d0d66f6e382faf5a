//! Which policies an SA may serve and which SAs may serve a policy, without looking at the others.
//!
//! A template names both outer ends or leaves them open: policies stand under the one key or the other, SAs under both.
//! Under a key they stand by reqid and by the remote host they are about, where that is one: thousands of road-warriors
//! can share an address, even a reqid. A key is a hash, and a template may name more, so what is found may not fit.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::ops::Bound::{Excluded, Unbounded};

use arrayvec::ArrayVec;
use esp::IfId;

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
pub(super) struct Asking<'a> {
    pub(super) slot: u32,
    pub(super) outbound: bool,
    pub(super) if_id: IfId,
    pub(super) template: &'a Template,
    /// The remote host it is about, if it is about one.
    pub(super) host: Option<Host>,
}

/// Key, reqid, remote host, slot: an SA knows the reqid of what it serves, and may be about several hosts or any.
type PolicyPlace = (u64, u32, Option<Host>, u32);
/// Key, remote host, reqid, slot: a policy knows its host, and may ask for any reqid.
type SaPlace = (u64, Option<Host>, u32, u32);

/// See the module's text.
#[derive(Default)]
pub(super) struct Index {
    hasher: RandomState,
    policies: BTreeSet<PolicyPlace>,
    /// Policies that leave an end open; on most gateways none.
    open_policies: usize,
    /// Outbound SAs: what a policy says of inbound ones is held against each packet's own.
    sas: BTreeSet<SaPlace>,
}

/// The reqid of a template that asks for none.
const ANY_REQID: u32 = 0;

impl Index {
    fn key(&self, outbound: bool, if_id: IfId, ends: Option<(IpAddr, IpAddr)>) -> u64 {
        self.hasher.hash_one((outbound, if_id.0, ends))
    }

    /// Returns the keys of templates that name the ends of an SA, and of those that leave them open.
    fn keys(&self, sa: &Traits) -> [u64; 2] {
        [Some((sa.src, sa.dst)), None].map(|ends| self.key(sa.outbound, sa.if_id, ends))
    }

    fn place(&self, policy: &Asking<'_>) -> PolicyPlace {
        let key = self.key(policy.outbound, policy.if_id, ends(policy.template));
        (key, policy.template.reqid, policy.host, policy.slot)
    }

    /// Notes a policy.
    pub(super) fn put_policy(&mut self, policy: &Asking<'_>) {
        self.policies.insert(self.place(policy));
        self.open_policies += usize::from(ends(policy.template).is_none());
    }

    /// Forgets a policy that was noted.
    pub(super) fn remove_policy(&mut self, policy: &Asking<'_>) {
        self.policies.remove(&self.place(policy));
        self.open_policies -= usize::from(ends(policy.template).is_none());
    }

    /// Notes an outbound SA.
    pub(super) fn put_sa(&mut self, slot: u32, sa: &Traits, hosts: &Hosts) {
        for key in self.keys(sa) {
            self.sas.extend(each(hosts).map(|host| (key, host, sa.reqid, slot)));
        }
    }

    /// Forgets an outbound SA.
    pub(super) fn remove_sa(&mut self, slot: u32, sa: &Traits, hosts: &Hosts) {
        for key in self.keys(sa) {
            for host in each(hosts) {
                self.sas.remove(&(key, host, sa.reqid, slot));
            }
        }
    }

    /// Calls `visit` with each policy that an SA may serve and the host the policy is about.
    pub(super) fn served(&self, sa: &Traits, hosts: &Hosts, mut visit: impl FnMut(u32, Option<Host>)) {
        let keys = self.keys(sa).into_iter().take(if self.open_policies > 0 { 2 } else { 1 });
        let reqids = [sa.reqid, ANY_REQID].into_iter().take(if sa.reqid == ANY_REQID { 1 } else { 2 });
        for (key, reqid) in keys.flat_map(|key| reqids.clone().map(move |reqid| (key, reqid))) {
            let mut visit = |place: &PolicyPlace| visit(place.3, place.2);
            if hosts.is_empty() {
                let all = self.policies.range((key, reqid, None, 0)..);
                all.take_while(|place| (place.0, place.1) == (key, reqid)).for_each(&mut visit);
                continue;
            }
            for host in hosts.iter().map(|host| Some(*host)).chain([None]) {
                let of_host = (key, reqid, host, 0)..=(key, reqid, host, u32::MAX);
                self.policies.range(of_host).for_each(&mut visit);
            }
        }
    }

    /// Returns the slots of the outbound SAs that may serve a policy.
    pub(super) fn serving(&self, policy: &Asking<'_>) -> BTreeSet<u32> {
        let (key, reqid, ..) = self.place(policy);
        let (least, most) = if reqid == ANY_REQID { (0, u32::MAX) } else { (reqid, reqid) };
        let of = |host| self.sas.range((key, host, least, 0)..=(key, host, most, u32::MAX));
        let of_any = of(None);
        let slot = |place: &SaPlace| place.3;
        match policy.host {
            Some(_) => of_any.chain(of(policy.host)).map(slot).collect(),
            None => {
                let of_one = self.sas.range((Excluded((key, None, u32::MAX, u32::MAX)), Unbounded));
                let of_one = of_one.take_while(|place| place.0 == key);
                of_any.chain(of_one.filter(|place| (least..=most).contains(&place.2))).map(slot).collect()
            }
        }
    }
}

/// Returns the ends a template names, if it names both.
fn ends(template: &Template) -> Option<(IpAddr, IpAddr)> {
    let Template { src, dst, .. } = *template;
    (!src.is_unspecified() && !dst.is_unspecified()).then_some((src, dst))
}

fn each(hosts: &Hosts) -> impl Iterator<Item = Option<Host>> {
    let any = hosts.is_empty().then_some(None);
    hosts.iter().map(|host| Some(*host)).chain(any)
}
