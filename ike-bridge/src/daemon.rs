//! What IKE daemons ask for: each request of the plugin, once, however often it is sent.

use shm_protocol::ids::{IfId, Owner, Spi};
use shm_protocol::messages::plugin::{
    self, AddSa, BadValue, Header, Hello, PolicyRef, RESENT, Reply, Request, SaId, SaRef, Status, UpdateSa,
};
use shm_protocol::policy::Action;
use shm_protocol::sa::{Direction, EncapPorts, Larval, Sa};

use crate::bridge::{Bridge, ClientId, Output, random_u32, random_uid};
use crate::draft::Draft;
use crate::owner::{self, Process};
use crate::refusal::Refusal;
use crate::requests::Waiting;
use crate::sas::{Endpoint, Identity};
use crate::translate::{self, Given};

/// How a request ended, before it is put into a reply.
#[derive(Debug, Default)]
struct Answer {
    spi: Option<Spi>,
    usage: Option<Usage>,
    /// The acknowledgement waits until the engine has this.
    after: Option<shm_protocol::ids::Generation>,
    status: Option<Status>,
}

#[derive(Clone, Copy, Debug)]
struct Usage {
    octets: u64,
    packets: u64,
    last_use_ago_ns: u64,
}

impl Bridge {
    /// Takes an IKE daemon's hello from the process `pid`. Returns whose its SAs are from now.
    pub fn hello(&mut self, hello: &Hello, pid: u32, now_ns: u64) -> Owner {
        let daemon = plugin::text(&hello.daemon);
        let me = owner::of(&daemon, Process { pid, start_ticks: hello.start_ticks.get() });
        let left: std::collections::HashSet<Owner> = self
            .sas
            .all()
            .map(|sa| sa.owner)
            .chain(self.policies.owners())
            .filter(|&other| other != me && owner::same_daemon(other, me))
            .filter(|&other| !owner::lives(other, owner::start_ticks))
            .collect();
        for &other in &left {
            self.sweep.note_gone(other, now_ns);
        }
        self.requests.forget(&left);
        self.sas.retell_soft(me);
        tracing::info!(
            "{daemon} (process {pid}, strongSwan {}, plugin {}) is connected{}",
            plugin::text(&hello.strongswan),
            plugin::text(&hello.plugin),
            if left.is_empty() { "" } else { "; what an earlier process left will be swept" }
        );
        me
    }

    /// Does what `request` asks, unless it was done before, and puts out its reply.
    pub fn request(
        &mut self,
        client: ClientId,
        owner: Owner,
        header: &Header,
        request: &Request<'_>,
        now_ns: u64,
    ) {
        let key = (owner, header.request_id.get());
        if let Some(reply) = self.requests.answered(&key) {
            let reply = Box::new(*reply);
            return self.emit(Output::Reply(client, reply));
        }
        if self.requests.redirect(&key, client) {
            return;
        }
        let resent = header.flags.get() & RESENT != 0;
        let answer = self.answer(owner, request, resent, now_ns);
        let after = answer.as_ref().ok().and_then(|answer| answer.after);
        let reply = Box::new(reply(key.1, answer, request));
        match after {
            Some(generation) if self.engine_connected => {
                let deadline_ns = now_ns.saturating_add(ADOPTION_NS);
                self.requests.wait(key, Waiting { client, reply, generation, deadline_ns });
            }
            _ => {
                if !matches!(request, Request::QuerySa(_) | Request::QueryPolicy(_)) {
                    self.requests.remember(key, reply.clone());
                }
                self.emit(Output::Reply(client, reply));
            }
        }
    }

    /// Puts out the replies that waited for the engine and need not any more.
    pub fn release_waiting(&mut self, now_ns: u64) {
        let adopted = self.live.as_ref().map(shm_protocol::live::LiveReader::adopted_generation);
        for (key, waiting) in self.requests.ready(adopted, now_ns) {
            self.requests.remember(key, waiting.reply.clone());
            self.emit(Output::Reply(waiting.client, waiting.reply));
        }
    }

