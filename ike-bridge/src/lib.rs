//! The bridge between IKE daemons and the packet engine: owns SPI allocation, the SAD and the SPD as IKE sees them.
//!
//! The decisions ([`spi`], [`policies`], [`lifetime`], [`sweep`], [`bridge`]) take time as an argument and write one
//! [`shm_protocol::sad`] generation per change; the shell that owns the sockets comes last.

#![forbid(unsafe_code)]

pub mod owner;
pub mod spi;
pub mod priority;
pub mod policies;
pub mod lifetime;
pub mod sas;
pub mod sweep;
pub mod requests;
pub mod refusal;
pub mod translate;
pub mod draft;
pub mod bridge;
pub mod daemon;
pub mod operator;
pub mod upkeep;
pub mod server;
pub mod cli;

#[cfg(test)]
mod testing;
