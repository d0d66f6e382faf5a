//! The engine's packet path in a process of the bench: real segments, adopter, AEAD and buffers; only the ports are ours.
//!
//! A replayed file cannot serve inbound, as a window takes each number once. So frames are sealed into a [`field`] while
//! nobody measures, and measured while the path takes them out of it.

pub mod field;
pub mod node;
pub mod ports;
pub mod process;
pub mod records;
pub mod sealer;
