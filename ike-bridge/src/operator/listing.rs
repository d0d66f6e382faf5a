//! Listings: states and policies as `ip xfrm` shows them, a page at a time.

use shm_protocol::ids::{PolicySlot, Slot};
use shm_protocol::messages::control::{
    AeadSpec, BridgeReply, Cursor, LifetimeSpec, PolicyFilter, PolicyId, PolicyInfo, PolicySpec, StateFilter,
    StateFlags, StateId, StateInfo, StateSpec, StateUsage,
};
use shm_protocol::policy::Policy;
use shm_protocol::sa::{CopyDscp, Direction, Larval, Limit, Mark, Mode, Occupant, Sa, TfcPad};
use shm_protocol::secret::SecretKey;

use super::key_of;
use crate::bridge::Bridge;
use crate::policies::Key;
use crate::refusal::Refusal;
use crate::upkeep::owner_name;

impl Bridge {
    pub(super) fn get_state(
        &self,
        id: &StateId,
        show_keys: bool,
        now_ns: u64,
    ) -> Result<BridgeReply, Refusal> {
        let slots = self.named(id);
        let sa = slots.iter().filter_map(|&slot| self.sas.get(slot)).find(|sa| !self.is_second_half(sa));
        let sa = sa.ok_or(Refusal::NoSa { spi: id.spi, dst: id.dst })?;
        Ok(BridgeReply::State(Box::new(self.state_info(sa, show_keys, now_ns))))
    }

    pub(super) fn list_states(
        &self,
        filter: &StateFilter,
        cursor: Cursor,
        show_keys: bool,
        now_ns: u64,
    ) -> BridgeReply {
        let sas = self.sas.from(cursor.0).filter(|sa| state_fits(filter, sa));
        let mut sas = sas.filter(|sa| !self.is_second_half(sa)).peekable();
        let first = Slot::new(cursor.0).into_iter().flat_map(|from| self.larvals.range(from..));
        let mut larvals =
            first.map(|(_, larval)| larval).filter(|larval| larval_fits(filter, larval)).peekable();
        let mut page: Vec<StateInfo> = Vec::new();
        loop {
            let (sa, larval) = (sas.peek().map(|sa| sa.slot), larvals.peek().map(|larval| larval.slot));
            let Some(next) = sa.into_iter().chain(larval).min() else {
                return BridgeReply::States { page, next: None };
            };
            if page.len() >= STATES_PER_PAGE {
                return BridgeReply::States { page, next: Some(Cursor(next.index())) };
            }
            if sa == Some(next) {
                page.extend(sas.next().map(|sa| self.state_info(sa, show_keys, now_ns)));
            } else {
                page.extend(larvals.next().map(|larval| larval_info(larval, now_ns)));
            }
        }
    }

    pub(super) fn count_states(&self) -> BridgeReply {
        let whole = self.sas.all().filter(|sa| !self.is_second_half(sa)).count();
        let count = u32::try_from(whole + self.larvals.len()).unwrap_or(u32::MAX);
        BridgeReply::Count { count, capacity: self.capacity }
    }

    /// Returns true for the outbound half of a state that an operator installed without a direction.
    pub(super) fn is_second_half(&self, sa: &Sa) -> bool {
        sa.direction == Direction::Out && self.other_half(sa).is_some()
    }

    fn other_half(&self, sa: &Sa) -> Option<&Sa> {
        self.sas.with_spi(sa.spi).find(|other| {
            other.direction != sa.direction
                && (other.foreign || sa.foreign)
                && (other.src, other.dst, other.owner, other.installed_ns)
                    == (sa.src, sa.dst, sa.owner, sa.installed_ns)
        })
    }

