//! Segment 2, `live`: what the engine counts. One writer, the engine; the bridge reads.
//!
//! It outlives the engine: a restarted one finds sequence numbers and windows where it left them.

mod arena;
mod engine;
mod event;
mod part;
mod reader;
mod record;
mod setup;
mod shape;
mod step;
mod totals;

pub use engine::{InitOutcome, Live, NewRecord, RingRef, Window};
pub use event::{Event, EventCursor, EventKind, Flow};
pub use part::Part;
pub use reader::{Events, LiveReader, Usage};
pub use record::{INLINE_RING_WORDS, LiveRecord};
pub use step::LiveStep;
pub use totals::{Counted, Totals};
