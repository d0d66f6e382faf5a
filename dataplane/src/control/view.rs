//! What the control thread shows the service thread: snapshots, taken without either waiting for the other's work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::host::Lost;
use crate::tables::Tables;

/// See the module's text.
#[derive(Debug)]
pub struct View<K> {
    tables: Mutex<Arc<Tables<K>>>,
    bridge: AtomicBool,
    /// Packets lost between engine and kernel.
    pub lost: Arc<Lost>,
}

impl<K> View<K> {
    /// Makes a view of the first tables.
    #[must_use]
    pub fn new(tables: Arc<Tables<K>>) -> Self {
        Self { tables: Mutex::new(tables), bridge: AtomicBool::new(false), lost: Arc::default() }
    }

    /// Returns the tables the workers read.
    #[must_use]
    pub fn tables(&self) -> Arc<Tables<K>> {
        Arc::clone(&self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the bridge is connected.
    #[must_use]
    pub fn bridge_connected(&self) -> bool {
        self.bridge.load(Ordering::Relaxed)
    }

    pub(super) fn set_tables(&self, tables: Arc<Tables<K>>) {
        // The lock is held for the length of a swap; what goes is freed behind it.
        let before =
            std::mem::replace(&mut *self.tables.lock().unwrap_or_else(PoisonError::into_inner), tables);
        drop(before);
    }

    pub(super) fn set_bridge(&self, connected: bool) {
        self.bridge.store(connected, Ordering::Relaxed);
    }
}
