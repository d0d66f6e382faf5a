//! `limit …`: soft and hard limits by time, octets and packets.

use shm_protocol::messages::control::LifetimeSpec;
use shm_protocol::sa::Limit;

use crate::words::{Words, Wrong};

/// Reads what follows one `limit`.
pub(super) fn parse(words: &mut Words<'_>, limits: &mut LifetimeSpec) -> Result<(), Wrong> {
    let (limit, is_soft) = match words.next(EXPECTED)? {
        "time-soft" => (&mut limits.time_seconds, true),
        "time-hard" => (&mut limits.time_seconds, false),
        "time-use-soft" => (&mut limits.use_seconds, true),
        "time-use-hard" => (&mut limits.use_seconds, false),
        "byte-soft" => (&mut limits.octets, true),
        "byte-hard" => (&mut limits.octets, false),
        "packet-soft" => (&mut limits.packets, true),
        "packet-hard" => (&mut limits.packets, false),
        _ => return Err(words.wrong_before(EXPECTED)),
    };
    let value: u64 = words.number("a limit")?;
    let (soft, hard) = (limit.soft().unwrap_or(0), limit.hard().unwrap_or(0));
    *limit = if is_soft { Limit::new(value, hard) } else { Limit::new(soft, value) };
    Ok(())
}

const EXPECTED: &str = "time-soft, time-hard, byte-soft, byte-hard, packet-soft or packet-hard";
