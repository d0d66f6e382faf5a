//! Frames and packets put on a wire by hand.
//!
//! Whole frames go out by a packet socket of Python's standard library: the system calls for it have no safe
//! wrapper in Rust, and the harness has no unsafe code.

use std::path::Path;

use crate::{Netns, Result, binaries};

/// Sends every frame of a capture file out of a device, at most `pps` per second.
pub fn replay(netns: &Netns, device: &str, pcap: &Path, pps: u32) -> Result<()> {
    let script = binaries::repository().join("tests/scapy/replay.py");
    netns
        .run(
            "/usr/bin/python3",
            &[&script.display().to_string(), device, &pcap.display().to_string(), &pps.to_string()],
        )
        .map(drop)
}
