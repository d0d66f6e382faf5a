//! The operator's command: `ip xfrm`'s words for the bridge, screens for the engine.

#![forbid(unsafe_code)]

pub mod batch;
pub mod client;
pub mod command;
pub mod failure;
pub mod grammar;
pub mod json;
mod lines;
pub mod options;
pub mod print;
pub mod words;
