//! Segment 2, `live`: what the engine counts. One writer, the engine; the bridge reads.
//!
//! It outlives the engine: a restarted one finds sequence numbers and windows where it left them.

mod engine;
mod event;
mod reader;
mod record;

pub use engine::{Counted, InitOutcome, Live, NewRecord, RingRef, Totals, Window};
pub use event::{Event, EventCursor, EventKind, Flow};
pub use reader::{Events, LiveReader, Usage};
pub use record::{INLINE_RING_WORDS, LiveRecord};
