//! SAs as IKE daemons ask for them: reserve, add, move, query, delete.

use std::net::IpAddr;

use shm_protocol::ids::{Owner, Slot, Spi};
use shm_protocol::messages::plugin::{self, AddSa, SaRef, Status, UpdateSa};
use shm_protocol::sa::{Direction, EncapPorts, Larval, Sa};

use super::{Answer, ESP, Usage, ago, endpoint, identity};
use crate::bridge::{Bridge, random_u32, random_uid};
use crate::draft::Draft;
use crate::owner;
use crate::refusal::Refusal;
use crate::sas::Identity;
use crate::translate::{self, Given};

impl Bridge {
    pub(super) fn get_spi(
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
        dst: IpAddr,
        reqid: u32,
        now_ns: u64,
    ) -> Result<Spi, Refusal> {
        let seed = random_u32()?;
        let reserved = self.spis.reserve(now_ns, || seed)?;
        let slot = Slot::of(reserved.spi);
        let larval = Larval { slot, owner, spi: reserved.spi, until_ns: reserved.until_ns, reqid, dst };
        let mut draft = Draft::default();
        draft.put_larval(larval);
        self.commit(draft, now_ns)?;
        self.larvals.insert(slot, larval);
        Ok(reserved.spi)
    }

    pub(super) fn add_sa(
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
        let placeholder = Slot::of(Spi(0));
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
        tracing::info!(
            "adds {} SA {} {} -> {} if_id {}",
            word(sa.direction),
            sa.spi,
            sa.src,
            sa.dst,
            sa.if_id
        );
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

    pub(super) fn update_sa(
        &mut self,
        owner: Owner,
        message: &UpdateSa,
        now_ns: u64,
    ) -> Result<Answer, Refusal> {
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

    pub(super) fn query_sa(&mut self, owner: Owner, message: &SaRef, now_ns: u64) -> Result<Answer, Refusal> {
        let id = identity(owner, &message.id)?;
        let sa = self.sas.find(&id).ok_or(Refusal::NoSa { spi: id.spi, dst: id.dst.ip })?;
        let used = self.usage(sa).unwrap_or_default();
        let last_use_ago_ns = ago(used.last_use_ns, now_ns);
        let usage = Usage { octets: used.octets, packets: used.packets, last_use_ago_ns };
        Ok(Answer { usage: Some(usage), ..Answer::default() })
    }

    pub(super) fn del_sa(&mut self, owner: Owner, message: &SaRef, now_ns: u64) -> Result<Answer, Refusal> {
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
            None if self.is_larval_of(spi, owner) => Slot::of(spi),
            None => return Ok(Answer { status: Some(Status::NotFound), ..Answer::default() }),
        };
        tracing::info!("deletes SA {spi} to {}", id.dst.ip);
        self.delete_slots(&[slot], now_ns)?;
        Ok(Answer::default())
    }

    fn is_larval_of(&self, spi: Spi, owner: Owner) -> bool {
        let larval = self.larvals.get(&Slot::of(spi));
        larval.is_some_and(|larval| larval.spi == spi && larval.owner == owner)
    }
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "inbound",
        Direction::Out => "outbound",
    }
}

const LOWEST_SPI: u32 = 256;
