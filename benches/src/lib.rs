//! Load harness: the whole engine, as it is installed, between a packet source and a packet sink that cost little; and the
//! packet path alone, in memory, whose instructions are counted.
//!
//! Outbound `net_pcap infinite_rx -> espalier -> net_null` on one pinned core, keys by `espctl -batch`; inbound the engine's
//! packet path over frames that are sealed in memory, because a window takes a number once. In the same run what nobody
//! can do without: the AEAD alone and the I/O alone. A sample of what was sent is opened by code that is not ours.
//!
//! Beside another gateway: the same harness, the same core, in turns.
//!
//! In memory, against the clock: what a second worker adds, in which order packets of a shared SA leave, and what changes of
//! SAs and policies cost a worker that forwards.
#![forbid(unsafe_code)]

pub mod asked;
pub mod beside;
pub mod changes;
pub mod compare;
pub mod counted;
pub mod cpu;
pub mod eal;
pub mod engine;
pub mod floor;
pub mod gate;
pub mod gateway;
pub mod hugepages;
pub mod inbound;
pub mod interrupt;
pub mod io;
pub mod load;
pub mod machine;
pub mod memory;
pub mod opening;
pub mod outbound;
pub mod peers;
mod program;
pub mod reading;
pub mod reorder;
pub mod report;
pub mod residence;
pub mod result;
pub mod rows;
pub mod sample;
pub mod scaling;
pub mod scratch;
pub mod sealed;
pub mod settings;
pub mod spread;
pub mod toml;
pub mod traffic;
pub mod windows;

/// The harness reports failures as sentences for a person; nothing matches on them.
pub type Result<T> = anyhow::Result<T>;
