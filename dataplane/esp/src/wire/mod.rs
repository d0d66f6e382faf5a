//! Wire formats: checked views over octets and the functions that emit them.
//!
//! Network order lives here and nowhere else. A view exists only for octets that hold what its accessors
//! read, so a cut or contradictory packet is a [`DropReason`](crate::DropReason) and never a panic.
#![deny(clippy::indexing_slicing)]

pub mod arp;
pub mod checksum;
pub mod ends;
pub mod esp;
pub mod eth;
pub mod flow;
pub mod icmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod nd;
pub mod plain;
pub mod udp;

pub use ends::Ends;
pub use flow::FlowKey;
pub use ip::{Family, Proto};
