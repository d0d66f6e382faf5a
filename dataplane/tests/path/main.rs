//! The packet path in memory: segment, adopter and workers of one or two gateways, without DPDK, root or hugepages.
//! Each test ends with every packet accounted for, exactly, for each origin and in sum.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod gateway;
mod pair;
mod peer;
mod plan;
mod records;
mod wire;

mod adoption;
mod epochs;
mod host;
mod known;
mod limits;
mod neighbors;
mod replay;
mod restart;
mod size;
mod spray;
mod tunnels;
mod workers;
