//! What IKE daemons ask for: each request of the plugin, once, however often it is sent.

mod policy;
mod sa;

use std::collections::HashSet;

use shm_protocol::ids::{Generation, IfId, Owner, Spi};
use shm_protocol::messages::plugin::{self, BadValue, Header, Hello, RESENT, Reply, Request, SaId, Status};

use crate::bridge::{Bridge, ClientId, Output};
use crate::owner::{self, Process};
use crate::refusal::Refusal;
use crate::requests::Waiting;
use crate::sas::{Endpoint, Identity};
use crate::translate;

/// How a request ended, before it is put into a reply.
#[derive(Debug, Default)]
struct Answer {
    spi: Option<Spi>,
    usage: Option<Usage>,
    /// The acknowledgement waits until the engine has this.
    after: Option<Generation>,
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
        let mut left: HashSet<Owner> = self.sas.all().map(|sa| sa.owner).collect();
        left.extend(self.policies.owners());
        left.retain(|&other| other != me && owner::same_daemon(other, me));
        left.retain(|&other| !owner::lives(other, owner::start_ticks));
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

const ESP: u8 = 50;
const ADOPTION_NS: u64 = 100_000_000;
