//! Segment 1, `sad`: SAs, policies and the change ring. One writer, the bridge; the engine reads.
//!
//! A transaction is all or nothing: its changes go into the redo record first, so that whoever takes the
//! write lock after a killed writer finishes or undoes them. Each record has a sequence word, odd while it
//! is being written. Readers never wait.

mod reader;
mod step;
mod writer;

pub use reader::{Change, ChangeCursor, Changes, Occupancy, SadReader, ScanGuard};
pub use step::Step;
pub use writer::{SadWriter, Transaction};

/// Most changes one transaction (one generation) takes.
pub const MAX_CHANGES: usize = 256;
