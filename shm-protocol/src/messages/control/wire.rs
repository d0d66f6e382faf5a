//! States and policies as batches carry them: all numbers of one in one piece, for a piece takes the codec as long as a
//! number does, and a load has hundreds of thousands of changes.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize, Serializer};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::xfrm::{AeadSpec, LifetimeSpec, PolicyId, PolicySpec, StateFlags, StateSpec};
use crate::ids::{IfId, Spi};
use crate::messages::packed::{address, image};
use crate::policy::{Action, PolicyDirection, Template};
use crate::sa::{CopyDscp, Direction, EncapPorts, Limit, Mark, Mode};
use crate::selector::SelectorRecord;

/// A number of a change that it cannot have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field} of a change cannot be {value}")]
pub(super) struct BadNumber {
    field: &'static str,
    value: u8,
}

fn known<T>(field: &'static str, value: u8, read: Option<T>) -> Result<T, BadNumber> {
    read.ok_or(BadNumber { field, value })
}

fn mode(octet: u8) -> Result<Mode, BadNumber> {
    known("mode", octet, (octet == Mode::Tunnel as u8).then_some(Mode::Tunnel))
}

/// The numbers of a policy.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct PolicyNumbers {
    direction: u8,
    action: u8,
    mode: u8,
    has_spi: u8,
    if_id: U32,
    mark: [U32; 2],
    priority: U32,
    reqid: U32,
    spi: U32,
}

/// A policy as it travels; without a template the outer ends mean nothing.
#[derive(Serialize, Deserialize)]
pub(super) struct Policy {
    #[serde(with = "image")]
    numbers: PolicyNumbers,
    #[serde(with = "address")]
    src: IpAddr,
    #[serde(with = "address")]
    dst: IpAddr,
    selector: SelectorRecord,
}

const PROTECT: u8 = 1;
const PASS: u8 = 2;
const DISCARD: u8 = 3;

impl From<PolicySpec> for Policy {
    fn from(spec: PolicySpec) -> Self {
        let PolicySpec { id, priority, action } = spec;
        let none = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let open = Template { src: none, dst: none, reqid: 0, mode: Mode::Tunnel, spi: None };
        let (action, template) = match action {
            Action::Protect(template) => (PROTECT, template),
            Action::Pass => (PASS, open),
            Action::Discard => (DISCARD, open),
        };
        let numbers = PolicyNumbers {
            direction: id.direction as u8,
            action,
            mode: template.mode as u8,
            has_spi: template.spi.is_some().into(),
            if_id: id.if_id.0.into(),
            mark: pair(id.mark),
            priority: priority.into(),
            reqid: template.reqid.into(),
            spi: template.spi.map_or(0, |spi| spi.0).into(),
        };
        Self { numbers, src: template.src, dst: template.dst, selector: id.selector }
    }
}

impl TryFrom<Policy> for PolicySpec {
    type Error = BadNumber;

    fn try_from(Policy { numbers, src, dst, selector }: Policy) -> Result<Self, BadNumber> {
        let direction = match numbers.direction {
            1 => Some(PolicyDirection::In),
            2 => Some(PolicyDirection::Out),
            3 => Some(PolicyDirection::Fwd),
            _ => None,
        };
        let spi = match numbers.has_spi {
            0 => Some(None),
            1 => Some(Some(Spi(numbers.spi.get()))),
            _ => None,
        };
        let (reqid, spi) = (numbers.reqid.get(), known("has_spi", numbers.has_spi, spi)?);
        let template = Template { src, dst, reqid, mode: mode(numbers.mode)?, spi };
        let action = match numbers.action {
            PROTECT => Some(Action::Protect(template)),
            PASS => Some(Action::Pass),
            DISCARD => Some(Action::Discard),
            _ => None,
        };
        Ok(Self {
            id: PolicyId {
                direction: known("direction", numbers.direction, direction)?,
                selector,
                if_id: IfId(numbers.if_id.get()),
                mark: mark(numbers.mark),
            },
            priority: numbers.priority.get(),
            action: known("action", numbers.action, action)?,
        })
    }
}

fn pair(mark: Mark) -> [U32; 2] {
    [mark.value.into(), mark.mask.into()]
}

fn mark([value, mask]: [U32; 2]) -> Mark {
    Mark { value: value.get(), mask: mask.get() }
}

/// The numbers of a state.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StateNumbers {
    /// Soft and hard: time, use, octets, packets.
    limits: [[U64; 2]; 4],
    replay_seq: U64,
    replay_oseq: U64,
    spi: U32,
    reqid: U32,
    replay_window_pkts: U32,
    if_id: U32,
    mark: [U32; 2],
    set_mark: [U32; 2],
    tfc_pad_octets: U32,
    encap: [U16; 2],
    /// 0 is none.
    direction: u8,
    mode: u8,
    copy_dscp: u8,
    flags: u8,
}

