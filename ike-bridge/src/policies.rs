//! The policies as IKE daemons see them: one record per selector, direction, if_id and mark, shared by its
//! users.
//!
//! A CHILD_SA and its successor install the same policy; a trap, a tunnel and a block can share a selector.
//! The
//! user with the lowest priority decides what the record says, the youngest among equals. The number of users
//! stands in the record, so that a restarted bridge keeps counting.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, Hash, Hasher};
use std::net::IpAddr;

use foldhash::fast::RandomState;
use shm_protocol::ids::{IfId, Owner, POLICY_SLOTS, PolicySlot};
use shm_protocol::policy::{Action, Policy, PolicyDirection};
use shm_protocol::sa::Mark;
use shm_protocol::selector::SelectorRecord;

use crate::index::Index;
use crate::shelf::Shelf;

/// What makes two policies the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Packets it holds.
    pub selector: SelectorRecord,
    /// Which packets it is asked about.
    pub direction: PolicyDirection,
    /// Tunnel it belongs to.
    pub if_id: IfId,
    /// Mark it is looked up by.
    pub mark: Mark,
}

impl Hash for Key {
    /// In few words: a hasher that is quick is so by the word.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { selector, direction, if_id, mark } = self;
        for range in [selector.src(), selector.dst()] {
            state.write_u128(bits(range.lo()));
            state.write_u128(bits(range.hi()));
        }
        let [one, two, three, four] =
            [selector.sport.lo(), selector.sport.hi(), selector.dport.lo(), selector.dport.hi()]
                .map(u64::from);
        state.write_u64(one | two << 16 | three << 32 | four << 48);
        let kind = u64::from(selector.proto) | (*direction as u64) << 8;
        state.write_u64(u64::from(if_id.0) << 32 | kind);
        state.write_u64(u64::from(mark.value) << 32 | u64::from(mark.mask));
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// One reason for a policy to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Who asked for it.
    pub owner: Owner,
    /// Lower wins.
    pub priority: u32,
    /// Breaks a tie of priorities set by hand.
    pub auto_priority: u32,
    /// What shall happen to the packets.
    pub action: Action,
    /// The SA that the user belongs to, 0 for none or unknown.
    pub spi: u32,
}

/// A change to make in the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Write the record.
    Put(Policy),
    /// Empty the record.
    Remove(PolicySlot),
}

/// Why a policy was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Every record is in use.
    #[error("all {POLICY_SLOTS} policy records are in use")]
    Full,
}

/// The policies and their users.
#[derive(Debug, Default)]
pub struct Policies {
    entries: Shelf<Entry>,
    /// By a hash of the key, which is no longer than what it finds.
    by_key: Index<u64, PolicySlot>,
    hasher: RandomState,
    free: BTreeSet<u32>,
    next_slot: u32,
    next_order: u64,
}

/// What a key held at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    key: Key,
    entry: Option<Box<Entry>>,
}

impl Snapshot {
    /// Returns that of a policy that is not there.
    pub const fn absent(key: Key) -> Self {
        Self { key, entry: None }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    key: Key,
    slot: PolicySlot,
    order: u64,
    users: Vec<User>,
}

impl Policies {
    /// Takes over a policy that a bridge before this one installed.
    pub fn restore(&mut self, policy: &Policy) {
        let user = User {
            owner: policy.owner,
            priority: policy.priority,
            auto_priority: policy.priority,
            action: policy.action,
            spi: 0,
        };
        // A record torn beyond repair must not make us allocate without bound.
        let users = vec![user; policy.users.clamp(1, MAX_RESTORED_USERS) as usize];
        let key = key_of(policy);
        self.put(self.hasher.hash_one(key), Entry { key, slot: policy.slot, order: policy.order, users });
        self.next_order = self.next_order.max(policy.order.saturating_add(1));
        let slot = policy.slot.index();
        self.free.extend(self.next_slot..slot);
        self.free.remove(&slot);
        self.next_slot = self.next_slot.max(slot + 1);
    }

    /// Returns how many policies there are.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns true when there is no policy.
    pub const fn is_empty(&self) -> bool {
        self.entries.len() == 0
    }

    /// Returns the policy of `key` as its record says it.
    pub fn get(&self, key: &Key) -> Option<Policy> {
        self.find(key).and_then(Entry::record)
    }

    /// Returns the policies by slot, from `from` on.
    pub fn from(&self, from: PolicySlot) -> impl Iterator<Item = Policy> {
        self.entries.range(from.index()..).filter_map(Entry::record)
    }

