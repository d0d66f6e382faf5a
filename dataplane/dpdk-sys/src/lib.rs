//! Raw bindings to the distribution's libdpdk 22.11: a few dozen functions and one structure.
//!
//! Whatever DPDK offers only as a static inline, in a thread-local variable or in a large structure
//! goes through the C shim in `shim/`, which asserts at compile time every layout relied upon here.
//! `cargo build -p dpdk-sys --features generate` writes `src/bindings.rs` anew.

#[expect(non_camel_case_types, missing_docs, reason = "names and shapes are those of the C headers")]
mod bindings;

pub use bindings::*;

/// One packet buffer, as far as the shim asserts its layout.
pub use bindings::dpdk_mbuf as rte_mbuf;

/// A pool of packet buffers, only ever behind a pointer.
#[repr(C)]
#[derive(Debug)]
pub struct rte_mempool {
    opaque: [u8; 0],
}

/// A device on a bus, only ever behind a pointer.
#[repr(C)]
#[derive(Debug)]
pub struct rte_device {
    opaque: [u8; 0],
}
