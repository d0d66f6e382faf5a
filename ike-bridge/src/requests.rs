//! Requests that were answered, and those that wait for the engine: a plugin that lost its connection sends a
//! request again under the same id and gets the same answer, without anything being done twice.

use std::collections::{HashMap, HashSet, VecDeque};

use shm_protocol::ids::{Generation, Owner};
use shm_protocol::messages::plugin::Reply;

use crate::bridge::ClientId;
use crate::sas::Identity;

/// Names a request: ids are unique within one daemon process.
pub type Key = (Owner, u64);

/// An SA whose acknowledgement waits for the engine.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Where the answer goes: to the connection that asked last.
    pub client: ClientId,
    /// The answer.
    pub reply: Box<Reply>,
    /// What the engine must have adopted.
    pub generation: Generation,
    /// When the answer goes in any case. CLOCK_BOOTTIME.
    pub deadline_ns: u64,
}

/// The memory of requests.
#[derive(Debug, Default)]
pub struct Requests {
    answered: HashMap<Key, Box<Reply>>,
    order: VecDeque<Key>,
    waiting: HashMap<Key, Waiting>,
    /// Adds that were refused: the delete that charon sends next must hit nothing.
    refused: VecDeque<Identity>,
}

impl Requests {
    /// Returns the answer a request got before.
    pub fn answered(&self, key: &Key) -> Option<&Reply> {
        self.answered.get(key).map(Box::as_ref)
    }

    /// Sends the answer of a waiting request to `client` instead. Returns false when it does not wait.
    pub fn redirect(&mut self, key: &Key, client: ClientId) -> bool {
        self.waiting.get_mut(key).map(|waiting| waiting.client = client).is_some()
    }

    /// Remembers an answer.
    pub fn remember(&mut self, key: Key, reply: Box<Reply>) {
        if self.answered.insert(key, reply).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.answered.remove(&oldest);
        }
    }

    /// Makes a request wait.
    pub fn wait(&mut self, key: Key, waiting: Waiting) {
        self.waiting.insert(key, waiting);
    }

    /// Returns true while a request waits.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns what need not wait any more: adopted, or waited for long enough.
    pub fn ready(&mut self, adopted: Option<Generation>, now_ns: u64) -> Vec<(Key, Waiting)> {
        let is_ready = |waiting: &Waiting| {
            waiting.deadline_ns <= now_ns || adopted.is_some_and(|adopted| adopted >= waiting.generation)
        };
        let keys: Vec<Key> =
            self.waiting.iter().filter(|(_, waiting)| is_ready(waiting)).map(|(key, _)| *key).collect();
        let mut ready: Vec<(Key, Waiting)> =
            keys.into_iter().filter_map(|key| self.waiting.remove(&key).map(|w| (key, w))).collect();
        ready.sort_by_key(|(_, waiting)| waiting.generation);
        ready
    }

    /// Notes that adding an SA under this name was refused.
    pub fn note_refused(&mut self, id: Identity) {
        if self.refused.len() >= REFUSED_REMEMBERED {
            self.refused.pop_front();
        }
        self.refused.push_back(id);
    }

    /// Returns true when a delete under this name is for an SA that was refused; once for each refusal.
    pub fn take_refused(&mut self, id: &Identity) -> bool {
        let at = self.refused.iter().rposition(|refused| refused == id);
        at.and_then(|at| self.refused.remove(at)).is_some()
    }

    /// Forgets everything about owners other than `keep` among `owners`.
    pub fn forget(&mut self, owners: &HashSet<Owner>) {
        self.order.retain(|(owner, _)| !owners.contains(owner));
        self.answered.retain(|(owner, _), _| !owners.contains(owner));
        self.waiting.retain(|(owner, _), _| !owners.contains(owner));
        self.refused.retain(|id| !owners.contains(&id.owner));
    }
}

const REMEMBERED: usize = 4096;
const REFUSED_REMEMBERED: usize = 256;

#[cfg(test)]
mod tests {
    use shm_protocol::messages::plugin::Status;

    use super::*;

    fn reply(id: u64) -> Box<Reply> {
        Box::new(Reply::new(id, Status::Success))
    }

    #[test]
    fn an_answer_is_remembered_for_its_owner_only() {
        let mut requests = Requests::default();
        requests.remember((Owner(1), 5), reply(5));
        assert!(requests.answered(&(Owner(1), 5)).is_some());
        assert!(requests.answered(&(Owner(2), 5)).is_none());
    }

    #[test]
    fn the_memory_is_bounded_and_drops_the_oldest() {
        let mut requests = Requests::default();
        for id in 0..=REMEMBERED as u64 {
            requests.remember((Owner(1), id), reply(id));
        }
        assert!(requests.answered(&(Owner(1), 0)).is_none());
        assert!(requests.answered(&(Owner(1), 1)).is_some());
    }

    #[test]
    fn a_waiting_answer_goes_at_adoption_or_at_its_deadline() {
        let mut requests = Requests::default();
        let waiting = |generation, deadline_ns| Waiting {
            client: ClientId(1),
            reply: reply(1),
            generation: Generation(generation),
            deadline_ns,
        };
        requests.wait((Owner(1), 1), waiting(7, 100));
        requests.wait((Owner(1), 2), waiting(8, 100));
        assert!(requests.ready(Some(Generation(6)), 99).is_empty());
        assert_eq!(requests.ready(Some(Generation(7)), 99).len(), 1);
        assert!(requests.redirect(&(Owner(1), 2), ClientId(9)));
        let ready = requests.ready(None, 100);
        assert_eq!(ready[0].1.client, ClientId(9));
        assert!(!requests.is_waiting());
    }
}
