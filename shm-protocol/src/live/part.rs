//! A part of `live` that was looked up once, and the map that keeps it: what an object of the packet path holds. With the map
//! itself the only file with `unsafe`.
#![allow(unsafe_code, reason = "a reference into what the same value keeps")]

use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::{Live, LiveRecord, RingRef};
use crate::ids::Slot;

/// See the module's text.
pub struct Part<T: ?Sized> {
    at: NonNull<T>,
    /// Never read: it keeps what `at` leads to.
    live: Arc<Live>,
}

// SAFETY: it is no more than a shared reference to the segment and one to the part.
unsafe impl<T: Sync + ?Sized> Send for Part<T> {}
// SAFETY: as above.
unsafe impl<T: Sync + ?Sized> Sync for Part<T> {}

impl<T: ?Sized> Part<T> {
    fn new(live: &Arc<Live>, find: impl for<'l> FnOnce(&'l Live) -> &'l T) -> Self {
        Self { at: NonNull::from(find(live)), live: Arc::clone(live) }
    }
}

impl Part<LiveRecord> {
    /// Looks one SA's record up.
    #[must_use]
    pub fn record(live: &Arc<Live>, slot: Slot) -> Self {
        Self::new(live, |live| live.record(slot))
    }
}

impl Part<[AtomicU64]> {
    /// Looks the words of a window up.
    #[must_use]
    pub fn window(live: &Arc<Live>, ring: RingRef) -> Self {
        Self::new(live, |live| live.window(ring).ring)
    }
}

impl<T: ?Sized> Deref for Part<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: it was found by a reference of any lifetime, so it is valid while the segment is; that is behind an `Arc`, where
        // it neither moves nor goes while `self` holds it.
        unsafe { self.at.as_ref() }
    }
}

impl<T: ?Sized> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self { at: self.at, live: Arc::clone(&self.live) }
    }
}

impl<T: ?Sized> std::fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("at", &self.at).finish_non_exhaustive()
    }
}
