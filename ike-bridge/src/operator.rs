//! What an operator asks for with `espctl xfrm`: batches as one generation, listings by page.

mod listing;
mod state;

use std::net::IpAddr;

use shm_protocol::messages::control::{
    BridgeReply, BridgeRequest, MAX_BATCH, PolicyId, PolicySpec, Refusal as Refused, StateFilter, XfrmChange,
};
use shm_protocol::sa::Sa;

use crate::bridge::Bridge;
use crate::draft::Draft;
use crate::owner::OPERATOR;
use crate::policies::{Key, Snapshot, User};
use crate::refusal::Refusal;

/// Tells whether an address is one of this host's.
pub type IsLocal<'a> = &'a dyn Fn(IpAddr) -> bool;

impl Bridge {
    /// Does what an operator asks. An SA without `dir` is inbound when its destination is local, outbound
    /// when
    /// its source is, and installed both ways when neither is known.
    pub fn operate(&mut self, request: BridgeRequest, is_local: IsLocal<'_>, now_ns: u64) -> BridgeReply {
        let done = match request {
            BridgeRequest::Batch(changes) => return self.batch(&changes, is_local, now_ns),
            BridgeRequest::StateGet { id, show_keys } => self.get_state(&id, show_keys, now_ns),
            BridgeRequest::StateList { filter, cursor, show_keys } => {
                Ok(self.list_states(&filter, cursor, show_keys, now_ns))
            }
            BridgeRequest::StateDeleteAll(filter) => self.delete_states(&filter, now_ns),
            BridgeRequest::StateFlush => self.delete_states(&StateFilter::default(), now_ns),
            BridgeRequest::StateCount => Ok(self.count_states()),
            BridgeRequest::AllocSpi(wanted) => {
                self.reserve(OPERATOR, wanted.dst, wanted.reqid, now_ns).map(BridgeReply::Spi)
            }
            BridgeRequest::PolicyGet(id) => self.get_policy(&id),
            BridgeRequest::PolicyList { filter, cursor } => Ok(self.list_policies(&filter, cursor)),
            BridgeRequest::PolicyDeleteAll(filter) => {
                self.delete_policies(|key, user| listing::policy_fits(&filter, key, user.priority), now_ns)
            }
            BridgeRequest::PolicyFlush => self.delete_policies(|_, _| true, now_ns),
            BridgeRequest::PolicyCount => Ok(self.count_policies()),
        };
        done.unwrap_or_else(|refusal| refused(None, &refusal))
    }

    fn batch(&mut self, changes: &[XfrmChange], is_local: IsLocal<'_>, now_ns: u64) -> BridgeReply {
        let mut draft = Draft::load(changes.len());
        let mut warnings = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            if let Err(refusal) = self.change(&mut draft, change, is_local, now_ns) {
                self.abandon(draft, now_ns);
                return refused(u32::try_from(index).ok(), &refusal);
            }
            if matches!(change, XfrmChange::StateAdd(_)) && warnings.is_empty() {
                warnings.push(STATIC_KEY_WARNING.to_owned());
            }
        }
        // One state without `dir` may become two records, which is why a batch can be too long for a
        // generation.
        if draft.len() > MAX_BATCH {
            let error = shm_protocol::Error::TooManyChanges { changes: draft.len(), limit: MAX_BATCH };
            self.abandon(draft, now_ns);
            return refused(None, &error.into());
        }
        let (sas, policies) = (self.sas.len(), self.policies.len());
        match self.commit(draft, now_ns) {
            Ok(generation) => {
                tracing::info!("operator: {} changes, {sas} SAs and {policies} policies now", changes.len());
                BridgeReply::Done { generation, warnings }
            }
            Err(refusal) => refused(None, &refusal),
        }
    }

    fn change(
        &mut self,
        draft: &mut Draft,
        change: &XfrmChange,
        is_local: IsLocal<'_>,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        match change {
            XfrmChange::StateAdd(spec) => self.add_state(draft, spec, is_local, now_ns),
            XfrmChange::StateUpdate(spec) => self.update_state(draft, spec, is_local, now_ns),
            XfrmChange::StateDelete(id) => self.delete_state(draft, id, now_ns),
            XfrmChange::PolicyAdd(spec) => {
                let key = key_of(&spec.id);
                let change = self.policies.add_new(key, user_of(spec))?.ok_or(Refusal::PolicyExists)?;
                draft.before_policy(Snapshot::absent(key));
                draft.put_policy(change);
                Ok(())
            }
            XfrmChange::PolicyUpdate(spec) => self.put_policy(draft, spec),
            XfrmChange::PolicyDelete(id) => {
                let key = key_of(id);
                draft.before_policy(self.policies.snapshot(&key));
                let gone = self.policies.remove_users(&key, |_| true).ok_or(Refusal::NoPolicy)?;
                draft.put_policy(gone);
                Ok(())
            }
        }
    }

    fn put_policy(&mut self, draft: &mut Draft, spec: &PolicySpec) -> Result<(), Refusal> {
        let (key, user) = (key_of(&spec.id), user_of(spec));
        draft.before_policy(self.policies.snapshot(&key));
        let change = match self.policies.replace(&key, user) {
            Some(change) => change,
            None => self.policies.add(key, user, |_| false)?,
        };
        draft.put_policy(change);
        Ok(())
    }

    fn delete_states(&mut self, filter: &StateFilter, now_ns: u64) -> Result<BridgeReply, Refusal> {
        let doomed: Vec<&Sa> = self.sas.all().filter(|sa| listing::state_fits(filter, sa)).collect();
        let halves = doomed.iter().filter(|sa| self.is_second_half(sa)).count();
        let mut slots: Vec<_> = doomed.iter().map(|sa| sa.slot).collect();
        if *filter == StateFilter::default() {
            slots.extend(self.larvals.keys().copied());
        }
        self.delete_slots(&slots, now_ns)?;
        let count = u32::try_from(slots.len() - halves).unwrap_or(u32::MAX);
        Ok(BridgeReply::Deleted { count, generation: self.generation() })
    }

    fn delete_policies(
        &mut self,
        gone: impl Fn(&Key, &User) -> bool,
        now_ns: u64,
    ) -> Result<BridgeReply, Refusal> {
        let count = self.flush_policies(gone, now_ns)?;
        Ok(BridgeReply::Deleted { count, generation: self.generation() })
    }
}

/// Returns the key that an operator's words name.
fn key_of(id: &PolicyId) -> Key {
    Key { selector: id.selector, direction: id.direction, if_id: id.if_id, mark: id.mark }
}

/// Returns the user that an operator's policy has.
const fn user_of(spec: &PolicySpec) -> User {
    let PolicySpec { priority, action, .. } = *spec;
    User { owner: OPERATOR, priority, auto_priority: priority, action, spi: 0 }
}

fn refused(change: Option<u32>, refusal: &Refusal) -> BridgeReply {
    BridgeReply::Refused(Refused { change, errno: refusal.errno(), sentence: refusal.to_string() })
}

const STATIC_KEY_WARNING: &str = "static AES-GCM keys: never load a key a second time, its IVs would repeat \
     (RFC 4106 section 2); give each state a fresh key, or replay-oseq above the last number it used";
