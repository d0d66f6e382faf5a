//! What people read: blocks as `ip xfrm` prints them, and the engine's screens.

mod engine;
mod policy;
mod state;

use std::net::IpAddr;

use shm_protocol::sa::Mark;
use shm_protocol::selector::{AddressRange, PortRange, SelectorRecord};

pub(crate) use engine::ratio;
pub use engine::{drops, status, workers, xfrm_stat};
pub use policy::policy;
pub use state::state;

use crate::grammar::protocol_name;

/// How much a block shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Detail {
    /// `-s`: lifetimes and counters.
    pub statistics: bool,
    /// `-d`: what `ip` does not know.
    pub details: bool,
    /// Now. Units: seconds since 1970.
    pub now_seconds: u64,
}

/// Returns a selector as `ip` prints it, with a blank behind every word.
fn selector(selector: &SelectorRecord) -> String {
    let mut text = format!("src {} dst {} ", range(selector.src()), range(selector.dst()));
    if selector.proto != 0 {
        text.push_str(&format!("proto {} ", protocol_name(selector.proto)));
    }
    let (source, destination) =
        if matches!(selector.proto, 1 | 58) { ("type", "code") } else { ("sport", "dport") };
    for (word, ports) in [(source, selector.sport), (destination, selector.dport)] {
        if !ports.is_any() {
            text.push_str(&format!("{word} {} ", port_range(ports)));
        }
    }
    text
}

/// A range that is no prefix has no form in `ip`; it is shown by its ends.
fn range(range: AddressRange) -> String {
    match range.prefix_bits() {
        Some(bits) => format!("{}/{bits}", range.lo()),
        None => format!("{}-{}", range.lo(), range.hi()),
    }
}

fn port_range(ports: PortRange) -> String {
    if ports.lo() == ports.hi() { ports.lo().to_string() } else { format!("{}-{}", ports.lo(), ports.hi()) }
}

fn is_any(mark: Mark) -> bool {
    mark == Mark::default()
}

fn unspecified_like(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "0.0.0.0" } else { "::" }
}

fn limit(limit: Option<u64>) -> String {
    limit.map_or_else(|| "(INF)".to_owned(), |limit| limit.to_string())
}

/// Returns a moment as `ip` prints it, in UTC; `-` for none.
fn date(seconds: Option<u64>) -> String {
    let Some(seconds) = seconds else { return "-".to_owned() };
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that the leap day ends a year.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(Some(0)), "1970-01-01 00:00:00");
        assert_eq!(date(Some(951_782_399)), "2000-02-28 23:59:59");
        assert_eq!(date(Some(951_782_400)), "2000-02-29 00:00:00");
        assert_eq!(date(Some(1_795_252_870)), "2026-11-21 09:21:10");
        assert_eq!(date(None), "-");
    }
}
