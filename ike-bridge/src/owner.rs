//! Who an SA or policy belongs to, in a form that outlives the bridge.
//!
//! The owner number in a record is `hash of the daemon's name << 32 | pid << 10 | 10 bits of the start time`.
//! A restarted bridge therefore sees from the records alone which of them an earlier process of the same
//! daemon left behind, and can look whether that process still lives.

use shm_protocol::ids::Owner;

/// The owner of what an operator added with `espctl`.
pub const OPERATOR: Owner = Owner(0);

/// One IKE daemon process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// The process id as the bridge sees it.
    pub pid: u32,
    /// The start time in clock ticks since boot, from `/proc/PID/stat`.
    pub start_ticks: u64,
}

/// Returns the owner number of the process `process` of the daemon `daemon`.
pub fn of(daemon: &str, process: Process) -> Owner {
    // The top bit keeps every daemon's number apart from the operator's.
    let name = (fnv1a(daemon.as_bytes()) | 1 << 31) << 32;
    Owner(name | u64::from(process.pid & PID_MASK) << START_BITS | start_hash(process.start_ticks))
}

/// Returns the process id in an owner number.
pub fn pid(owner: Owner) -> u32 {
    u32::try_from((owner.0 >> START_BITS) & u64::from(PID_MASK)).unwrap_or(0)
}

/// Returns true when both numbers belong to processes of the same daemon.
pub fn same_daemon(a: Owner, b: Owner) -> bool {
    a.0 >> 32 == b.0 >> 32
}

/// Returns true when `owner` may be the process that `start_ticks_of` finds under its pid.
pub fn lives(owner: Owner, start_ticks_of: impl FnOnce(u32) -> Option<u64>) -> bool {
    start_ticks_of(pid(owner)).is_some_and(|ticks| start_hash(ticks) == owner.0 & START_MASK)
}

/// Returns the start time of a process in clock ticks, or `None` when there is none with this id.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold blanks and parentheses; what counts begins after its last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(START_FIELD_AFTER_NAME)?.parse().ok()
}

fn start_hash(ticks: u64) -> u64 {
    fnv1a(&ticks.to_le_bytes()) & START_MASK
}

fn fnv1a(octets: &[u8]) -> u64 {
    let full = octets.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    });
    (full ^ (full >> 32)) & 0xffff_ffff
}

const START_BITS: u32 = 10;
const START_MASK: u64 = (1 << START_BITS) - 1;
const PID_MASK: u32 = (1 << 22) - 1;
const START_FIELD_AFTER_NAME: usize = 19;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_processes_of_a_daemon_differ_but_share_the_daemon() {
        let a = of("charon", Process { pid: 4242, start_ticks: 1000 });
        let b = of("charon", Process { pid: 4242, start_ticks: 1001 });
        let c = of("charon", Process { pid: 4243, start_ticks: 1000 });
        assert!(a != b && a != c);
        assert!(same_daemon(a, b) && same_daemon(a, c));
        assert!(!same_daemon(a, of("charon-systemd", Process { pid: 4242, start_ticks: 1000 })));
        assert!(!same_daemon(a, OPERATOR));
    }

    #[test]
    fn this_process_lives_and_a_recycled_pid_does_not_stand_for_it() {
        let pid = std::process::id();
        let ticks = start_ticks(pid).unwrap();
        let owner = of("charon", Process { pid, start_ticks: ticks });
        assert!(lives(owner, start_ticks));
        assert!(!lives(owner, |_| Some(ticks + 1)));
        assert!(!lives(owner, |_| None));
    }
}