    /// Returns the policy in `slot`.
    pub fn at(&self, slot: PolicySlot) -> Option<Policy> {
        self.entries.get(slot.index()).and_then(Entry::record)
    }

    /// Adds one user; users whose owner `is_gone` are replaced by it. Returns the change to make.
    ///
    /// Errors: `Full`.
    pub fn add(&mut self, key: Key, user: User, is_gone: impl Fn(Owner) -> bool) -> Result<Change, Refused> {
        let hash = self.hasher.hash_one(key);
        let slot = match self.slot(hash, &key) {
            Some(slot) => slot,
            None => self.make(hash, key)?,
        };
        let entry = self.entries.get_mut(slot.index()).ok_or(Refused::Full)?;
        entry.users.retain(|old| !is_gone(old.owner));
        let rank = rank(&user);
        let at = entry.users.iter().position(|old| self::rank(old) >= rank).unwrap_or(entry.users.len());
        entry.users.insert(at, user);
        entry.record().map(Change::Put).ok_or(Refused::Full)
    }

    /// Adds the first user of a policy; `None` when there is one already. Returns the change to make.
    ///
    /// Errors: `Full`.
    pub fn add_new(&mut self, key: Key, user: User) -> Result<Option<Change>, Refused> {
        let hash = self.hasher.hash_one(key);
        if self.slot(hash, &key).is_some() {
            return Ok(None);
        }
        let slot = self.make(hash, key)?;
        let entry = self.entries.get_mut(slot.index()).ok_or(Refused::Full)?;
        entry.users.push(user);
        Ok(entry.record().map(Change::Put))
    }

    /// Removes one user; `None` when there is no such policy or user.
    ///
    /// A user taken over from an earlier bridge stands for any whose SA is unknown; with `spare_last` it
    /// does so
    /// only while it is not the last one.
    pub fn remove(&mut self, key: &Key, user: &User, spare_last: bool) -> Option<Change> {
        let entry = self.find_mut(key)?;
        let unknown = |old: &&User| old.spi == 0 && !(spare_last && entry.users.len() == 1);
        let mine = |old: &&User| old.owner == user.owner;
        let same = |old: &&User| old.priority == user.priority && old.action == user.action;
        let find = |wanted: &dyn Fn(&&User) -> bool| entry.users.iter().position(|old| wanted(&old));
        let at = find(&|old| mine(old) && same(old) && old.spi == user.spi)
            .or_else(|| find(&|old| mine(old) && same(old) && unknown(old)))
            .or_else(|| find(&|old| mine(old) && unknown(old) && old.priority == user.priority))
            .or_else(|| find(&|old| mine(old) && unknown(old)))?;
        entry.users.remove(at);
        self.settle(key)
    }

    /// Gives a user taken over from an earlier bridge its SA again, if it can be this one. Returns the
    /// change.
    pub fn adopt(&mut self, key: &Key, user: &User) -> Option<Change> {
        let entry = self.find_mut(key)?;
        let same = |old: &User| {
            old.owner == user.owner && old.priority == user.priority && old.action == user.action
        };
        let at = entry
            .users
            .iter()
            .position(|old| same(old) && old.spi == user.spi)
            .or_else(|| entry.users.iter().position(|old| same(old) && old.spi == 0))?;
        if let Some(old) = entry.users.get_mut(at) {
            *old = *user;
        }
        entry.record().map(Change::Put)
    }

    /// Returns the owners of all users.
    pub fn owners(&self) -> impl Iterator<Item = Owner> {
        self.entries.iter().flat_map(|entry| entry.users.iter().map(|user| user.owner))
    }

    /// Returns every policy with an owner of it.
    pub fn users(&self) -> impl Iterator<Item = (Key, Owner)> {
        self.entries.iter().flat_map(|entry| entry.users.iter().map(|user| (entry.key, user.owner)))
    }

    /// Returns the policies, oldest first, that have a user whom `wanted` names.
    pub fn keys_with(&self, wanted: &impl Fn(&Key, &User) -> bool) -> Vec<Key> {
        let has = |entry: &&Entry| entry.users.iter().any(|user| wanted(&entry.key, user));
        let mut keys: Vec<(u64, Key)> =
            self.entries.iter().filter(has).map(|entry| (entry.order, entry.key)).collect();
        keys.sort_unstable_by_key(|&(order, _)| order);
        keys.into_iter().map(|(_, key)| key).collect()
    }

