//! Messages of the sockets: `bridge.sock` and `control.sock`.

pub mod control;
pub mod plugin;
