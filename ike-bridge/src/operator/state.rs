//! Adding, changing and deleting states in the words of `ip xfrm state`.

use shm_protocol::ids::{SaUid, Slot, Spi};
use shm_protocol::messages::control::{LifetimeSpec, StateFlags, StateId, StateSpec};
use shm_protocol::sa::{
    CopyDscp, Direction, HeaderRules, Initial, Limit, Limits, MAX_WINDOW_PKTS, Sa, Selectors, TfcPad,
};
use shm_protocol::selector::Family;

use super::IsLocal;
use crate::bridge::{Bridge, random_uid};
use crate::draft::Draft;
use crate::owner::OPERATOR;
use crate::refusal::Refusal;
use crate::translate;

impl Bridge {
    pub(super) fn add_state(
        &mut self,
        draft: &mut Draft,
        spec: &StateSpec,
        is_local: IsLocal<'_>,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        for &direction in directions(spec, is_local) {
            let mut sa = record(spec, direction, random_uid()?, now_ns)?;
            if self.sas.twin(&sa).is_some() {
                return Err(Refusal::Exists { spi: sa.spi, dst: sa.dst });
            }
            self.place(draft, &mut sa, now_ns)?;
            draft.put_sa(&mut self.books(), sa);
        }
        Ok(())
    }

    pub(super) fn update_state(
        &mut self,
        draft: &mut Draft,
        spec: &StateSpec,
        is_local: IsLocal<'_>,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        let id = StateId { src: Some(spec.src), dst: spec.dst, spi: spec.spi, mark: spec.mark };
        let slots = self.named(&id);
        if slots.is_empty() {
            // As in Linux an update turns what `allocspi` reserved into a state.
            return if self.spis.is_larval(spec.spi) {
                self.add_state(draft, spec, is_local, now_ns)
            } else {
                Err(Refusal::NoSa { spi: spec.spi, dst: spec.dst })
            };
        }
        for slot in slots {
            let old = self.with_key(draft, slot)?;
            if spec.flags.esn != old.esn {
                return Err(Refusal::Frozen("flag esn"));
            }
            if spec.aead.key_and_salt.is_some() && keying(spec)? != old.keying {
                return Err(Refusal::Frozen("key"));
            }
            let mut new = Sa {
                encap: spec.encap,
                limits: limits(&spec.limits, old.installed_ns)?,
                headers: header_rules(spec.flags),
                tfc_pad: padding(spec.tfc_pad_octets)?,
                set_mark: spec.set_mark,
                reqid: spec.reqid,
                if_id: spec.if_id,
                ..old
            };
            new.selectors = selectors(spec)?;
            draft.put_sa(&mut self.books(), new);
        }
        Ok(())
    }

    pub(super) fn delete_state(
        &mut self,
        draft: &mut Draft,
        id: &StateId,
        now_ns: u64,
    ) -> Result<(), Refusal> {
        let mut slots = self.named(id);
        if slots.is_empty()
            && let Some(larval) = self.larvals.get(&Slot::of(id.spi))
            && larval.spi == id.spi
            && larval.dst == id.dst
        {
            slots.push(larval.slot);
        }
        if slots.is_empty() {
            return Err(Refusal::NoSa { spi: id.spi, dst: id.dst });
        }
        for slot in slots {
            draft.remove(&mut self.books(), slot, now_ns);
        }
        Ok(())
    }

    /// Returns the slots of the states that `id` names: one, or the two halves of one.
    pub(super) fn named(&self, id: &StateId) -> Vec<Slot> {
        let fits =
            |sa: &&Sa| sa.dst == id.dst && id.src.is_none_or(|src| sa.src == src) && sa.mark == id.mark;
        self.sas.with_spi(id.spi).filter(fits).map(|sa| sa.slot).collect()
    }
}

fn directions(spec: &StateSpec, is_local: IsLocal<'_>) -> &'static [Direction] {
    match spec.dir {
        Some(Direction::In) => &[Direction::In],
        Some(Direction::Out) => &[Direction::Out],
        None => match (is_local(spec.src), is_local(spec.dst)) {
            (false, true) => &[Direction::In],
            (true, false) => &[Direction::Out],
            (true, true) | (false, false) => &[Direction::In, Direction::Out],
        },
    }
}

fn record(spec: &StateSpec, direction: Direction, uid: SaUid, now_ns: u64) -> Result<Sa, Refusal> {
    if Family::of(spec.src) != Family::of(spec.dst) {
        return Err(Refusal::Families(spec.src, spec.dst));
    }
    if spec.replay_window_pkts > MAX_WINDOW_PKTS {
        return Err(Refusal::Window { pkts: spec.replay_window_pkts });
    }
    Ok(Sa {
        slot: Slot::of(Spi(0)),
        direction,
        owner: OPERATOR,
        uid,
        spi: spec.spi,
        foreign: false,
        if_id: spec.if_id,
        src: spec.src,
        dst: spec.dst,
        reqid: spec.reqid,
        mode: spec.mode,
        keying: keying(spec)?,
        esn: spec.flags.esn,
        replay_window_pkts: spec.replay_window_pkts,
        encap: spec.encap,
        selectors: selectors(spec)?,
        limits: limits(&spec.limits, now_ns)?,
        initial: Initial { oseq: spec.replay_oseq, iseq_top: spec.replay_seq },
        headers: header_rules(spec.flags),
        tfc_pad: padding(spec.tfc_pad_octets)?,
        mark: spec.mark,
        set_mark: spec.set_mark,
        cpu: None,
        installed_ns: now_ns,
    })
}

fn keying(spec: &StateSpec) -> Result<shm_protocol::sa::Keying, Refusal> {
    if spec.aead.name != "rfc4106(gcm(aes))" || spec.aead.icv_bits != 128 {
        return Err(Refusal::Algorithm);
    }
    translate::keying(spec.aead.key_and_salt.as_ref().ok_or(Refusal::NoKey)?.expose())
}

fn selectors(spec: &StateSpec) -> Result<Selectors, Refusal> {
    Selectors::new(&spec.selectors).ok_or(Refusal::Selectors { count: spec.selectors.len() })
}

fn limits(spec: &LifetimeSpec, installed_ns: u64) -> Result<Limits, Refusal> {
    if spec.use_seconds != Limit::default() {
        return Err(Refusal::UseLimits);
    }
    let at = |seconds: Option<u64>| {
        seconds.map_or(0, |s| installed_ns.saturating_add(s.saturating_mul(1_000_000_000)))
    };
    let deadline_ns = Limit::new(at(spec.time_seconds.soft()), at(spec.time_seconds.hard()));
    Ok(Limits { deadline_ns, octets: spec.octets, packets: spec.packets })
}

fn header_rules(flags: StateFlags) -> HeaderRules {
    let copy_dscp = match (flags.dont_encap_dscp, flags.decap_dscp) {
        (false, false) => CopyDscp::OutOnly,
        (false, true) => CopyDscp::Yes,
        (true, true) => CopyDscp::InOnly,
        (true, false) => CopyDscp::No,
    };
    HeaderRules { copy_df: !flags.nopmtudisc, copy_ecn: !flags.noecn, copy_dscp }
}

fn padding(octets: u32) -> Result<TfcPad, Refusal> {
    match octets {
        0 => Ok(TfcPad::Off),
        u32::MAX => Ok(TfcPad::Mtu),
        octets => u16::try_from(octets).map(TfcPad::Octets).map_err(|_| Refusal::Padding { octets }),
    }
}
