//! Messages of `espctl`: to the bridge (`bridge.sock`) and to the engine (`control.sock`).
//!
//! They are encoded by [`crate::codec`]. Lists come in pages of at most 16 KiB, asked for by cursor.

mod engine;
mod hello;
mod wire;
mod xfrm;

pub use engine::{
    DropLine, EngineReply, EngineRequest, Ledger, PortLine, SaLine, StageLine, StatusPage, TunnelLine,
    TunnelState, WorkerLine,
};
pub use hello::{CHANGED, CHANGED_BY_LOAD, EngineHello, HelloReply};
pub use xfrm::{
    AeadSpec, BridgeReply, BridgeRequest, Cursor, LifetimeSpec, MAX_BATCH, PolicyFilter, PolicyId,
    PolicyInfo, PolicySpec, Refusal, SpiRequest, StateFilter, StateFlags, StateId, StateInfo, StateSpec,
    StateUsage, XfrmChange,
};
