//! The packet path in memory with as little round it as there can be: buffers made before, ports that move pointers, an AEAD
//! that does nothing. SAs and policies come through the segments and the adopter, as they do in the engine.

pub mod aead;
pub mod gateway;
pub mod packets;
pub mod ports;
pub mod records;
pub mod scenario;

pub use gateway::Gateway;
pub use scenario::Scenario;
