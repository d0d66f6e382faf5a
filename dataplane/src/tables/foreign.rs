//! Inbound SAs whose SPI is not of our allocation: by SPI, few or none on most gateways.

use std::sync::Arc;

use esp::Spi;

use super::hash::spread;
use super::sa::InboundSa;
use super::slots::Slots;
use super::trie::Trie;

/// See the module's text.
#[derive(Debug)]
pub struct Foreign<K> {
    by_spi: Trie<Arc<InboundSa<K>>>,
    by_slot: Slots<InboundSa<K>>,
}

impl<K> Default for Foreign<K> {
    fn default() -> Self {
        Self { by_spi: Trie::default(), by_slot: Slots::default() }
    }
}

impl<K> Clone for Foreign<K> {
    fn clone(&self) -> Self {
        Self { by_spi: self.by_spi.clone(), by_slot: self.by_slot.clone() }
    }
}

impl<K> Foreign<K> {
    /// Walks over the SAs with an SPI; peers with different addresses of ours may have chosen the same.
    #[inline]
    pub fn get(&self, spi: Spi) -> impl Iterator<Item = &InboundSa<K>> {
        self.by_spi.get(spread(spi.0)).map(Arc::as_ref)
    }

    /// Returns the SA in a slot.
    #[must_use]
    pub fn at(&self, slot: u32) -> Option<&Arc<InboundSa<K>>> {
        self.by_slot.get(slot)
    }

    /// Puts an SA in place of the one in its slot.
    pub fn put(&mut self, sa: Arc<InboundSa<K>>) {
        self.remove(sa.common.slot);
        self.by_slot.set(sa.common.slot, Some(Arc::clone(&sa)));
        self.by_spi.insert(spread(sa.common.spi.0), sa, |_| false);
    }

    /// Takes the SA in a slot out.
    pub fn remove(&mut self, slot: u32) -> Option<Arc<InboundSa<K>>> {
        let sa = self.by_slot.set(slot, None)?;
        self.by_spi.remove(spread(sa.common.spi.0), |other| other.common.slot == slot)
    }

    /// Number of SAs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_slot.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_slot.is_empty()
    }

    /// Walks over all SAs.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<InboundSa<K>>> {
        self.by_slot.iter()
    }
}
