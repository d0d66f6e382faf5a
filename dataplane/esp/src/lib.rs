//! Sans-I/O ESP: wire formats, windows, selectors, encapsulation.
//!
//! Bytes, time and randomness come in as arguments; nothing here allocates, locks, reads a clock or makes a
//! system call, so two equal call sequences give equal bytes. The modules stand in the order a packet meets them.
#![forbid(unsafe_code)]

pub mod drop;
pub mod ids;
pub mod sync;

pub mod wire;

pub mod esn;
pub mod window;

pub mod aead;

pub mod decap;
pub mod ecn;
pub mod selector;

pub mod fragment;
pub mod icmp;
pub mod mtu;

pub mod seq;

pub mod encap;

pub use drop::{DropReason, Severity};
pub use ids::{IfId, Spi};
pub use selector::Selector;
pub use window::{Fresh, ReplayWindow};
