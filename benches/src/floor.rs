//! The AEAD alone: what it costs to seal one packet's text on the measured core, by the fastest that runs here.

use std::time::Duration;

use anyhow::Context;
use crypto::{Method, measure_floor};
use esp::aead::Algorithm;

use crate::Result;
use crate::cpu;
use crate::spread::Spread;

/// The cost of the AEAD alone.
#[derive(Clone, Debug)]
pub struct Floor {
    /// The fastest backend and call form, by the median of its windows.
    pub method: Method,
    /// What is sealed: the inner packet, padding, pad length, next header. Units: octets.
    pub text_octets: usize,
    /// The least disturbed part of each window, a sixteenth of it. Units: nanoseconds a packet.
    pub ns: Spread,
}

/// Returns the text that an inner packet becomes. Units: octets. RFC: 4303 section 2.4.
#[must_use]
pub fn text_octets(inner_octets: u16) -> usize {
    (usize::from(inner_octets) + 2).next_multiple_of(4)
}

/// Measures every method of this build on CPU `cpu`, `windows` times.
///
/// # Errors
/// No method runs here; the thread cannot be pinned.
pub fn measure(algorithm: Algorithm, inner_octets: u16, cpu: usize, windows: usize) -> Result<Floor> {
    let text_octets = text_octets(inner_octets);
    std::thread::scope(|scope| {
        let measured = scope.spawn(|| {
            cpu::pin(&[cpu])?;
            let mut all = Vec::new();
            for _ in 0..windows {
                all.extend(measure_floor(algorithm, text_octets, WINDOW)?);
            }
            Ok::<_, anyhow::Error>(all)
        });
        let all = measured.join().ok().context("measuring the AEAD panicked")??;
        let of = |method| {
            let windows = all.iter().filter(|floor| floor.method == method).map(|floor| floor.min_ns);
            Some(Floor { method, text_octets, ns: Spread::of(windows.collect())? })
        };
        let floors = Method::built().filter_map(of);
        floors.min_by(|a, b| a.ns.median().total_cmp(&b.ns.median())).context("no AEAD runs on this machine")
    })
}

/// What one window of one method takes.
const WINDOW: Duration = Duration::from_millis(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_padded_to_whole_words() {
        assert_eq!([64, 512, 1400].map(text_octets), [68, 516, 1404]);
        assert_eq!(text_octets(62), 64);
    }
}
