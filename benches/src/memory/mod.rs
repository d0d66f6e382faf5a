//! The packet path in memory. SAs and policies come through the segments and the adopter, as they do in the engine.
//!
//! [`Gateway`] has as little round the path as there can be (buffers made before, ports that move pointers, an AEAD that does
//! nothing): its instructions are counted. [`Team`] has the engine's AEAD, buffers that go round and a thread a worker: its
//! packets are counted, against the clock.

pub mod aead;
pub mod control;
pub mod gateway;
pub mod line;
pub mod packets;
pub mod peer;
pub mod pool;
pub mod ports;
pub mod records;
pub mod run;
pub mod scenario;
pub mod team;

pub use gateway::Gateway;
pub use scenario::Scenario;
pub use team::Team;
