//! A security association as the bridge writes it and the engine adopts it.
//! Values are checked where they are built or read; `Debug` never shows a key.

use std::net::IpAddr;
use std::ops::Deref;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::ids::{Generation, IfId, Owner, SaUid, Slot, Spi};
use crate::secret::{Salt, SecretKey};
use crate::selector::SelectorRecord;

/// Most selectors one SA carries; none means any.
pub const MAX_SELECTORS: usize = 4;
/// Largest replay window. Units: packets.
pub const MAX_WINDOW_PKTS: u32 = 1 << 20;

/// Which way an SA carries packets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Direction {
    /// From the peer to us; the SPI is ours.
    In = 1,
    /// From us to the peer; the SPI is the peer's.
    Out = 2,
}

/// How ESP wraps a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Mode {
    /// A whole IP packet inside ESP.
    Tunnel = 1,
}

/// Length of an AES key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum KeyOctets {
    /// AES-128.
    K16 = 16,
    /// AES-192.
    K24 = 24,
    /// AES-256.
    K32 = 32,
}

impl KeyOctets {
    /// Returns the length for `octets`, or `None` if AES has no such key.
    pub const fn new(octets: usize) -> Option<Self> {
        match octets {
            16 => Some(Self::K16),
            24 => Some(Self::K24),
            32 => Some(Self::K32),
            _ => None,
        }
    }

    /// Units: octets.
    pub const fn get(self) -> usize {
        self as usize
    }
}

/// Transform of an SA; each has one ICV length and no other.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum AlgorithmId {
    /// AES-GCM with a 16-octet ICV. RFC: 4106.
    AesGcm16(KeyOctets),
}

impl AlgorithmId {
    /// Length of the cipher key, without the salt. Units: octets.
    pub const fn key_octets(self) -> usize {
        match self {
            Self::AesGcm16(octets) => octets.get(),
        }
    }
}

/// Algorithm, key and salt of an SA: the key always has the algorithm's length.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Keying {
    algorithm: AlgorithmId,
    key: SecretKey,
    salt: Salt,
}

impl Keying {
    /// Joins them; `None` when the key does not have the algorithm's length.
    pub fn new(algorithm: AlgorithmId, key: SecretKey, salt: Salt) -> Option<Self> {
        (key.len() == algorithm.key_octets()).then_some(Self { algorithm, key, salt })
    }

    /// Returns the algorithm.
    pub const fn algorithm(&self) -> AlgorithmId {
        self.algorithm
    }

    /// Returns the cipher key.
    pub const fn key(&self) -> &SecretKey {
        &self.key
    }

    /// Returns the salt.
    pub const fn salt(&self) -> &Salt {
        &self.salt
    }
}

/// UDP ports of an encapsulated SA, host order. RFC: 3948.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct EncapPorts {
    /// Source port of what carries the SA's packets.
    pub sport: u16,
    /// Destination port of it.
    pub dport: u16,
}

/// Soft and hard limit of one kind; 0 is "none" for both (`u64::MAX` becomes 0 when built).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Limit {
    soft: u64,
    hard: u64,
}

impl Limit {
    /// Builds a limit; 0 and `u64::MAX` (XFRM's infinity) both mean none.
    pub const fn new(soft: u64, hard: u64) -> Self {
        Self { soft: if soft == u64::MAX { 0 } else { soft }, hard: if hard == u64::MAX { 0 } else { hard } }
    }

    /// Value from which the IKE daemon is asked for a new SA.
    pub const fn soft(self) -> Option<u64> {
        if self.soft == 0 { None } else { Some(self.soft) }
    }

    /// Value at which the SA ends.
    pub const fn hard(self) -> Option<u64> {
        if self.hard == 0 { None } else { Some(self.hard) }
    }
}

/// All lifetimes of an SA. RFC: 4301 section 4.4.2.1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Limits {
    /// Absolute deadlines. Units: nanoseconds of CLOCK_BOOTTIME.
    pub deadline_ns: Limit,
    /// What the cipher processed. Units: octets.
    pub octets: Limit,
    /// Units: packets.
    pub packets: Limit,
}

/// Where a new SA starts counting; used only when its uid is new in `live`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Initial {
    /// Number last taken outbound; the first packet carries the next.
    pub oseq: u64,
    /// Top of the replay window; it and everything below count as seen.
    pub iseq_top: u64,
}

/// Which way DSCP is copied between inner and outer header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[repr(u8)]
pub enum CopyDscp {
    /// On encapsulation only.
    #[default]
    OutOnly = 0,
    /// On decapsulation only.
    InOnly = 1,
    /// Both ways.
    Yes = 2,
    /// Never.
    No = 3,
}

/// What is done to headers on the way through.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct HeaderRules {
    /// Outer DF follows inner DF.
    pub copy_df: bool,
    /// ECN is tunnelled. RFC: 6040.
    pub copy_ecn: bool,
    /// DSCP copy mode.
    pub copy_dscp: CopyDscp,
}

