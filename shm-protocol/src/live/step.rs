//! Named points between the stores of the engine's control thread, for tests that stop it at each.

/// A point inside [`crate::live::Live::init`] or [`crate::live::Live::retire`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LiveStep {
    /// The record belongs to nobody, its words are old.
    UidZero,
    /// The record's words are zero.
    Cleared,
    /// The initial numbers are set.
    InitialSet,
    /// The window's words are set.
    WindowPreset,
    /// The record belongs to the SA.
    UidSet,
    /// A larger window is laid out beside the one in use.
    NewWindowPreset,
    /// The larger window is in use.
    NewWindowPlaced,
    /// The journal is written but not valid.
    JournalFilled,
    /// The journal is valid: from here the SA's counters are in the totals.
    JournalValid,
    /// The totals are written.
    TotalsSet,
    /// The record belongs to nobody, the journal is still valid.
    Retired,
}

impl LiveStep {
    /// Every step.
    pub const ALL: [Self; 11] = [
        Self::UidZero,
        Self::Cleared,
        Self::InitialSet,
        Self::WindowPreset,
        Self::UidSet,
        Self::NewWindowPreset,
        Self::NewWindowPlaced,
        Self::JournalFilled,
        Self::JournalValid,
        Self::TotalsSet,
        Self::Retired,
    ];
}