    fn answer(
        &mut self,
        owner: Owner,
        request: &Request<'_>,
        resent: bool,
        now_ns: u64,
    ) -> Result<Answer, Refusal> {
        match request {
            Request::Hello(_) => Ok(Answer::default()),
            Request::GetSpi(message) => self.get_spi(owner, message, now_ns),
            Request::AddSa(message) => self.add_sa(owner, message, resent, now_ns),
            Request::UpdateSa(message) => self.update_sa(owner, message, now_ns),
            Request::QuerySa(message) => self.query_sa(owner, message, now_ns),
            Request::DelSa(message) => self.del_sa(owner, message, now_ns),
            Request::FlushSas => self.flush_sas(|sa| sa.owner == owner, now_ns).map(|_| Answer::default()),
            Request::AddPolicy(message) => self.add_policy(owner, message, resent, now_ns),
            Request::QueryPolicy(message) => self.query_policy(message, now_ns),
            Request::DelPolicy(message) => self.del_policy(owner, message, resent, now_ns),
            Request::FlushPolicies => {
                self.flush_policies(|_, user| user.owner == owner, now_ns).map(|_| Answer::default())
            }
        }
    }

    fn get_spi(
        &mut self,
        owner: Owner,
        message: &plugin::GetSpi,
        now_ns: u64,
    ) -> Result<Answer, Refusal> {
        if message.proto != ESP {
            return Err(Refusal::Protocol(message.proto));
        }
        let spi = self.reserve(owner, message.dst.ip()?, 0, now_ns)?;
        Ok(Answer { spi: Some(spi), ..Answer::default() })
    }

    /// Reserves an SPI for `dst` and writes the reservation.
    pub(crate) fn reserve(
        &mut self,
        owner: Owner,
        dst: std::net::IpAddr,
        reqid: u32,
        now_ns: u64,
    ) -> Result<Spi, Refusal> {
        let seed = random_u32()?;
        let reserved = self.spis.reserve(now_ns, || seed)?;
        let slot = shm_protocol::ids::Slot::of(reserved.spi);
        let larval = Larval { slot, owner, spi: reserved.spi, until_ns: reserved.until_ns, reqid, dst };
        let mut draft = Draft::default();
        draft.put_larval(larval);
        self.commit(draft, now_ns)?;
        self.larvals.insert(slot, larval);
        Ok(reserved.spi)
    }

    fn add_sa(
        &mut self,
        owner: Owner,
        message: &AddSa,
        resent: bool,
        now_ns: u64,
    ) -> Result<Answer, Refusal> {
        let id = identity(owner, &message.id)?;
        let added = self.try_add_sa(owner, message, resent, now_ns);
        match &added {
            Ok(_) => while self.requests.take_refused(&id) {},
            Err(_) => self.requests.note_refused(id),
        }
        added
    }

    fn try_add_sa(
        &mut self,
        owner: Owner,
        message: &AddSa,
        resent: bool,
        now_ns: u64,
    ) -> Result<Answer, Refusal> {
        let placeholder = shm_protocol::ids::Slot::of(Spi(0));
        let given = Given { slot: placeholder, uid: random_uid()?, owner, now_ns };
        let mut sa = translate::sa(message, &given)?;
        let mut draft = Draft::default();
        if let Some(twin) = self.sas.twin(&sa) {
            let (slot, twin_owner) = (twin.slot, twin.owner);
            let same = resent && twin_owner == owner && self.with_key(&draft, slot)?.keying == sa.keying;
            if same {
                return Ok(Answer::default());
            }
            let replaces = sa.direction == Direction::Out && self.sweep.is_gone(twin_owner);
            if !replaces || self.with_key(&draft, slot)?.keying == sa.keying {
                return Err(Refusal::Exists { spi: sa.spi, dst: sa.dst });
            }
            draft.remove(&mut self.books(), slot, now_ns);
        }
        match self.place(&mut draft, &mut sa, now_ns) {
            Ok(()) => {}
            Err(refusal) => {
                self.abandon(draft, now_ns);
                return Err(refusal);
            }
        }
        self.supersede(&sa, now_ns);
        let inbound = sa.direction == Direction::In;
        tracing::info!("adds {} SA {} {} -> {} if_id {}", word(sa.direction), sa.spi, sa.src, sa.dst, sa.if_id);
        draft.put_sa(&mut self.books(), sa);
        let generation = self.commit(draft, now_ns)?;
        Ok(Answer { after: inbound.then_some(generation), ..Answer::default() })
    }

