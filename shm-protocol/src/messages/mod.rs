//! The messages of the two sockets: what charon's plugin, `espctl` and the engine send and get.

pub mod plugin;