    /// Removes every user of one policy that `gone` names. Returns the change to make.
    pub fn remove_users(&mut self, key: &Key, gone: impl Fn(&User) -> bool) -> Option<Change> {
        self.find_mut(key)?.users.retain(|user| !gone(user));
        self.settle(key)
    }

    /// Replaces the users of a policy by one. Returns the change to make, `None` when there is no such
    /// policy.
    pub fn replace(&mut self, key: &Key, user: User) -> Option<Change> {
        let entry = self.find_mut(key)?;
        entry.users = vec![user];
        entry.record().map(Change::Put)
    }

    /// Returns what `key` holds, for `put_back`.
    pub fn snapshot(&self, key: &Key) -> Snapshot {
        Snapshot { key: *key, entry: self.find(key).map(|entry| Box::new(entry.clone())) }
    }

    /// Takes back every change of a key since its snapshot; of several snapshots the youngest goes first.
    pub fn put_back(&mut self, snapshot: Snapshot) {
        if let Some(now) = self.find(&snapshot.key) {
            self.take(now.slot);
        }
        if let Some(entry) = snapshot.entry {
            self.free.remove(&entry.slot.index());
            self.put(self.hasher.hash_one(entry.key), *entry);
        }
    }

    fn find(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(self.slot(self.hasher.hash_one(key), key)?.index())
    }

    fn find_mut(&mut self, key: &Key) -> Option<&mut Entry> {
        self.entries.get_mut(self.slot(self.hasher.hash_one(key), key)?.index())
    }

    fn slot(&self, hash: u64, key: &Key) -> Option<PolicySlot> {
        let is = |slot: &&PolicySlot| self.entries.get(slot.index()).is_some_and(|entry| entry.key == *key);
        self.by_key.get(&hash).iter().find(is).copied()
    }

    /// Makes a policy without users.
    fn make(&mut self, hash: u64, key: Key) -> Result<PolicySlot, Refused> {
        let slot = take_slot(&mut self.free, &mut self.next_slot).ok_or(Refused::Full)?;
        let order = self.next_order;
        self.next_order += 1;
        self.put(hash, Entry { key, slot, order, users: Vec::with_capacity(1) });
        Ok(slot)
    }

    fn put(&mut self, hash: u64, entry: Entry) {
        self.by_key.insert(hash, entry.slot);
        self.entries.insert(entry.slot.index(), entry);
    }

    /// Takes a policy out; its slot is free.
    fn take(&mut self, slot: PolicySlot) {
        if let Some(entry) = self.entries.remove(slot.index()) {
            self.by_key.remove(&self.hasher.hash_one(entry.key), slot);
            self.free.insert(slot.index());
        }
    }

    fn settle(&mut self, key: &Key) -> Option<Change> {
        let entry = self.find(key)?;
        let (slot, record) = (entry.slot, entry.record());
        if record.is_none() {
            self.take(slot);
        }
        Some(record.map_or(Change::Remove(slot), Change::Put))
    }
}

fn take_slot(free: &mut BTreeSet<u32>, next: &mut u32) -> Option<PolicySlot> {
    if let Some(slot) = free.pop_first() {
        return PolicySlot::new(slot);
    }
    let slot = PolicySlot::new(*next)?;
    *next += 1;
    Some(slot)
}

impl Entry {
    fn record(&self) -> Option<Policy> {
        let (first, key) = (self.users.first()?, &self.key);
        Some(Policy {
            slot: self.slot,
            owner: first.owner,
            direction: key.direction,
            if_id: key.if_id,
            selector: key.selector,
            priority: first.priority,
            action: first.action,
            order: self.order,
            users: u32::try_from(self.users.len()).unwrap_or(u32::MAX),
            mark: key.mark,
        })
    }
}

/// Returns the key of a record.
pub fn key_of(policy: &Policy) -> Key {
    Key { selector: policy.selector, direction: policy.direction, if_id: policy.if_id, mark: policy.mark }
}

/// Returns the place of a user among the users of its policy: priority, then what breaks a tie, and one that
/// names a reqid before one that does not.
fn rank(user: &User) -> (u32, u32, bool) {
    let no_reqid = match user.action {
        Action::Protect(template) => template.reqid == 0,
        Action::Pass | Action::Discard => true,
    };
    (user.priority, user.auto_priority, no_reqid)
}

const MAX_RESTORED_USERS: u32 = 1024;

#[cfg(test)]
mod tests {
    use shm_protocol::policy::Template;
    use shm_protocol::sa::Mode;
    use shm_protocol::selector::Family;

    use super::*;

    const CHARON: Owner = Owner(7 << 32);

