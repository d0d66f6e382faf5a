//! Harness of the end-to-end tests and the demo.
//!
//! A [`World`] owns everything a test makes on the machine: network namespaces, processes, directories.
//! It is taken down when it is dropped, when the test panics, on SIGINT and SIGTERM, and, after a kill -9,
//! by the next world. One world exists at a time on a machine: tests of different processes take turns.
//!
//! Nothing here knows the code under test. The harness speaks TOML, swanctl, the operator's commands and
//! packets; what it judges it reads from captures, from numbered traffic and from `espctl --json`.

pub mod binaries;
pub mod capture;
pub mod charon;
pub mod esp_trace;
pub mod espctl;
pub mod gateway;
pub mod gateway_toml;
pub mod inject;
pub mod keyed;
pub mod ledger;
pub mod manual;
pub mod netns;
pub mod pair;
pub mod pcap;
pub mod process;
pub mod registry;
pub mod swanctl;
pub mod topology;
pub mod traffic;
pub mod wait;
pub mod world;

pub use gateway::Gateway;
pub use netns::Netns;
pub use process::Process;
pub use world::World;

/// The harness reports failures as sentences for a person; nothing matches on them.
pub type Result<T> = anyhow::Result<T>;