    /// Gives a new SA its slot: the one its SPI names if that is ours to give, else any.
    pub(crate) fn place(&mut self, draft: &mut Draft, sa: &mut Sa, now_ns: u64) -> Result<(), Refusal> {
        if sa.direction == Direction::In && sa.spi.high() != 0 && self.spis.is_ours(sa.spi) {
            sa.slot = self.spis.claimable(sa.spi)?;
            draft.claim(sa.spi);
            return Ok(());
        }
        if sa.spi.0 < LOWEST_SPI {
            return Err(Refusal::Spi(sa.spi));
        }
        sa.foreign = sa.direction == Direction::In;
        sa.slot = self.spis.take_slot(now_ns)?;
        draft.took(sa.slot);
        Ok(())
    }

    /// Lets what a gone process left in the place of `new` go soon.
    fn supersede(&mut self, new: &Sa, now_ns: u64) {
        if self.sweep.is_idle() {
            return;
        }
        let fits = |old: &&Sa| {
            self.sweep.is_gone(old.owner)
                && owner::same_daemon(old.owner, new.owner)
                && (old.direction, old.src, old.dst, old.if_id, old.mark)
                    == (new.direction, new.src, new.dst, new.if_id, new.mark)
                && old.selectors == new.selectors
        };
        let old: Vec<_> = self.sas.all().filter(fits).map(|sa| sa.slot).collect();
        for slot in old {
            self.sweep.supersede(slot, now_ns);
        }
    }

    fn update_sa(&mut self, owner: Owner, message: &UpdateSa, now_ns: u64) -> Result<Answer, Refusal> {
        let id = identity(owner, &message.id)?;
        let (src, dst) = (endpoint(&message.new_src)?, endpoint(&message.new_dst)?);
        let not_found = Refusal::NoSa { spi: id.spi, dst: id.dst.ip };
        let slot = match self.sas.find(&id) {
            Some(old) => old.slot,
            // A request sent again after it was done finds the SA at its new place.
            None => self.sas.find(&Identity { src, dst, ..id }).ok_or(not_found)?.slot,
        };
        let mut draft = Draft::default();
        let mut sa = self.with_key(&draft, slot)?;
        if src.ip.is_ipv4() != dst.ip.is_ipv4() {
            return Err(Refusal::Families(src.ip, dst.ip));
        }
        (sa.src, sa.dst) = (src.ip, dst.ip);
        sa.encap = (message.new_encap != 0).then_some(EncapPorts { sport: src.port, dport: dst.port });
        if message.new_reqid.get() != 0 {
            sa.reqid = message.new_reqid.get();
        }
        tracing::info!("moves {} SA {} to {} -> {}", word(sa.direction), sa.spi, sa.src, sa.dst);
        draft.put_sa(&mut self.books(), sa);
        self.commit(draft, now_ns)?;
        Ok(Answer::default())
    }

    fn query_sa(&mut self, owner: Owner, message: &SaRef, now_ns: u64) -> Result<Answer, Refusal> {
        let id = identity(owner, &message.id)?;
        let sa = self.sas.find(&id).ok_or(Refusal::NoSa { spi: id.spi, dst: id.dst.ip })?;
        let used = self.usage(sa).unwrap_or_default();
        let last_use_ago_ns = ago(used.last_use_ns, now_ns);
        let usage = Usage { octets: used.octets, packets: used.packets, last_use_ago_ns };
        Ok(Answer { usage: Some(usage), ..Answer::default() })
    }

