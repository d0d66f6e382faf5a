//! The AEAD alone: what it costs to seal or open one packet's text on the measured core, by the fastest that runs here.

use std::time::Duration;

use anyhow::Context;
use crypto::{Crypto, Method, measure_floor};
use esp::aead::Algorithm;

use crate::Result;
use crate::cpu;
use crate::opening;
use crate::rows::Direction;
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

/// The windows of every method of this build.
#[derive(Clone, Debug)]
pub struct Windows {
    text_octets: usize,
    direction: Direction,
    all: Vec<Vec<(Method, f64)>>,
}

impl Windows {
    /// Has no window yet, of the text that an inner packet becomes; outbound it is sealed, inbound opened.
    #[must_use]
    pub fn new(inner_octets: u16, direction: Direction) -> Self {
        Self { text_octets: text_octets(inner_octets), direction, all: Vec::new() }
    }

    /// Measures one window of every method on CPU `cpu`.
    ///
    /// # Errors
    /// No method runs here; the thread cannot be pinned.
    pub fn take(&mut self, algorithm: Algorithm, cpu: usize) -> Result<()> {
        let Self { text_octets, direction, .. } = *self;
        let window = std::thread::scope(|scope| {
            let measured = scope.spawn(|| {
                cpu::pin(&[cpu])?;
                window(direction, algorithm, text_octets)
            });
            measured.join().ok().context("measuring the AEAD panicked")?
        })?;
        self.all.push(window);
        Ok(())
    }

    /// Returns the fastest method, by the median of its windows, and its windows in the order they were taken.
    ///
    /// # Errors
    /// There is no window.
    pub fn fastest(&self) -> Result<(Floor, Vec<f64>)> {
        let of = |method| {
            let windows: Vec<f64> =
                self.all.iter().flatten().filter(|(of, _)| *of == method).map(|(_, ns)| *ns).collect();
            Some((Floor { method, text_octets: self.text_octets, ns: Spread::of(windows.clone())? }, windows))
        };
        let floors = Method::built().filter_map(of);
        floors
            .min_by(|(a, _), (b, _)| a.ns.median().total_cmp(&b.ns.median()))
            .context("no AEAD runs on this machine")
    }
}

/// Returns what each method of this build that runs here costs. Units: nanoseconds a packet.
fn window(direction: Direction, algorithm: Algorithm, text_octets: usize) -> Result<Vec<(Method, f64)>> {
    match direction {
        Direction::Outbound => {
            let floors = measure_floor(algorithm, text_octets, WINDOW)?;
            Ok(floors.into_iter().map(|floor| (floor.method, floor.min_ns)).collect())
        }
        Direction::Inbound => {
            let runs = Method::built().filter(|method| Crypto::with_method(*method).is_ok());
            runs.map(|method| Ok((method, opening::measure(method, algorithm, text_octets, WINDOW)?)))
                .collect()
        }
    }
}

/// What one window of one method takes.
const WINDOW: Duration = Duration::from_millis(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_padded_to_whole_words() {
        assert_eq!([64, 512, 1400].map(text_octets), [68, 516, 1404]);
        assert_eq!(text_octets(62), 64);
    }
}
