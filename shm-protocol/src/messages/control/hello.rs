//! What the engine says when it connects to `bridge.sock`.

use serde::{Deserialize, Serialize};

use crate::codec::{MAX_REPLY_OCTETS, Message};

/// What the bridge adds to the engine's eventfd for a change; nothing is said of who waits for it.
pub const CHANGED: u64 = 1;
/// What it adds for a batch of an operator: a load, of which nobody waits for one line.
pub const CHANGED_BY_LOAD: u64 = 1 << 32;

/// First message of the engine; two eventfds come with it by SCM_RIGHTS, in this order:
/// bridge to engine "the segment changed", engine to bridge "there are events".
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EngineHello {
    /// Process id.
    pub pid: u32,
    /// Identity of its `live` segment.
    pub instance: [u64; 2],
    /// Release of the engine.
    pub version: String,
}

impl Message for EngineHello {
    const MAGIC: u32 = u32::from_le_bytes(*b"ESPE");
    const MAX_OCTETS: usize = MAX_REPLY_OCTETS;
}

/// The bridge's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HelloReply {
    /// Process id of the bridge.
    pub pid: u32,
    /// Generation of `sad` now.
    pub generation: u64,
    /// Why the engine is not welcome, in one sentence; empty if it is.
    pub refused: String,
}

impl Message for HelloReply {
    const MAGIC: u32 = u32::from_le_bytes(*b"ESPe");
    const MAX_OCTETS: usize = MAX_REPLY_OCTETS;
}
