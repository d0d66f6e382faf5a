//! The poll-mode packet engine.

pub mod adopt;
pub mod bell;
pub mod clock;
pub mod config;
pub mod control;
pub mod netdev;
pub mod path;
pub mod ports;
pub mod publish;
pub mod service;
pub mod start;
pub mod tables;
pub mod worker;
