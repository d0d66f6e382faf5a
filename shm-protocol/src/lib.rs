//! The two shared-memory segments and the messages of Espalier's sockets.

pub mod messages;
