//! Which policies an SA may serve and which SAs may serve a policy, without looking at the others.
//!
//! A template names both outer ends or leaves them open, and a reqid or none: four kinds of key, of which a policy has
//! one and an SA all. Each key is divided by the remote host that policy and SA are about, where that is one: thousands
//! of road-warriors can share an address and even a reqid. A key is a hash, so what is found may not fit after all.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

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

/// Key, remote host, slot.
type Place = (u64, Option<Host>, u32);

/// See the module's text.
#[derive(Default)]
pub(super) struct Index {
    hasher: RandomState,
    policies: BTreeSet<Place>,
    /// Outbound SAs: what a policy says of inbound ones is held against each packet's own.
    sas: BTreeSet<Place>,
}

impl Index {
    fn hash(&self, of: &Traits, ends: bool, reqid: bool) -> u64 {
        let ends = ends.then_some((of.src, of.dst));
        self.hasher.hash_one((of.outbound, of.if_id.0, ends, reqid.then_some(of.reqid)))
    }

    fn keys(&self, sa: &Traits) -> [u64; 4] {
        [(true, true), (true, false), (false, true), (false, false)]
            .map(|(ends, reqid)| self.hash(sa, ends, reqid))
    }

    fn key(&self, outbound: bool, if_id: IfId, template: &Template) -> u64 {
        let Template { src, dst, reqid, .. } = *template;
        let ends = !src.is_unspecified() && !dst.is_unspecified();
        self.hash(&Traits { outbound, if_id, src, dst, reqid }, ends, reqid != 0)
    }

    /// Notes a policy that asks for protection, about one remote host or any.
    pub(super) fn put_policy(
        &mut self,
        slot: u32,
        (outbound, if_id): (bool, IfId),
        template: &Template,
        host: Option<Host>,
    ) {
        let key = self.key(outbound, if_id, template);
        self.policies.insert((key, host, slot));
    }

    /// Forgets a policy.
    pub(super) fn remove_policy(
        &mut self,
        slot: u32,
        (outbound, if_id): (bool, IfId),
        template: &Template,
        host: Option<Host>,
    ) {
        let key = self.key(outbound, if_id, template);
        self.policies.remove(&(key, host, slot));
    }

    /// Notes an outbound SA.
    pub(super) fn put_sa(&mut self, slot: u32, sa: &Traits, hosts: &Hosts) {
        for key in self.keys(sa) {
            self.sas.extend(each(hosts).map(|host| (key, host, slot)));
        }
    }

    /// Forgets an outbound SA.
    pub(super) fn remove_sa(&mut self, slot: u32, sa: &Traits, hosts: &Hosts) {
        for key in self.keys(sa) {
            for host in each(hosts) {
                self.sas.remove(&(key, host, slot));
            }
        }
    }

    /// Calls `visit` with each policy that an SA may serve and the host the policy is about; with some twice.
    pub(super) fn served(&self, sa: &Traits, hosts: &Hosts, mut visit: impl FnMut(u32, Option<Host>)) {
        for key in self.keys(sa) {
            if hosts.is_empty() {
                all(&self.policies, key).for_each(|(_, host, slot)| visit(*slot, *host));
            } else {
                let wide = of_host(&self.policies, key, None);
                let narrow = hosts.iter().flat_map(|host| of_host(&self.policies, key, Some(*host)));
                wide.chain(narrow).for_each(|(_, host, slot)| visit(*slot, *host));
            }
        }
    }

    /// Returns the slots of the outbound SAs that may serve a policy.
    pub(super) fn serving(&self, if_id: IfId, template: &Template, host: Option<Host>) -> BTreeSet<u32> {
        let key = self.key(true, if_id, template);
        match host {
            None => all(&self.sas, key).map(|(.., slot)| *slot).collect(),
            Some(_) => {
                let both = of_host(&self.sas, key, None).chain(of_host(&self.sas, key, host));
                both.map(|(.., slot)| *slot).collect()
            }
        }
    }
}

fn each(hosts: &Hosts) -> impl Iterator<Item = Option<Host>> {
    let any = hosts.is_empty().then_some(None);
    hosts.iter().map(|host| Some(*host)).chain(any)
}

fn all(places: &BTreeSet<Place>, key: u64) -> impl Iterator<Item = &Place> {
    places.range((key, None, 0)..).take_while(move |place| place.0 == key)
}

fn of_host(places: &BTreeSet<Place>, key: u64, host: Option<Host>) -> impl Iterator<Item = &Place> {
    places.range((key, host, 0)..=(key, host, u32::MAX))
}