    fn state_info(&self, sa: &Sa, show_keys: bool, now_ns: u64) -> StateInfo {
        let half = self.other_half(sa);
        let mut usage = self.state_usage(sa, now_ns);
        if let Some(other) = half.and_then(|half| self.state_usage(half, now_ns)) {
            let mut sum = usage.unwrap_or(other);
            if usage.is_some() {
                sum.octets += other.octets;
                sum.packets += other.packets;
                sum.oseq = sum.oseq.max(other.oseq);
                sum.seq = sum.seq.max(other.seq);
                sum.last_use_ago_seconds =
                    [sum.last_use_ago_seconds, other.last_use_ago_seconds].into_iter().flatten().min();
            }
            usage = Some(sum);
        }
        let mut spec = state_spec(sa);
        if half.is_some() {
            spec.dir = None;
        }
        if show_keys && let Ok(Occupant::Sa(full)) = self.sad.reader().sa(sa.slot).map(|slot| slot.occupant) {
            let mut material = zeroize::Zeroizing::new(full.keying.key().expose().to_vec());
            material.extend_from_slice(&full.keying.salt().expose());
            spec.aead.key_and_salt = SecretKey::new(&material);
        }
        StateInfo { spec, larval: false, slot: sa.slot.index(), owner: owner_name(sa.owner), usage }
    }

    fn state_usage(&self, sa: &Sa, now_ns: u64) -> Option<StateUsage> {
        let ago = |then_ns: u64| now_ns.saturating_sub(then_ns) / 1_000_000_000;
        let used = self.usage(sa)?;
        Some(StateUsage {
            octets: used.octets,
            packets: used.packets,
            oseq: used.oseq,
            seq: used.iseq_top,
            bitmap: used.bitmap,
            err_replay: used.err_replay,
            err_too_old: used.err_too_old,
            err_integrity: used.err_integrity,
            installed_ago_seconds: ago(sa.installed_ns),
            last_use_ago_seconds: (used.last_use_ns != 0).then(|| ago(used.last_use_ns)),
        })
    }

    pub(super) fn get_policy(&self, id: &PolicyId) -> Result<BridgeReply, Refusal> {
        let policy = self.policies.get(&key_of(id)).ok_or(Refusal::NoPolicy)?;
        Ok(BridgeReply::Policy(Box::new(policy_info(&policy))))
    }

    pub(super) fn list_policies(&self, filter: &PolicyFilter, cursor: Cursor) -> BridgeReply {
        let from = PolicySlot::new(cursor.0);
        let mut all = from
            .into_iter()
            .flat_map(|from| self.policies.from(from))
            .filter(|policy| policy_fits(filter, &crate::policies::key_of(policy), policy.priority));
        let page = all.by_ref().take(POLICIES_PER_PAGE).map(|policy| policy_info(&policy)).collect();
        BridgeReply::Policies { page, next: all.next().map(|policy| Cursor(policy.slot.index())) }
    }

    pub(super) fn count_policies(&self) -> BridgeReply {
        let count = u32::try_from(self.policies.len()).unwrap_or(u32::MAX);
        BridgeReply::Count { count, capacity: self.capacity.saturating_mul(2) }
    }
}

/// Returns true when the words of `filter` fit `sa`.
pub(super) fn state_fits(filter: &StateFilter, sa: &Sa) -> bool {
    fits(filter.src, sa.src)
        && fits(filter.dst, sa.dst)
        && fits(filter.spi, sa.spi)
        && fits(filter.mode, sa.mode)
        && fits(filter.reqid, sa.reqid)
        && fits(filter.if_id, sa.if_id)
}

fn larval_fits(filter: &StateFilter, larval: &Larval) -> bool {
    filter.src.is_none()
        && filter.if_id.is_none()
        && fits(filter.dst, larval.dst)
        && fits(filter.spi, larval.spi)
        && fits(filter.reqid, larval.reqid)
}

/// Returns true when the words of `filter` fit a policy.
pub(super) fn policy_fits(filter: &PolicyFilter, key: &Key, priority: u32) -> bool {
    fits(filter.direction, key.direction)
        && fits(filter.selector, key.selector)
        && fits(filter.priority, priority)
        && fits(filter.if_id, key.if_id)
}

