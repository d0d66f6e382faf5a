//! Policies as IKE daemons ask for them: add, query, delete, each for one user.

use shm_protocol::ids::{IfId, Owner};
use shm_protocol::messages::plugin::{self, PolicyRef, Status};
use shm_protocol::policy::Action;

use super::{Answer, Usage, ago};
use crate::bridge::Bridge;
use crate::draft::Draft;
use crate::policies::User;
use crate::refusal::Refusal;
use crate::translate;

impl Bridge {
    pub(super) fn add_policy(
        &mut self,
        owner: Owner,
        message: &plugin::Policy,
        resent: bool,
        now_ns: u64,
    ) -> Result<Answer, Refusal> {
        let key = translate::policy_key(&message.id)?;
        let user = translate::policy_user(message, &key, owner)?;
        let mut draft = Draft::default();
        draft.before_policy(self.policies.snapshot(&key));
        if resent {
            // A bridge before this one may have counted this user already; see `Policies::remove`.
            if let Some(change) = self.policies.adopt(&key, &user) {
                draft.put_policy(change);
                self.commit(draft, now_ns)?;
                return Ok(Answer::default());
            }
        }
        let gone = self.sweep.gone();
        let change = self.policies.add(key, user, |owner| gone.contains(&owner))?;
        draft.put_policy(change);
        self.commit(draft, now_ns)?;
        Ok(Answer::default())
    }

    pub(super) fn query_policy(&mut self, message: &PolicyRef, now_ns: u64) -> Result<Answer, Refusal> {
        let key = translate::policy_key(&message.id)?;
        let policy = self.policies.get(&key).ok_or(Refusal::NoPolicy)?;
        let last_use_ns = match policy.action {
            Action::Protect(template) => {
                let fitting = self.sas.fitting(&template, key.if_id);
                fitting.filter_map(|sa| self.usage(sa)).map(|used| used.last_use_ns).max().unwrap_or(0)
            }
            Action::Pass | Action::Discard => 0,
        };
        let last_use_ago_ns = ago(last_use_ns, now_ns);
        let usage = Usage { octets: 0, packets: 0, last_use_ago_ns };
        Ok(Answer { usage: Some(usage), ..Answer::default() })
    }

    pub(super) fn del_policy(
        &mut self,
        owner: Owner,
        message: &plugin::Policy,
        resent: bool,
        now_ns: u64,
    ) -> Result<Answer, Refusal> {
        let key = translate::policy_key(&message.id)?;
        let user = translate::policy_user(message, &key, owner)?;
        let mut draft = Draft::default();
        draft.before_policy(self.policies.snapshot(&key));
        // Sent again after a restart it may have been done: the one user left may be the successor's.
        let spare_last = resent && self.has_successor(&user, key.if_id);
        match self.policies.remove(&key, &user, spare_last) {
            Some(change) => {
                draft.put_policy(change);
                self.commit(draft, now_ns)?;
                Ok(Answer::default())
            }
            None => Ok(Answer { status: Some(Status::NotFound), ..Answer::default() }),
        }
    }

    fn has_successor(&self, user: &User, if_id: IfId) -> bool {
        match user.action {
            Action::Protect(template) => {
                self.sas.fitting(&template, if_id).any(|sa| sa.owner == user.owner && sa.spi.0 != user.spi)
            }
            Action::Pass | Action::Discard => false,
        }
    }
}
