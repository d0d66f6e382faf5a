//! Named points between the stores of a transaction, for tests that kill or stop a writer at each.

/// A point inside [`crate::sad::SadWriter::commit`], in the order they are passed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// The write lock is held, nothing is written.
    Locked,
    /// The redo record says that it is being filled.
    RedoFilling,
    /// One entry of the redo record is half written.
    RedoEntryHalf,
    /// The redo record is whole but not yet valid.
    RedoFilled,
    /// The redo record is valid: from here the transaction will happen.
    RedoCommitted,
    /// A record's sequence word is odd, its body is old.
    SlotOdd,
    /// A record's body is half new, half old.
    SlotHalf,
    /// A record's body is new, its sequence word still odd.
    SlotBody,
    /// A record's sequence word is even again.
    SlotEven,
    /// One entry of the change ring is written, its head is not.
    RingEntry,
    /// The head of the change ring is moved, the generation is not.
    RingHead,
    /// The generation is moved, the redo record still valid.
    Generation,
    /// The redo record says that it is being wiped.
    RedoWiping,
    /// The redo record is half wiped.
    RedoWipedHalf,
    /// The redo record is empty, the write lock still held.
    RedoEmpty,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 15] = [
        Self::Locked,
        Self::RedoFilling,
        Self::RedoEntryHalf,
        Self::RedoFilled,
        Self::RedoCommitted,
        Self::SlotOdd,
        Self::SlotHalf,
        Self::SlotBody,
        Self::SlotEven,
        Self::RingEntry,
        Self::RingHead,
        Self::Generation,
        Self::RedoWiping,
        Self::RedoWipedHalf,
        Self::RedoEmpty,
    ];
}
