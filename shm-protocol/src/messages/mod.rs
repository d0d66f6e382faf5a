//! Messages of the sockets: `bridge.sock` and `control.sock`.

pub mod control;
pub(crate) mod packed;
pub mod plugin;
