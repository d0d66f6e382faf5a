//! The bridge between IKE daemons and the packet engine: owns SPI allocation, the SAD and the SPD as IKE sees them.
//!
//! The decisions ([`spi`], [`policies`], [`lifetime`], [`sweep`], [`bridge`]) take time and randomness as arguments
//! and write one [`shm_protocol::sad`] generation per change; [`server`] is the shell that owns the sockets.

#![forbid(unsafe_code)]

pub mod lifetime;
pub mod owner;
pub mod policies;
pub mod priority;
pub mod spi;

#[cfg(test)]
mod testing;