fn fits<T: PartialEq>(wanted: Option<T>, value: T) -> bool {
    wanted.is_none_or(|wanted| wanted == value)
}

fn policy_info(policy: &Policy) -> PolicyInfo {
    let Policy { direction, selector, if_id, mark, .. } = *policy;
    let id = PolicyId { direction, selector, if_id, mark };
    PolicyInfo {
        spec: PolicySpec { id, priority: policy.priority, action: policy.action },
        slot: policy.slot.index(),
        owner: owner_name(policy.owner),
        users: policy.users,
    }
}

fn state_spec(sa: &Sa) -> StateSpec {
    let seconds = |deadline: Option<u64>| {
        deadline.map_or(0, |ns| ns.saturating_sub(sa.installed_ns).div_ceil(1_000_000_000))
    };
    let deadline = sa.limits.deadline_ns;
    let copy_dscp = sa.headers.copy_dscp;
    StateSpec {
        src: sa.src,
        dst: sa.dst,
        spi: sa.spi,
        dir: Some(sa.direction),
        mode: sa.mode,
        reqid: sa.reqid,
        aead: AeadSpec { name: "rfc4106(gcm(aes))".to_owned(), key_and_salt: None, icv_bits: 128 },
        flags: StateFlags {
            esn: sa.esn,
            noecn: !sa.headers.copy_ecn,
            decap_dscp: matches!(copy_dscp, CopyDscp::InOnly | CopyDscp::Yes),
            nopmtudisc: !sa.headers.copy_df,
            af_unspec: sa.selectors.is_empty(),
            dont_encap_dscp: matches!(copy_dscp, CopyDscp::InOnly | CopyDscp::No),
        },
        copy_dscp,
        replay_window_pkts: sa.replay_window_pkts,
        replay_seq: sa.initial.iseq_top,
        replay_oseq: sa.initial.oseq,
        encap: sa.encap,
        if_id: sa.if_id,
        mark: sa.mark,
        set_mark: sa.set_mark,
        selectors: sa.selectors.to_vec(),
        limits: LifetimeSpec {
            time_seconds: Limit::new(seconds(deadline.soft()), seconds(deadline.hard())),
            use_seconds: Limit::default(),
            octets: sa.limits.octets,
            packets: sa.limits.packets,
        },
        tfc_pad_octets: match sa.tfc_pad {
            TfcPad::Off => 0,
            TfcPad::Octets(octets) => octets.into(),
            TfcPad::Mtu => u32::MAX,
        },
    }
}

fn larval_info(larval: &Larval, now_ns: u64) -> StateInfo {
    let left = larval.until_ns.saturating_sub(now_ns) / 1_000_000_000;
    let spec = StateSpec {
        src: match larval.dst {
            std::net::IpAddr::V4(_) => [0; 4].into(),
            std::net::IpAddr::V6(_) => [0; 16].into(),
        },
        dst: larval.dst,
        spi: larval.spi,
        dir: Some(Direction::In),
        mode: Mode::Tunnel,
        reqid: larval.reqid,
        aead: AeadSpec { name: String::new(), key_and_salt: None, icv_bits: 0 },
        flags: StateFlags::default(),
        copy_dscp: CopyDscp::OutOnly,
        replay_window_pkts: 0,
        replay_seq: 0,
        replay_oseq: 0,
        encap: None,
        if_id: shm_protocol::ids::IfId(0),
        mark: Mark::default(),
        set_mark: Mark::default(),
        selectors: Vec::new(),
        limits: LifetimeSpec { time_seconds: Limit::new(0, left), ..LifetimeSpec::default() },
        tfc_pad_octets: 0,
    };
    StateInfo { spec, larval: true, slot: larval.slot.index(), owner: owner_name(larval.owner), usage: None }
}

/// A state with four IPv6 selectors takes some 350 octets, so that this many fit into a reply.
const STATES_PER_PAGE: usize = 32;
const POLICIES_PER_PAGE: usize = 64;
