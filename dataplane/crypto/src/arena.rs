//! Memory for expanded keys: locked, never dumped, never forked, zeroized cell by cell.

/// How much memory holds expanded keys, and what the system granted of what was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Mapped. Units: octets.
    pub mapped_octets: usize,
    /// Of these, locked into memory. Units: octets.
    pub locked_octets: usize,
    /// Keys that live in it now.
    pub keys: usize,
    /// The system's error number when it last refused to lock; `RLIMIT_MEMLOCK` is the usual cause.
    pub lock_refused_errno: Option<i32>,
}

pub(crate) struct Arena;
impl Arena {
    pub(crate) fn memory(&self) -> Memory {
        Memory::default()
    }
}
