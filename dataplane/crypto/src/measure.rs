//! What the AEAD alone costs on this machine: the floor under the whole engine, and the base of the choice at start.

use std::time::Duration;

use esp::aead::Algorithm;

use crate::choice::{Error, Method};

/// The cost of sealing one packet, over several windows of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// What was measured.
    pub method: Method,
    /// With which algorithm.
    pub algorithm: Algorithm,
    /// Length of the text of a packet, without AAD and ICV. Units: octets.
    pub text_octets: usize,
    /// The fastest window. Units: nanoseconds per packet.
    pub min_ns: f64,
    /// The middle window. Units: nanoseconds per packet.
    pub median_ns: f64,
    /// The slowest window. Units: nanoseconds per packet.
    pub max_ns: f64,
}

/// Measures sealing alone: in place, bursts of 32, 512 distinct buffers, one key; every method that this build
/// contains and that runs here, for about `each` per method. The fastest method is the first.
/// Errors: what kept the last method from running, if none runs.
pub fn measure_floor(algorithm: Algorithm, text_octets: usize, each: Duration) -> Result<Vec<Floor>, Error> {
    let _ = (algorithm, text_octets, each);
    todo!()
}
