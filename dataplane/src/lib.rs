//! The poll-mode packet engine.
