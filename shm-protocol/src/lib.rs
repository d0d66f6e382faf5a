//! The two shared-memory segments and the messages of Espalier's sockets: the ABI between its processes.
//!
//! [`sad`] is written by the bridge and read by the engine, [`live`] the other way round. Every field is
//! checked when it is read; what comes out are the domain types of [`sa`], [`policy`] and [`selector`].

pub mod codec;
pub mod error;
pub mod ids;
pub mod live;
pub mod lock;
pub mod messages;
pub mod place;
pub mod policy;
pub mod sa;
pub mod sad;
pub mod secret;
pub mod selector;

pub use error::Error;
