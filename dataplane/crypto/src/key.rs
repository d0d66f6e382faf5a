//! An expanded key: a handle to a cell of the arena, zeroized when it is dropped.

use std::fmt;

use esp::aead::Algorithm;

/// An expanded key of one SA and direction, shared by all workers. Dropping it zeroizes it; the control thread does.
pub struct Key {
    algorithm: Algorithm,
}

impl Key {
    /// Returns the algorithm the key is for.
    #[must_use]
    #[inline]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Starts loading the parts of the key that a packet of any length needs. Waits for nothing.
    #[inline]
    pub fn prefetch(&self) {
        self.prefetch_for(0);
    }

    /// Starts loading the parts of the key that a packet with `text_octets` of text needs. Waits for nothing.
    #[inline]
    pub fn prefetch_for(&self, text_octets: usize) {
        let _ = text_octets;
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
