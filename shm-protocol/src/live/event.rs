//! Events from the engine to the bridge: hints, read by the bridge at its own pace.

use std::net::IpAddr;

use crate::ids::{IfId, PolicySlot, SaUid, Slot, Spi};

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u32)]
pub enum EventKind {
    /// The soft octet limit was passed.
    SoftOctets = 1,
    /// The hard octet limit was reached; the engine stopped using the SA.
    HardOctets = 2,
    /// The soft packet limit was passed.
    SoftPackets = 3,
    /// The hard packet limit was reached; the engine stopped using the SA.
    HardPackets = 4,
    /// Sequence numbers come to their end: ask for a new SA.
    SeqSoft = 5,
    /// Sequence numbers are used up; the engine stopped using the SA.
    SeqHard = 6,
    /// A packet needs an SA that is not there.
    Acquire = 7,
    /// An authenticated packet came from another address or port.
    Mapping = 8,
}

/// The packet that raised an event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Flow {
    /// Source (for `Mapping` the new outer source).
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// IP protocol.
    pub proto: u8,
    /// Source port (for `Mapping` the new UDP source port).
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
}

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// When. Units: nanoseconds of CLOCK_BOOTTIME.
    pub time_ns: u64,
    /// The SA, if it is about one.
    pub sa: Option<(Slot, SaUid)>,
    /// Its SPI, if it is about one.
    pub spi: Option<Spi>,
    /// The policy, for `Acquire`.
    pub policy: Option<PolicySlot>,
    /// The tunnel.
    pub if_id: IfId,
    /// The packet, for `Acquire` and `Mapping`.
    pub flow: Option<Flow>,
}

/// Place in the event ring up to which a reader has read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EventCursor(pub(crate) u64);
