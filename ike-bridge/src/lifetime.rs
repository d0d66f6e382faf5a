//! When an SA asks for its successor (soft) and when it ends (hard): by time, octets, packets and sequence
//! number.
//!
//! The engine stops use at a hard limit by itself; the bridge decides alone what the IKE daemon is told, from
//! the limits in the record and the counters in `live`, so that no lost event keeps an SA alive.

use std::fmt;

use shm_protocol::live::Usage;
use shm_protocol::sa::{Direction, Limit, Sa};

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The deadline.
    Time,
    /// The octets.
    Octets,
    /// The packets.
    Packets,
    /// The sequence numbers.
    Sequence,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Time => "time",
            Self::Octets => "octet",
            Self::Packets => "packet",
            Self::Sequence => "sequence number",
        })
    }
}

/// What is due for an SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// It wants a successor.
    Soft(Cause),
    /// It ends.
    Hard(Cause),
}

/// Returns what is due for `sa` at `now_ns` (CLOCK_BOOTTIME); of several limits a hard one counts.
pub fn due(sa: &Sa, usage: Usage, now_ns: u64) -> Due {
    let limits = [
        (sa.limits.deadline_ns, now_ns, Cause::Time),
        (sa.limits.octets, usage.octets, Cause::Octets),
        (sa.limits.packets, usage.packets, Cause::Packets),
        (sequence_limit(sa), usage.oseq, Cause::Sequence),
    ];
    let reached = |limit: Option<u64>, value| limit.is_some_and(|limit| value >= limit);
    if let Some(&(_, _, cause)) = limits.iter().find(|(limit, value, _)| reached(limit.hard(), *value)) {
        return Due::Hard(cause);
    }
    match limits.iter().find(|(limit, value, _)| reached(limit.soft(), *value)) {
        Some(&(_, _, cause)) => Due::Soft(cause),
        None => Due::Nothing,
    }
}

/// Returns the next moment at which time alone makes something due, `soft_done` when the soft limit was told.
pub fn next_deadline_ns(sa: &Sa, soft_done: bool) -> Option<u64> {
    let soft = sa.limits.deadline_ns.soft().filter(|_| !soft_done);
    match (soft, sa.limits.deadline_ns.hard()) {
        (Some(soft), Some(hard)) => Some(soft.min(hard)),
        (soft, hard) => soft.or(hard),
    }
}

/// Returns whether what `sa` counts can make anything due. From where it starts, the upper half of the 64-bit sequence
/// numbers is three hundred years away at a thousand million packets a second.
pub fn counts(sa: &Sa) -> bool {
    let limited = [sa.limits.octets, sa.limits.packets].iter().any(|limit| *limit != Limit::default());
    let runs_out = sa.direction == Direction::Out && (!sa.esn || sa.initial.oseq >= 1 << 63);
    limited || runs_out
}

/// Without ESN the last eighth of the numbers is left for the rekey: a minute at five million packets a
/// second.
fn sequence_limit(sa: &Sa) -> Limit {
    match (sa.direction, sa.esn) {
        (Direction::Out, false) => Limit::new(LAST_SEQ - LAST_SEQ / 8, LAST_SEQ),
        (Direction::Out, true) => Limit::new(LAST_ESN - LAST_ESN / 8, LAST_ESN - 1),
        (Direction::In, _) => Limit::default(),
    }
}

const LAST_SEQ: u64 = u32::MAX as u64;
const LAST_ESN: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use shm_protocol::sa::{Initial, Limits};

    use super::*;
    use crate::testing::sa;

    fn limited(limits: Limits) -> Sa {
        Sa { limits, ..sa(Direction::Out, 1) }
    }

    #[test]
    fn an_sa_without_limits_is_never_due_by_time_octets_or_packets() {
        let usage = Usage { octets: u64::MAX, packets: u64::MAX, oseq: 1, ..Usage::default() };
        assert_eq!(due(&limited(Limits::default()), usage, u64::MAX), Due::Nothing);
        assert_eq!(next_deadline_ns(&limited(Limits::default()), false), None);
    }

    #[test]
    fn each_limit_is_soft_before_it_is_hard() {
        let time = limited(Limits { deadline_ns: Limit::new(10, 20), ..Limits::default() });
        assert_eq!(due(&time, Usage::default(), 9), Due::Nothing);
        assert_eq!(due(&time, Usage::default(), 10), Due::Soft(Cause::Time));
        assert_eq!(due(&time, Usage::default(), 20), Due::Hard(Cause::Time));
        let octets = limited(Limits { octets: Limit::new(10, 20), ..Limits::default() });
        assert_eq!(due(&octets, Usage { octets: 19, ..Usage::default() }, 0), Due::Soft(Cause::Octets));
        assert_eq!(due(&octets, Usage { octets: 20, ..Usage::default() }, 0), Due::Hard(Cause::Octets));
        let packets = limited(Limits { packets: Limit::new(1, 2), ..Limits::default() });
        assert_eq!(due(&packets, Usage { packets: 2, ..Usage::default() }, 0), Due::Hard(Cause::Packets));
    }

    #[test]
    fn sequence_numbers_run_out_only_outbound_and_only_without_esn_within_a_life() {
        let out = limited(Limits::default());
        let near = Usage { oseq: LAST_SEQ - 1000, ..Usage::default() };
        let gone = Usage { oseq: LAST_SEQ, ..Usage::default() };
        assert_eq!(due(&out, near, 0), Due::Soft(Cause::Sequence));
        assert_eq!(due(&out, gone, 0), Due::Hard(Cause::Sequence));
        assert_eq!(due(&Sa { esn: true, ..out.clone() }, gone, 0), Due::Nothing);
        assert_eq!(due(&Sa { direction: Direction::In, ..out }, gone, 0), Due::Nothing);
    }

    #[test]
    fn counters_count_where_a_limit_or_the_sequence_numbers_can_be_reached() {
        let out = limited(Limits::default());
        let esn = Sa { esn: true, ..out.clone() };
        let initial = Initial { oseq: 1 << 63, ..Initial::default() };
        assert!(counts(&out) && !counts(&esn) && counts(&Sa { initial, ..esn.clone() }));
        let inbound = Sa { direction: Direction::In, ..out };
        assert!(!counts(&inbound));
        for limits in [
            Limits { octets: Limit::new(0, 1), ..Limits::default() },
            Limits { packets: Limit::new(1, 0), ..Limits::default() },
        ] {
            assert!(counts(&Sa { limits, ..inbound.clone() }));
        }
        let deadline_ns = Limit::new(1, 2);
        assert!(
            !counts(&Sa { limits: Limits { deadline_ns, ..Limits::default() }, ..esn }),
            "time is told by itself"
        );
    }

    #[test]
    fn a_soft_limit_that_was_told_waits_for_the_hard_one() {
        let sa = limited(Limits { deadline_ns: Limit::new(10, 20), ..Limits::default() });
        assert_eq!(next_deadline_ns(&sa, false), Some(10));
        assert_eq!(next_deadline_ns(&sa, true), Some(20));
    }
}
