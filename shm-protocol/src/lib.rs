//! The two shared-memory segments and the messages of Espalier's sockets: the ABI between its processes.
//!
//! [`sad`] is written by the bridge and read by the engine, [`live`] the other way round. Every field is
//! checked when it is read; what comes out are the domain types of [`sa`], [`policy`] and [`selector`].

pub mod codec;
pub mod error;
pub mod ids;
mod layout;
pub mod live;
pub mod lock;
mod map;
pub mod messages;
pub mod place;
pub mod policy;
mod record;
pub mod sa;
pub mod sad;
pub mod secret;
mod segment;
pub mod selector;

pub use error::Error;
