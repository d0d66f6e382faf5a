//! `espctl xfrm …`: the words of `ip xfrm` as types, to and from the bridge.
//! Keys travel in add and update, and in lists only when asked for.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::wire;
use crate::codec::{MAX_REPLY_OCTETS, MAX_REQUEST_OCTETS, Message};
use crate::ids::{Generation, IfId, Spi};
use crate::messages::packed::address;
use crate::policy::{Action, PolicyDirection};
use crate::sa::{CopyDscp, Direction, EncapPorts, Limit, Mark, Mode};
use crate::secret::SecretKey;
use crate::selector::SelectorRecord;

/// Most changes in one batch: one generation.
pub const MAX_BATCH: usize = crate::sad::MAX_CHANGES;

/// Where the next page begins; the first one is `Cursor::default()`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Cursor(pub u32);

/// A request of `espctl` to the bridge.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum BridgeRequest {
    /// At most [`MAX_BATCH`] changes, all or none, as one generation.
    Batch(Vec<XfrmChange>),
    /// One state.
    StateGet {
        /// Which.
        id: StateId,
        /// With its key.
        show_keys: bool,
    },
    /// A page of states.
    StateList {
        /// Which.
        filter: StateFilter,
        /// Where the page begins.
        cursor: Cursor,
        /// With their keys.
        show_keys: bool,
    },
    /// Deletes every state that fits; answered by `Deleted`.
    StateDeleteAll(StateFilter),
    /// Deletes every state.
    StateFlush,
    /// Counts states.
    StateCount,
    /// Reserves an SPI.
    AllocSpi(SpiRequest),
    /// One policy.
    PolicyGet(PolicyId),
    /// A page of policies.
    PolicyList {
        /// Which.
        filter: PolicyFilter,
        /// Where the page begins.
        cursor: Cursor,
    },
    /// Deletes every policy that fits; answered by `Deleted`.
    PolicyDeleteAll(PolicyFilter),
    /// Deletes every policy.
    PolicyFlush,
    /// Counts policies.
    PolicyCount,
}

impl Message for BridgeRequest {
    const MAGIC: u32 = u32::from_le_bytes(*b"ESPC");
    const MAX_OCTETS: usize = MAX_REQUEST_OCTETS;
}

/// The bridge's answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum BridgeReply {
    /// Every change was made.
    Done {
        /// The generation that has them.
        generation: Generation,
        /// Sentences to show, such as a warning about manual keys.
        warnings: Vec<String>,
    },
    /// Nothing was changed.
    Refused(Refusal),
    /// The state asked for.
    State(Box<StateInfo>),
    /// A page of states.
    States {
        /// The states.
        page: Vec<StateInfo>,
        /// Where the next page begins, if there is one.
        next: Option<Cursor>,
    },
    /// The policy asked for.
    Policy(Box<PolicyInfo>),
    /// A page of policies.
    Policies {
        /// The policies.
        page: Vec<PolicyInfo>,
        /// Where the next page begins, if there is one.
        next: Option<Cursor>,
    },
    /// How many were deleted.
    Deleted {
        /// How many.
        count: u32,
        /// The generation that is without them.
        generation: Generation,
    },
    /// How many there are.
    Count {
        /// How many.
        count: u32,
        /// How many are admitted.
        capacity: u32,
    },
    /// The SPI reserved.
    Spi(Spi),
}

impl Message for BridgeReply {
    const MAGIC: u32 = u32::from_le_bytes(*b"ESPc");
    const MAX_OCTETS: usize = MAX_REPLY_OCTETS;
}

/// Why a request was refused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Index of the change in its batch.
    pub change: Option<u32>,
    /// The errno `ip xfrm` users know (EEXIST, ESRCH, EINVAL, ENOBUFS …).
    pub errno: i32,
    /// What and why, with the remedy.
    pub sentence: String,
}

/// One change of a batch.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum XfrmChange {
    /// Installs a state; EEXIST if it is there.
    StateAdd(Box<StateSpec>),
    /// Changes a state; ESRCH if it is not there.
    StateUpdate(Box<StateSpec>),
    /// Deletes a state.
    StateDelete(StateId),
    /// Installs a policy; EEXIST if it is there.
    PolicyAdd(PolicySpec),
    /// Installs or changes a policy.
    PolicyUpdate(PolicySpec),
    /// Deletes a policy.
    PolicyDelete(PolicyId),
}

/// What names a state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct StateId {
    /// Outer source; some commands go without.
    pub src: Option<IpAddr>,
    /// Outer destination.
    #[serde(with = "address")]
    pub dst: IpAddr,
    /// SPI.
    pub spi: Spi,
    /// Mark.
    pub mark: Mark,
}

/// Which states; an absent word fits all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StateFilter {
    /// Outer source.
    pub src: Option<IpAddr>,
    /// Outer destination.
    pub dst: Option<IpAddr>,
    /// SPI.
    pub spi: Option<Spi>,
    /// Mode.
    pub mode: Option<Mode>,
    /// Reqid.
    pub reqid: Option<u32>,
    /// Tunnel.
    pub if_id: Option<IfId>,
}

