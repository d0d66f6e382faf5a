//! Load harness: the whole engine, as it is installed, between a packet source and a packet sink that cost little; and the
//! packet path alone, in memory, whose instructions are counted.
//!
//! `net_pcap infinite_rx -> espalier -> net_null` on one pinned core, keys by `espctl -batch`, and in the same run what
//! nobody can do without: the AEAD alone and the I/O alone. A sample of what was sent is opened by code that is not ours.
#![forbid(unsafe_code)]

pub mod cpu;
pub mod engine;
pub mod floor;
pub mod gate;
pub mod gateway;
pub mod hugepages;
pub mod interrupt;
pub mod io;
pub mod machine;
pub mod memory;
pub mod reading;
pub mod report;
pub mod sample;
pub mod spread;
pub mod toml;
pub mod traffic;

/// The harness reports failures as sentences for a person; nothing matches on them.
pub type Result<T> = anyhow::Result<T>;
