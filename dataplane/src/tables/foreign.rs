//! Inbound SAs whose SPI is not of our allocation: by SPI, few or none on most gateways.

use std::sync::Arc;

use esp::Spi;

use super::hash::spread;
use super::sa::InboundSa;
use super::trie::Trie;

/// See the module's text.
#[derive(Debug)]
pub struct Foreign<K>(Trie<Arc<InboundSa<K>>>);

impl<K> Default for Foreign<K> {
    fn default() -> Self {
        Self(Trie::default())
    }
}

impl<K> Clone for Foreign<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Foreign<K> {
    /// Walks over the SAs with an SPI; peers with different addresses of ours may have chosen the same.
    #[inline]
    pub fn get(&self, spi: Spi) -> impl Iterator<Item = &InboundSa<K>> {
        self.0.get(spread(spi.0)).map(Arc::as_ref)
    }

    /// Puts an SA in place of the one with its SPI and slot.
    pub fn put(&mut self, sa: Arc<InboundSa<K>>) {
        self.remove(sa.common.spi, sa.common.slot);
        self.0.insert(spread(sa.common.spi.0), sa, |_| false);
    }

    /// Takes an SA out.
    pub fn remove(&mut self, spi: Spi, slot: u32) {
        self.0.remove(spread(spi.0), |sa| sa.common.slot == slot);
    }

    /// Number of SAs.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Walks over all SAs.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<InboundSa<K>>> {
        self.0.iter()
    }
}