/// `aead NAME KEY ICV-BITS`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AeadSpec {
    /// Such as `rfc4106(gcm(aes))`.
    pub name: String,
    /// Key and, at its end, the 4-octet salt; absent in lists unless asked for.
    pub key_and_salt: Option<SecretKey>,
    /// Units: bits.
    pub icv_bits: u16,
}

/// `flag …` and `extra-flag …`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StateFlags {
    /// `esn`.
    pub esn: bool,
    /// `noecn`.
    pub noecn: bool,
    /// `decap-dscp`.
    pub decap_dscp: bool,
    /// `nopmtudisc`: the outer DF is clear.
    pub nopmtudisc: bool,
    /// `af-unspec`.
    pub af_unspec: bool,
    /// `extra-flag dont-encap-dscp`.
    pub dont_encap_dscp: bool,
}

/// `limit …`: time relative to now in seconds, the rest absolute; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LifetimeSpec {
    /// Units: seconds after installation.
    pub time_seconds: Limit,
    /// Units: seconds after first use.
    pub use_seconds: Limit,
    /// Units: octets.
    pub octets: Limit,
    /// Units: packets.
    pub packets: Limit,
}

/// A state in the words of `ip xfrm state add`.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(try_from = "wire::State")]
pub struct StateSpec {
    /// Outer source.
    pub src: IpAddr,
    /// Outer destination.
    pub dst: IpAddr,
    /// SPI.
    pub spi: Spi,
    /// `dir in|out`; without it the bridge decides by whose address `dst` is.
    pub dir: Option<Direction>,
    /// Mode.
    pub mode: Mode,
    /// `reqid`.
    pub reqid: u32,
    /// `aead`.
    pub aead: AeadSpec,
    /// `flag`.
    pub flags: StateFlags,
    /// DSCP copy mode as the listing shows it; `flags` decide when a state is added.
    pub copy_dscp: CopyDscp,
    /// `replay-window`. Units: packets.
    pub replay_window_pkts: u32,
    /// `replay-seq` with its `-hi` half.
    pub replay_seq: u64,
    /// `replay-oseq` with its `-hi` half.
    pub replay_oseq: u64,
    /// `encap espinudp SPORT DPORT`.
    pub encap: Option<EncapPorts>,
    /// `if_id`.
    pub if_id: IfId,
    /// `mark`.
    pub mark: Mark,
    /// `output-mark`.
    pub set_mark: Mark,
    /// `sel`; several when charon installed them.
    pub selectors: Vec<SelectorRecord>,
    /// `limit`.
    pub limits: LifetimeSpec,
    /// `tfcpad`. Units: octets.
    pub tfc_pad_octets: u32,
}

/// What a state has used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StateUsage {
    /// Units: octets.
    pub octets: u64,
    /// Units: packets.
    pub packets: u64,
    /// Number last taken.
    pub oseq: u64,
    /// Top of the window.
    pub seq: u64,
    /// The 32 numbers up to the top, bit 0 the top, as `bitmap` shows them.
    pub bitmap: u32,
    /// Packets seen before.
    pub err_replay: u64,
    /// Packets older than the window (`replay-window` in `ip -s`).
    pub err_too_old: u64,
    /// Packets whose ICV was wrong (`failed` in `ip -s`).
    pub err_integrity: u64,
    /// Units: seconds since it was installed.
    pub installed_ago_seconds: u64,
    /// Units: seconds since it was last used.
    pub last_use_ago_seconds: Option<u64>,
}

/// A state in a listing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StateInfo {
    /// What it was installed as.
    pub spec: StateSpec,
    /// Only an SPI is reserved; the rest of `spec` means nothing.
    pub larval: bool,
    /// Slot in both segments.
    pub slot: u32,
    /// Who installed it: `charon` with its process id, or `manual`.
    pub owner: String,
    /// What it has used; absent until the engine has taken it up.
    pub usage: Option<StateUsage>,
}

/// `allocspi`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SpiRequest {
    /// Outer source.
    #[serde(with = "address")]
    pub src: IpAddr,
    /// Outer destination.
    #[serde(with = "address")]
    pub dst: IpAddr,
    /// `reqid`.
    pub reqid: u32,
    /// Tunnel.
    pub if_id: IfId,
}

/// What names a policy.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct PolicyId {
    /// Direction.
    pub direction: PolicyDirection,
    /// Packets it holds.
    pub selector: SelectorRecord,
    /// Tunnel.
    pub if_id: IfId,
    /// Mark.
    pub mark: Mark,
}

/// Which policies; an absent word fits all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PolicyFilter {
    /// Direction.
    pub direction: Option<PolicyDirection>,
    /// Packets it holds, exactly.
    pub selector: Option<SelectorRecord>,
    /// Priority.
    pub priority: Option<u32>,
    /// Tunnel.
    pub if_id: Option<IfId>,
}

/// A policy in the words of `ip xfrm policy add`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(into = "wire::Policy", try_from = "wire::Policy")]
pub struct PolicySpec {
    /// What names it.
    pub id: PolicyId,
    /// `priority`.
    pub priority: u32,
    /// `action` and `tmpl`.
    pub action: Action,
}

/// A policy in a listing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PolicyInfo {
    /// What it was installed as.
    pub spec: PolicySpec,
    /// Slot in the segment.
    pub slot: u32,
    /// Who installed it.
    pub owner: String,
    /// How many users share it.
    pub users: u32,
}