/// A state as it travels.
#[derive(Deserialize)]
pub(super) struct State {
    #[serde(with = "image")]
    numbers: StateNumbers,
    #[serde(with = "address")]
    src: IpAddr,
    #[serde(with = "address")]
    dst: IpAddr,
    aead: AeadSpec,
    selectors: Vec<SelectorRecord>,
}

/// The same, of a state that stays where it is with its key.
#[derive(Serialize)]
struct Sent<'a> {
    #[serde(with = "image")]
    numbers: StateNumbers,
    #[serde(with = "address")]
    src: IpAddr,
    #[serde(with = "address")]
    dst: IpAddr,
    aead: &'a AeadSpec,
    selectors: &'a [SelectorRecord],
}

/// What the bits of `flags` stand for, lowest first.
fn flags(flags: &mut StateFlags) -> [&mut bool; 6] {
    let StateFlags { esn, noecn, decap_dscp, nopmtudisc, af_unspec, dont_encap_dscp } = flags;
    [esn, noecn, decap_dscp, nopmtudisc, af_unspec, dont_encap_dscp]
}

const FLAGS_KNOWN: u8 = (1 << 6) - 1;
/// The state has UDP ports.
const ENCAP: u8 = 1 << 7;

fn numbers(spec: &StateSpec) -> StateNumbers {
    let LifetimeSpec { time_seconds, use_seconds, octets, packets } = spec.limits;
    let ends = |limit: Limit| [limit.soft(), limit.hard()].map(|end| end.unwrap_or(0).into());
    let mut named = spec.flags;
    let named = flags(&mut named).into_iter().rev().fold(0, |bits, flag| bits << 1 | u8::from(*flag));
    StateNumbers {
        limits: [time_seconds, use_seconds, octets, packets].map(ends),
        replay_seq: spec.replay_seq.into(),
        replay_oseq: spec.replay_oseq.into(),
        spi: spec.spi.0.into(),
        reqid: spec.reqid.into(),
        replay_window_pkts: spec.replay_window_pkts.into(),
        if_id: spec.if_id.0.into(),
        mark: pair(spec.mark),
        set_mark: pair(spec.set_mark),
        tfc_pad_octets: spec.tfc_pad_octets.into(),
        encap: spec.encap.map_or([0, 0], |ports| [ports.sport, ports.dport]).map(U16::new),
        direction: spec.dir.map_or(0, |direction| direction as u8),
        mode: spec.mode as u8,
        copy_dscp: spec.copy_dscp as u8,
        flags: named | if spec.encap.is_some() { ENCAP } else { 0 },
    }
}

impl Serialize for StateSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { src, dst, ref aead, ref selectors, .. } = *self;
        Sent { numbers: numbers(self), src, dst, aead, selectors }.serialize(serializer)
    }
}

impl TryFrom<State> for StateSpec {
    type Error = BadNumber;

    fn try_from(State { numbers, src, dst, aead, selectors }: State) -> Result<Self, BadNumber> {
        let direction = match numbers.direction {
            0 => Some(None),
            1 => Some(Some(Direction::In)),
            2 => Some(Some(Direction::Out)),
            _ => None,
        };
        let copy_dscp = match numbers.copy_dscp {
            0 => Some(CopyDscp::OutOnly),
            1 => Some(CopyDscp::InOnly),
            2 => Some(CopyDscp::Yes),
            3 => Some(CopyDscp::No),
            _ => None,
        };
        let mut named = StateFlags::default();
        for (bit, flag) in flags(&mut named).into_iter().enumerate() {
            *flag = numbers.flags >> bit & 1 == 1;
        }
        known("flags", numbers.flags, (numbers.flags & !(FLAGS_KNOWN | ENCAP) == 0).then_some(()))?;
        let [time_seconds, use_seconds, octets, packets] =
            numbers.limits.map(|[soft, hard]| Limit::new(soft.get(), hard.get()));
        let [sport, dport] = numbers.encap.map(U16::get);
        Ok(Self {
            src,
            dst,
            spi: Spi(numbers.spi.get()),
            dir: known("direction", numbers.direction, direction)?,
            mode: mode(numbers.mode)?,
            reqid: numbers.reqid.get(),
            aead,
            flags: named,
            copy_dscp: known("copy_dscp", numbers.copy_dscp, copy_dscp)?,
            replay_window_pkts: numbers.replay_window_pkts.get(),
            replay_seq: numbers.replay_seq.get(),
            replay_oseq: numbers.replay_oseq.get(),
            encap: (numbers.flags & ENCAP != 0).then_some(EncapPorts { sport, dport }),
            if_id: IfId(numbers.if_id.get()),
            mark: mark(numbers.mark),
            set_mark: mark(numbers.set_mark),
            selectors,
            limits: LifetimeSpec { time_seconds, use_seconds, octets, packets },
            tfc_pad_octets: numbers.tfc_pad_octets.get(),
        })
    }
}
