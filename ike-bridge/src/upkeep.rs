//! What the bridge does by itself: expiries, the sweep, events of the engine, and the loss of a segment.

use shm_protocol::ids::{InstanceId, Owner, Slot};
use shm_protocol::live::{self, EventKind, Events, LiveReader};
use shm_protocol::messages::plugin::{Event, Host, Ports, Range, TrafficSelector};
use shm_protocol::policy::{Action, PolicyDirection};
use shm_protocol::sa::{Direction, Sa};
use shm_protocol::sad::{MAX_CHANGES, Transaction};

use crate::bridge::{Bridge, Output};
use crate::draft::Draft;
use crate::lifetime::{self, Due};
use crate::policies::{Key, User};
use crate::refusal::Refusal;

impl Bridge {
    /// Returns when `tick` is next wanted for a deadline. CLOCK_BOOTTIME.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.sas.next_deadline_ns()
    }

    /// Recomputes everything from the segments; once a second.
    pub fn tick(&mut self, now_ns: u64) {
        self.follow_live(now_ns);
        self.read_events(now_ns);
        let is_due = |sa: &&Sa| !matches!(self.due(sa, now_ns), Due::Nothing);
        let due: Vec<Slot> = self.sas.counting().filter(is_due).map(|sa| sa.slot).collect();
        self.expire(&due, now_ns);
        self.expire_due(now_ns);
        self.expire_reservations(now_ns);
        self.run_sweep(now_ns);
    }

    /// Raises what is due by time; when a deadline has come.
    pub fn expire_due(&mut self, now_ns: u64) {
        let due = self.sas.past_deadline(now_ns);
        self.expire(&due, now_ns);
    }

    /// Reads what the engine has raised; when it says so, and once a second.
    pub fn read_events(&mut self, now_ns: u64) {
        let Some(live) = &self.live else { return };
        let (mut cursor, mut events) = (self.events, Vec::new());
        let complete = live.events(&mut cursor, &mut events);
        self.events = cursor;
        if complete == Events::Lapped {
            tracing::warn!("events of the engine were missed; limits are recomputed, acquires may be late");
        }
        for event in &events {
            self.follow(event, now_ns);
        }
    }

    fn follow(&mut self, event: &live::Event, now_ns: u64) {
        match event.kind {
            EventKind::SoftOctets | EventKind::SoftPackets | EventKind::SeqSoft => {
                let slot = event.sa.map(|(slot, _)| slot);
                self.expire(slot.as_slice(), now_ns);
            }
            EventKind::HardOctets | EventKind::HardPackets | EventKind::SeqHard => {
                // The engine has stopped using it, whatever the counters say by now.
                let named = event.sa.and_then(|(slot, uid)| self.sas.get(slot).filter(|sa| sa.uid == uid));
                if let Some(sa) = named.cloned() {
                    tracing::warn!("SA {} to {} reached a hard limit and ends", sa.spi, sa.dst);
                    self.end(&[sa], now_ns);
                }
            }
            EventKind::Acquire => self.acquire(event),
            EventKind::Mapping => self.mapping(event),
        }
    }

    fn acquire(&mut self, event: &live::Event) {
        let (Some(slot), Some(flow)) = (event.policy, event.flow) else { return };
        let Some(policy) = self.policies.at(slot).filter(|policy| policy.direction == PolicyDirection::Out)
        else {
            return;
        };
        let Action::Protect(template) = policy.action else { return };
        let side = |ip, port: u16| {
            let ports = Ports::Range(port, if port == 0 { u16::MAX } else { port });
            TrafficSelector::new(&Range { from: ip, to: ip, proto: flow.proto, ports })
        };
        let event = Event::acquire(template.reqid, side(flow.src, flow.sport), side(flow.dst, flow.dport));
        self.emit(Output::Event(policy.owner, event));
    }

    fn mapping(&mut self, event: &live::Event) {
        let (Some((slot, uid)), Some(flow)) = (event.sa, event.flow) else { return };
        let Some(sa) = self.sas.get(slot).filter(|sa| sa.uid == uid && sa.direction == Direction::In) else {
            return;
        };
        let port = sa.encap.map_or(0, |ports| ports.dport);
        let (dst, remote) = (Host::new(sa.dst, port), Host::new(flow.src, flow.sport));
        let output = Output::Event(sa.owner, Event::mapping(sa.spi.0, dst, remote));
        self.emit(output);
    }

    fn due(&self, sa: &Sa, now_ns: u64) -> Due {
        lifetime::due(sa, self.usage(sa).unwrap_or_default(), now_ns)
    }

    /// Tells owners of soft limits reached and ends SAs at their hard limits.
    fn expire(&mut self, slots: &[Slot], now_ns: u64) {
        let mut ended = Vec::new();
        for &slot in slots {
            let Some(sa) = self.sas.get(slot) else { continue };
            match self.due(sa, now_ns) {
                Due::Nothing => {}
                Due::Soft(cause) => {
                    let sa = sa.clone();
                    if self.sas.tell_soft(slot) {
                        tracing::info!("SA {} to {} reached its soft {cause} limit", sa.spi, sa.dst);
                        self.emit_expire(&sa, false);
                    }
                }
                Due::Hard(cause) => {
                    tracing::warn!("SA {} to {} reached its hard {cause} limit and ends", sa.spi, sa.dst);
                    ended.push(sa.clone());
                }
            }
        }
        self.end(&ended, now_ns);
    }

    /// Removes SAs and then tells their owners that they are gone.
    fn end(&mut self, ended: &[Sa], now_ns: u64) {
        let slots: Vec<Slot> = ended.iter().map(|sa| sa.slot).collect();
        // An SA that could not be removed now is found again by the next tick.
        if self.delete_slots(&slots, now_ns).is_ok() {
            for sa in ended {
                self.emit_expire(sa, true);
            }
        }
    }

    fn expire_reservations(&mut self, now_ns: u64) {
        let expired = self.spis.expire(now_ns);
        for slots in expired.chunks(MAX_CHANGES) {
            let mut empty = Transaction::new();
            for &slot in slots {
                self.larvals.remove(&slot);
                empty.remove_sa(slot, now_ns);
            }
            if let Err(error) = self.sad.commit(&empty, std::time::Duration::from_millis(500)) {
                tracing::warn!("expired reservations stay in the segment until the next start: {error}");
            }
        }
    }

    /// Empties the slots of SAs or reservations, in as few generations as possible.
    pub(crate) fn delete_slots(&mut self, slots: &[Slot], now_ns: u64) -> Result<(), Refusal> {
        for slots in slots.chunks(MAX_CHANGES) {
            let mut draft = Draft::default();
            for &slot in slots {
                draft.remove(&mut self.books(), slot, now_ns);
            }
            self.commit(draft, now_ns)?;
            for slot in slots {
                self.larvals.remove(slot);
                self.sweep.removed(*slot);
            }
        }
        Ok(())
    }

    /// Deletes every SA that `gone` names. Returns how many.
    pub(crate) fn flush_sas(&mut self, gone: impl Fn(&Sa) -> bool, now_ns: u64) -> Result<u32, Refusal> {
        let slots: Vec<Slot> = self.sas.all().filter(|sa| gone(sa)).map(|sa| sa.slot).collect();
        self.delete_slots(&slots, now_ns)?;
        Ok(u32::try_from(slots.len()).unwrap_or(u32::MAX))
    }

    /// Removes every policy user that `gone` names. Returns how many policies changed.
    pub(crate) fn flush_policies(
        &mut self,
        gone: impl Fn(&Key, &User) -> bool,
        now_ns: u64,
    ) -> Result<u32, Refusal> {
        let keys = self.policies.keys_with(&gone);
        for keys in keys.chunks(MAX_CHANGES) {
            let mut draft = Draft::default();
            for key in keys {
                draft.before_policy(self.policies.snapshot(key));
                if let Some(change) = self.policies.remove_users(key, |user| gone(key, user)) {
                    draft.put_policy(change);
                }
            }
            self.commit(draft, now_ns)?;
        }
        Ok(u32::try_from(keys.len()).unwrap_or(u32::MAX))
    }

    fn run_sweep(&mut self, now_ns: u64) {
        if self.sweep.is_idle() {
            return;
        }
        let due: Vec<Slot> = self
            .sas
            .all()
            .filter(|sa| self.sweep.is_gone(sa.owner))
            .filter(|sa| self.sweep.is_due(sa, self.last_inbound_ns(sa), now_ns))
            .map(|sa| sa.slot)
            .collect();
        if !due.is_empty() && self.delete_slots(&due, now_ns).is_ok() {
            tracing::info!("swept {} SAs of an IKE daemon that is gone", due.len());
        }
        let doomed: std::collections::HashSet<(Key, Owner)> = self
            .policies
            .users()
            .filter(|&(key, owner)| self.sweep.is_policy_due(owner, self.has_sa(&key, owner), now_ns))
            .collect();
        let is_doomed = |key: &Key, user: &User| doomed.contains(&(*key, user.owner));
        if !doomed.is_empty() && self.flush_policies(is_doomed, now_ns).is_ok() {
            tracing::info!("swept {} policies of an IKE daemon that is gone", doomed.len());
        }
        let left: std::collections::HashSet<Owner> =
            self.sas.all().map(|sa| sa.owner).chain(self.policies.owners()).collect();
        self.sweep.retain(|owner| left.contains(&owner));
    }

    /// When the tunnel of `sa` last had an authenticated packet.
    fn last_inbound_ns(&self, sa: &Sa) -> u64 {
        let inbound = self.sas.with_reqid(sa.reqid).filter(|other| {
            let same_way = (other.src, other.dst) == (sa.src, sa.dst);
            let other_way = (other.src, other.dst) == (sa.dst, sa.src);
            other.direction == Direction::In && other.owner == sa.owner && (same_way || other_way)
        });
        inbound.filter_map(|other| self.usage(other)).map(|used| used.last_use_ns).max().unwrap_or(0)
    }

    fn has_sa(&self, key: &Key, owner: Owner) -> bool {
        match self.policies.get(key).map(|policy| policy.action) {
            Some(Action::Protect(template)) => {
                self.sas.fitting(&template, key.if_id).any(|sa| sa.owner == owner)
            }
            Some(Action::Pass | Action::Discard) | None => false,
        }
    }

    /// Looks which `live` segment there is; SAs whose numbers were lost with another one end.
    pub fn follow_live(&mut self, now_ns: u64) {
        if self.live.as_ref().is_some_and(|live| !live.is_current()) {
            self.live = None;
        }
        if self.live.is_none()
            && let Ok(live) = LiveReader::attach(&self.dir)
        {
            self.events = live.event_cursor();
            self.live = Some(live);
        }
        let known = self.sad.reader().instance();
        match self.live.as_ref().map(LiveReader::instance) {
            Some(found) if found != known => self.change_instance(known, found, now_ns),
            // Numbers that are lost are lost whether or not an engine has noticed; the next one makes a new
            // segment, and the IKE daemons need not wait for it.
            None if !known.is_none() && self.is_live_lost() => {
                self.change_instance(known, InstanceId::NONE, now_ns);
            }
            Some(_) | None => {}
        }
    }

    fn is_live_lost(&self) -> bool {
        matches!(
            LiveReader::attach(&self.dir),
            Err(shm_protocol::Error::Missing { .. } | shm_protocol::Error::OtherBoot { .. })
        )
    }

    fn change_instance(&mut self, known: InstanceId, found: InstanceId, now_ns: u64) {
        // SAs installed before any engine came have used no number yet: they may run on the first segment.
        if !known.is_none() && !self.sas.is_empty() {
            tracing::warn!(
                "the segment with the sequence numbers is not the one of {} SAs: they end, IKE negotiates anew",
                self.sas.len()
            );
            let all: Vec<Sa> = self.sas.all().cloned().collect();
            for some in all.chunks(MAX_CHANGES) {
                self.end(some, now_ns);
            }
        }
        let mut change = Transaction::new();
        change.set_instance(found);
        match self.sad.commit(&change, std::time::Duration::from_millis(500)) {
            Ok(_) => {
                tracing::info!("SAs run on live segment {found}");
                self.emit(Output::SegmentChanged { load: false });
            }
            Err(error) => tracing::error!("live segment {found} is not used yet: {error}"),
        }
    }
}

/// Returns the words for an owner in listings and logs.
pub fn owner_name(owner: Owner) -> String {
    if owner == crate::owner::OPERATOR {
        "manual".to_owned()
    } else {
        format!("charon {}", crate::owner::pid(owner))
    }
}
