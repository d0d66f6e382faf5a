//! The bridge between IKE daemons and the packet engine: owns SPI allocation, the SAD and the SPD as IKE
//! sees them.
//!
//! The decisions ([`spi`], [`policies`], [`lifetime`], [`sweep`], [`bridge`]) take time as an argument and
//! write one
//! [`shm_protocol::sad`] generation per change; the shell that owns the sockets comes last.

#![forbid(unsafe_code)]

pub mod bridge;
pub mod cli;
pub mod daemon;
pub mod draft;
mod index;
pub mod lifetime;
pub mod operator;
mod ordered;
pub mod owner;
pub mod policies;
pub mod priority;
pub mod refusal;
pub mod requests;
pub mod sas;
pub mod server;
mod shelf;
pub mod spi;
pub mod sweep;
pub mod translate;
pub mod upkeep;

#[cfg(test)]
mod testing;
