//! The gate: instructions per packet, counted by callgrind, held against those that are written down.
//!
//! No clock is read, so a busy machine changes nothing. What is counted is one function and what it calls.

pub mod callgrind;
pub mod expected;
pub mod verdict;

/// What a packet costs.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Instructions per packet.
    pub instructions: f64,
    /// Of them, those that lock the bus, per packet.
    pub locked: f64,
}

/// Compiler that this program was built by, `1.95`.
pub const RUSTC: &str = env!("RUSTC_RELEASE");
