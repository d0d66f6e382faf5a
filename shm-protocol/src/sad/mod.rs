//! Segment 1, `sad`: SAs, policies and the change ring. One writer, the bridge; the engine reads.
//!
//! A transaction is all or nothing: its changes go into the redo record first, so that whoever takes the
//! write lock after a killed writer finishes or undoes them. Each record has a sequence word, odd while it
//! is being written. Readers never wait.

mod apply;
mod plan;
mod reader;
mod shape;
mod step;
mod transaction;
mod writer;

pub use reader::{Change, ChangeCursor, Changes, Occupancy, SadReader, ScanGuard};
pub use step::Step;
pub use transaction::Transaction;
pub use writer::SadWriter;

/// Most changes one transaction (one generation) takes.
pub const MAX_CHANGES: usize = 256;

/// Words of an SA record that this release knows, the sequence word first.
const SA_WORDS: usize = crate::layout::SA_OCTETS as usize / 8;
/// Words of an SA with all its selectors: those of the record, then those it goes on with elsewhere.
const WHOLE_SA_WORDS: usize = SA_WORDS + crate::layout::SA_MORE_OCTETS as usize / 8;
/// Words of a policy record that this release knows.
const POLICY_WORDS: usize = crate::layout::POLICY_OCTETS as usize / 8;

/// A record copied out of the segment, or to be written; wiped when dropped, for it may hold a key.
/// Boxed, so that moving it leaves no copy on a stack.
type RecordWords = Box<zeroize::Zeroizing<[u64; WHOLE_SA_WORDS]>>;

fn blank() -> RecordWords {
    Box::new(zeroize::Zeroizing::new([0; WHOLE_SA_WORDS]))
}

/// Whether an SA of these words goes on behind its record, having more selectors than one.
fn goes_on(words: impl Iterator<Item = u64>) -> bool {
    const AT: usize = std::mem::offset_of!(crate::layout::SaImage, selector_count);
    let octets = words.skip(AT / 8).map(u64::to_le_bytes).next();
    octets.and_then(|octets| octets.get(AT % 8).copied()).is_some_and(|count| count > 1)
}

/// Kinds of entries in the redo record and the change ring.
mod kind {
    pub(super) const SA: u32 = 1;
    pub(super) const POLICY: u32 = 2;
    pub(super) const INSTANCE: u32 = 3;
}