    fn key() -> Key {
        Key {
            selector: SelectorRecord::any(Family::V4),
            direction: PolicyDirection::Out,
            if_id: IfId(1),
            mark: Mark::default(),
        }
    }

    fn protect(reqid: u32) -> Action {
        let ip = |s: &str| s.parse().unwrap();
        Action::Protect(Template {
            src: ip("192.0.2.1"),
            dst: ip("192.0.2.2"),
            reqid,
            mode: Mode::Tunnel,
            spi: None,
        })
    }

    fn user(priority: u32, action: Action, spi: u32) -> User {
        User { owner: CHARON, priority, auto_priority: priority, action, spi }
    }

    fn keep(_: Owner) -> bool {
        false
    }

    fn put(change: Change) -> Policy {
        match change {
            Change::Put(policy) => policy,
            Change::Remove(slot) => panic!("slot {} was removed", slot.index()),
        }
    }

    #[test]
    fn a_policy_goes_with_its_last_user() {
        let mut p = Policies::default();
        assert_eq!(put(p.add(key(), user(5, protect(1), 10), keep).unwrap()).users, 1);
        assert_eq!(put(p.add(key(), user(5, protect(1), 11), keep).unwrap()).users, 2);
        assert_eq!(put(p.remove(&key(), &user(5, protect(1), 10), false).unwrap()).users, 1);
        let slot = PolicySlot::new(0).unwrap();
        assert_eq!(p.remove(&key(), &user(5, protect(1), 11), false), Some(Change::Remove(slot)));
        assert_eq!(p.remove(&key(), &user(5, protect(1), 11), false), None);
        assert!(p.is_empty());
    }

    #[test]
    fn the_lowest_priority_decides_and_the_youngest_among_equals() {
        let mut p = Policies::default();
        p.add(key(), user(5, protect(1), 10), keep).unwrap();
        let record = put(p.add(key(), user(9, Action::Discard, 0), keep).unwrap());
        assert_eq!((record.priority, record.action), (5, protect(1)));
        let record = put(p.add(key(), user(5, protect(2), 11), keep).unwrap());
        assert_eq!(record.action, protect(2));
        p.remove(&key(), &user(5, protect(2), 11), false).unwrap();
        let record = put(p.remove(&key(), &user(5, protect(1), 10), false).unwrap());
        assert_eq!(record.action, Action::Discard);
    }

    #[test]
    fn deleting_what_was_never_added_takes_nothing_from_others() {
        let mut p = Policies::default();
        p.add(key(), user(5, protect(1), 10), keep).unwrap();
        assert_eq!(p.remove(&key(), &user(5, protect(1), 99), false), None);
        let stranger = User { owner: Owner(8 << 32), ..user(5, protect(1), 10) };
        assert_eq!(p.remove(&key(), &stranger, false), None);
        assert_eq!(p.len(), 1);
    }

    #[test]
    fn a_restarted_bridge_keeps_counting_users() {
        let mut before = Policies::default();
        before.add(key(), user(5, protect(1), 10), keep).unwrap();
        let record = put(before.add(key(), user(5, protect(1), 11), keep).unwrap());
        let mut after = Policies::default();
        after.restore(&record);
        assert_eq!(put(after.remove(&key(), &user(5, protect(1), 10), false).unwrap()).users, 1);
        assert_eq!(put(after.add(key(), user(5, protect(1), 12), keep).unwrap()).users, 2);
        assert_eq!(put(after.remove(&key(), &user(5, protect(1), 11), false).unwrap()).users, 1);
        assert!(matches!(after.remove(&key(), &user(5, protect(1), 12), false), Some(Change::Remove(_))));
    }

    #[test]
    fn a_new_process_replaces_the_users_of_the_old_one() {
        let mut p = Policies::default();
        p.add(key(), user(5, protect(1), 10), keep).unwrap();
        let new = User { owner: Owner(CHARON.0 + 1), ..user(5, protect(2), 20) };
        let record = put(p.add(key(), new, |owner| owner == CHARON).unwrap());
        assert_eq!((record.users, record.action), (1, protect(2)));
    }

    #[test]
    fn a_freed_record_is_used_again() {
        let mut p = Policies::default();
        let other = Key { if_id: IfId(2), ..key() };
        p.add(key(), user(5, protect(1), 10), keep).unwrap();
        p.add(other, user(5, protect(1), 10), keep).unwrap();
        p.remove(&key(), &user(5, protect(1), 10), false).unwrap();
        assert_eq!(put(p.add(key(), user(5, protect(1), 10), keep).unwrap()).slot.index(), 0);
    }
}