    fn del_sa(&mut self, owner: Owner, message: &SaRef, now_ns: u64) -> Result<Answer, Refusal> {
        let spi = Spi(message.id.spi.get());
        if message.id.proto != ESP || spi.0 == 0 {
            // charon gives back an SPI that it never got.
            return Ok(Answer::default());
        }
        let id = identity(owner, &message.id)?;
        if self.requests.take_refused(&id) && !self.is_larval_of(spi, owner) {
            return Ok(Answer::default());
        }
        let slot = match self.sas.find(&id) {
            Some(sa) => sa.slot,
            None if self.is_larval_of(spi, owner) => shm_protocol::ids::Slot::of(spi),
            None => return Ok(Answer { status: Some(Status::NotFound), ..Answer::default() }),
        };
        tracing::info!("deletes SA {spi} to {}", id.dst.ip);
        self.delete_slots(&[slot], now_ns)?;
        Ok(Answer::default())
    }

    fn is_larval_of(&self, spi: Spi, owner: Owner) -> bool {
        let larval = self.larvals.get(&shm_protocol::ids::Slot::of(spi));
        larval.is_some_and(|larval| larval.spi == spi && larval.owner == owner)
    }

    fn add_policy(
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

    fn query_policy(&mut self, message: &PolicyRef, now_ns: u64) -> Result<Answer, Refusal> {
        let key = translate::policy_key(&message.id)?;
        let policy = self.policies.get(&key).ok_or(Refusal::NoPolicy)?;
        let last_use_ns = match policy.action {
            Action::Protect(template) => {
                let fitting = self.sas.fitting(&template, IfId(key.if_id.0));
                fitting.filter_map(|sa| self.usage(sa)).map(|used| used.last_use_ns).max().unwrap_or(0)
            }
            Action::Pass | Action::Discard => 0,
        };
        let last_use_ago_ns = ago(last_use_ns, now_ns);
        let usage = Usage { octets: 0, packets: 0, last_use_ago_ns };
        Ok(Answer { usage: Some(usage), ..Answer::default() })
    }

    fn del_policy(
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

    fn has_successor(&self, user: &crate::policies::User, if_id: IfId) -> bool {
        match user.action {
            Action::Protect(template) => {
                self.sas.fitting(&template, if_id).any(|sa| sa.owner == user.owner && sa.spi.0 != user.spi)
            }
            Action::Pass | Action::Discard => false,
        }
    }
}

fn reply(request_id: u64, answer: Result<Answer, Refusal>, request: &Request<'_>) -> Reply {
    match answer {
        Ok(answer) => {
            let mut reply = Reply::new(request_id, answer.status.unwrap_or(Status::Success));
            reply.spi = answer.spi.map_or(0, |spi| spi.0).into();
            if let Some(usage) = answer.usage {
                reply.octets = usage.octets.into();
                reply.packets = usage.packets.into();
                reply.last_use_ago_ns = usage.last_use_ago_ns.into();
            }
            reply
        }
        Err(refusal) => {
            let status = match (&refusal, request) {
                // charon rekeys only on this answer; any other leaves it with a tunnel that leads nowhere.
                (_, Request::UpdateSa(_)) => Status::NotSupported,
                (Refusal::NoSa { .. } | Refusal::NoPolicy, _) => Status::NotFound,
                _ => Status::Failed,
            };
            if status != Status::NotFound {
                tracing::warn!("refuses request {request_id}: {refusal}");
            }
            Reply::new(request_id, status).with_detail(&refusal.to_string())
        }
    }
}

fn identity(owner: Owner, id: &SaId) -> Result<Identity, BadValue> {
    Ok(Identity {
        owner,
        src: endpoint(&id.src)?,
        dst: endpoint(&id.dst)?,
        spi: Spi(id.spi.get()),
        if_id: IfId(id.if_id.get()),
        mark: translate::mark(id.mark),
    })
}

fn endpoint(host: &plugin::Host) -> Result<Endpoint, BadValue> {
    Ok(Endpoint { ip: host.ip()?, port: host.port.get() })
}

fn ago(then_ns: u64, now_ns: u64) -> u64 {
    if then_ns == 0 { plugin::NEVER_USED } else { now_ns.saturating_sub(then_ns) }
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "inbound",
        Direction::Out => "outbound",
    }
}

const ESP: u8 = 50;
const LOWEST_SPI: u32 = 256;
const ADOPTION_NS: u64 = 100_000_000;
