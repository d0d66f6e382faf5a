//! The operator's command: `ip xfrm`'s words for the bridge, screens for the engine.

#![forbid(unsafe_code)]

pub mod words;
pub mod options;
pub mod grammar;
pub mod failure;
pub mod client;
pub mod print;
pub mod json;
pub mod command;
pub mod batch;
