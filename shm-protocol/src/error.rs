//! What can go wrong with a segment, a lock or a message: one enum, with operands.

use std::path::PathBuf;

use crate::ids::{InstanceId, PolicySlot, SaUid, Slot};

/// A failed operation on the segments, their locks or a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{call} {path}: {errno}", path = path.display())]
    System {
        /// The call.
        call: &'static str,
        /// What it was called on.
        path: PathBuf,
        /// The reason.
        errno: nix::errno::Errno,
    },
    /// The system gives no randomness.
    #[error("the system gives no random numbers")]
    Random,
    /// The runtime directory is on a disk.
    #[error("{path} is not on tmpfs or hugetlbfs (file system type {fs_type:#x}): keys would reach a disk; start ike-bridge first, it mounts a private tmpfs there, or choose another runtime directory", path = path.display())]
    NotInMemory {
        /// The directory.
        path: PathBuf,
        /// Its type in statfs.
        fs_type: u64,
    },
    /// The private tmpfs could not be mounted.
    #[error("{path} is on a disk (file system type {fs_type:#x}) and a private tmpfs cannot be mounted there: {errno}; run as root or choose a directory on tmpfs", path = path.display())]
    Mount {
        /// The directory.
        path: PathBuf,
        /// Its type in statfs.
        fs_type: u64,
        /// The reason.
        errno: nix::errno::Errno,
    },
    /// Others could exchange files in the runtime directory.
    #[error("{path} may be written by others (mode {mode:o}): make it 0700", path = path.display())]
    DirectoryOpen {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another process holds a lock.
    #[error("{path} is held by process {}", holder.map_or_else(|| "unknown".into(), |pid| pid.to_string()), path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Its holder, if it could be found.
        holder: Option<u32>,
    },
    /// Another engine or bridge serves this runtime directory.
    #[error("another {what} (process {}) already serves {dir}", holder.map_or_else(|| "unknown".into(), |pid| pid.to_string()), dir = dir.display())]
    AlreadyServed {
        /// `espalier` or `ike-bridge`.
        what: &'static str,
        /// The runtime directory.
        dir: PathBuf,
        /// Its process, if it could be found.
        holder: Option<u32>,
    },
    /// There is no such segment yet.
    #[error("{path} does not exist yet", path = path.display())]
    Missing {
        /// The segment.
        path: PathBuf,
    },
    /// The file is not one of our segments.
    #[error("{path} is not an Espalier segment (magic {magic:#018x})", path = path.display())]
    NotASegment {
        /// The file.
        path: PathBuf,
        /// What stands where the magic should.
        magic: u64,
    },
    /// The segment is of another major version or needs features we lack.
    #[error("{path} has layout {found_major}.{found_minor} with required features {features:#x}, this release reads major {major}", path = path.display())]
    Version {
        /// The segment.
        path: PathBuf,
        /// Its major version.
        found_major: u32,
        /// Its minor version.
        found_minor: u32,
        /// Its required feature bits.
        features: u64,
        /// The major version we read.
        major: u32,
    },
    /// The segment was written before this boot.
    #[error("{path} is of another boot and counts as empty", path = path.display())]
    OtherBoot {
        /// The segment.
        path: PathBuf,
    },
    /// The file is shorter than its layout.
    #[error("{path} has {octets} octets, its layout needs {needed}: it was truncated", path = path.display())]
    Truncated {
        /// The segment.
        path: PathBuf,
        /// Its length.
        octets: u64,
        /// The length its header asks for.
        needed: u64,
    },
    /// The segment was replaced or deleted under us.
    #[error("{path} was replaced or deleted: attach again", path = path.display())]
    Replaced {
        /// The segment.
        path: PathBuf,
    },
    /// A header word has a value it cannot have.
    #[error("{segment} header: {field} is {value:#x}")]
    Header {
        /// `sad` or `live`.
        segment: &'static str,
        /// The word.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A field of an SA record has a value it cannot have.
    #[error("SA slot {}: {field} is {value:#x}", slot.index())]
    SaField {
        /// The record.
        slot: Slot,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A field of a policy record has a value it cannot have.
    #[error("policy slot {}: {field} is {value:#x}", slot.index())]
    PolicyField {
        /// The record.
        slot: PolicySlot,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A field of a live record has a value it cannot have.
    #[error("live record {}: {field} is {value:#x}", slot.index())]
    LiveField {
        /// The record.
        slot: Slot,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The record is being written, or changed while it was read: keep what you had.
    #[error("record {index} is being written")]
    Torn {
        /// Its index in its region.
        index: u32,
    },
    /// No more SAs are admitted.
    #[error("{capacity} SAs are installed or reserved and no more are admitted; raise --capacity")]
    Full {
        /// The admission limit.
        capacity: u32,
    },
    /// No more policies are admitted.
    #[error("{capacity} policies are installed and no more are admitted; raise --capacity")]
    PoliciesFull {
        /// The admission limit.
        capacity: u32,
    },
    /// A transaction has more changes than one generation takes.
    #[error("{changes} changes in one transaction, at most {limit} fit")]
    TooManyChanges {
        /// How many there are.
        changes: usize,
        /// How many fit.
        limit: usize,
    },
    /// A transaction names a record twice.
    #[error("record {index} is changed twice in one transaction")]
    ChangedTwice {
        /// Its index in its region.
        index: u32,
    },
    /// SAs still run on the old `live` segment.
    #[error("{sas} SAs still run on live segment {instance}: retire them before naming another")]
    InstanceInUse {
        /// How many.
        sas: u32,
        /// The segment they run on.
        instance: InstanceId,
    },
    /// The SA's counters are not in `live`, or belong to another SA.
    #[error("live record {} belongs to SA {found:#x}, not to {:#x}", slot.index(), uid.get())]
    OtherSa {
        /// The record.
        slot: Slot,
        /// Whose it should be.
        uid: SaUid,
        /// Whose it is; 0 is nobody's.
        found: u64,
    },
    /// No room for a large replay window.
    #[error("no room in the window arena for {words} words")]
    ArenaFull {
        /// Length of the ring asked for.
        words: u32,
    },
    /// A replay window larger than any we keep.
    #[error("a replay window of {pkts} packets is beyond {}", crate::sa::MAX_WINDOW_PKTS)]
    WindowTooLarge {
        /// Its size.
        pkts: u32,
    },
    /// A message is not one of ours or of another version.
    #[error("message of {octets} octets with magic {magic:#010x} version {version}: not understood")]
    NotAMessage {
        /// Its length.
        octets: usize,
        /// Its first word.
        magic: u32,
        /// Its version.
        version: u16,
    },
    /// A message is longer than a datagram may be.
    #[error("message of {octets} octets, at most {limit} fit")]
    MessageTooLong {
        /// Its length.
        octets: usize,
        /// The limit.
        limit: usize,
    },
    /// A message does not decode.
    #[error("message does not decode: {0}")]
    Decode(#[from] crate::codec::DecodeError),
}
