//! Prints what the AEAD alone costs here, in nanoseconds per packet: `aead_floor [MILLISECONDS per figure]`.
//!
//! In place, bursts of 32, 512 distinct buffers, one key; minimum, median and maximum over the windows of one run.

use std::time::Duration;

use crypto::{Choice, Crypto, measure_floor};
use esp::aead::Algorithm;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let each = std::env::args().nth(1).map_or(Ok(200), |word| word.parse())?;
    println!("{}", Crypto::new(Choice::Auto)?.describe());
    println!(
        "{:<16}{:<26}{:>6}{:>10}{:>10}{:>10}",
        "algorithm", "method", "octets", "min ns", "median ns", "max ns"
    );
    for algorithm in Algorithm::ALL {
        for text_octets in [64, 512, 1400] {
            for floor in measure_floor(algorithm, text_octets, Duration::from_millis(each))? {
                println!(
                    "{:<16}{:<26}{:>6}{:>10.1}{:>10.1}{:>10.1}",
                    floor.algorithm.to_string(),
                    floor.method.to_string(),
                    floor.text_octets,
                    floor.min_ns,
                    floor.median_ns,
                    floor.max_ns
                );
            }
        }
    }
    Ok(())
}