impl Default for HeaderRules {
    fn default() -> Self {
        Self { copy_df: true, copy_ecn: true, copy_dscp: CopyDscp::OutOnly }
    }
}

/// Traffic flow confidentiality padding. RFC: 4303 section 2.7.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub enum TfcPad {
    /// None.
    #[default]
    Off,
    /// Every packet grows to this length at least. Units: octets.
    Octets(u16),
    /// Every packet grows to the tunnel's MTU.
    Mtu,
}

/// A packet mark and the bits of it that count; all 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// Value.
    pub value: u32,
    /// Bits that count.
    pub mask: u32,
}

/// Selectors of one SA, at most [`MAX_SELECTORS`]; none means any. As long as there are: most SAs have one or none, and are
/// copied a few times on their way.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Selectors(Box<[SelectorRecord]>);

impl Selectors {
    /// Copies `selectors`; `None` when there are more than [`MAX_SELECTORS`].
    pub fn new(selectors: &[SelectorRecord]) -> Option<Self> {
        (selectors.len() <= MAX_SELECTORS).then(|| Self(selectors.into()))
    }
}

impl Deref for Selectors {
    type Target = [SelectorRecord];

    fn deref(&self) -> &[SelectorRecord] {
        &self.0
    }
}

impl FromIterator<SelectorRecord> for Selectors {
    /// Panics: more than [`MAX_SELECTORS`].
    fn from_iter<I: IntoIterator<Item = SelectorRecord>>(selectors: I) -> Self {
        let selectors: ArrayVec<_, MAX_SELECTORS> = selectors.into_iter().collect();
        Self(selectors.as_slice().into())
    }
}

/// A security association.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sa {
    /// Record it stands in.
    pub slot: Slot,
    /// Which way it carries packets.
    pub direction: Direction,
    /// Who installed it.
    pub owner: Owner,
    /// Identity; kept by every update of the same SA.
    pub uid: SaUid,
    /// SPI; inbound and not `foreign` it names the slot.
    pub spi: Spi,
    /// The SPI is not from our allocator (manual or mirrored, inbound only).
    pub foreign: bool,
    /// Tunnel it belongs to.
    pub if_id: IfId,
    /// Outer source.
    pub src: IpAddr,
    /// Outer destination, of the source's family.
    pub dst: IpAddr,
    /// Ties it to policies' templates.
    pub reqid: u32,
    /// Encapsulation mode.
    pub mode: Mode,
    /// Algorithm, key and salt.
    pub keying: Keying,
    /// 64-bit sequence numbers.
    pub esn: bool,
    /// Replay window; 0 is off, at most [`MAX_WINDOW_PKTS`]. Units: packets.
    pub replay_window_pkts: u32,
    /// UDP encapsulation.
    pub encap: Option<EncapPorts>,
    /// Inner traffic it may carry; empty is any.
    pub selectors: Selectors,
    /// Lifetimes.
    pub limits: Limits,
    /// Where it starts counting.
    pub initial: Initial,
    /// Header rules.
    pub headers: HeaderRules,
    /// Traffic flow confidentiality.
    pub tfc_pad: TfcPad,
    /// Mark it is looked up by.
    pub mark: Mark,
    /// Mark put on a packet after processing.
    pub set_mark: Mark,
    /// CPU it is bound to (RFC 9611).
    pub cpu: Option<u32>,
    /// When it was installed; "newest" is decided by it. Units: nanoseconds of CLOCK_BOOTTIME.
    pub installed_ns: u64,
}

/// An SPI handed out and not yet an SA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Larval {
    /// Record it reserves.
    pub slot: Slot,
    /// Who asked for it.
    pub owner: Owner,
    /// The SPI; of our own allocation, so it names the slot.
    pub spi: Spi,
    /// When the reservation ends. Units: nanoseconds of CLOCK_BOOTTIME.
    pub until_ns: u64,
    /// Protects against two owners: reqid the daemon gave, 0 if none.
    pub reqid: u32,
    /// Address the SPI is for (ours).
    pub dst: IpAddr,
}

/// What a slot of `sad` holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Occupant {
    /// Nothing.
    Empty,
    /// A reserved SPI.
    Larval(Larval),
    /// An SA.
    Sa(Box<Sa>),
}

/// What a slot remembers of the SPIs it had, also while it is empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SpiHistory {
    /// When the slot was last freed; 0 if never. Units: nanoseconds of CLOCK_BOOTTIME.
    pub freed_ns: u64,
    /// High parts of its last 16 SPIs, newest first, 0 where there was none.
    pub last_high: [u16; 16],
}

/// Everything a slot of `sad` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotContents {
    /// The slot.
    pub slot: Slot,
    /// What it holds.
    pub occupant: Occupant,
    /// Its past.
    pub history: SpiHistory,
    /// Transaction that wrote it last.
    pub generation: Generation,
}
