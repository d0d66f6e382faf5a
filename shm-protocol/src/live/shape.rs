//! Where things are in a mapped `live`: the header's offsets and strides, checked once at attach.

use std::sync::atomic::{AtomicU64, Ordering};

use super::record::{INLINE_WORDS, LiveRecord, Place};
use crate::error::Error;
use crate::ids::{SA_SLOTS, Slot};
use crate::layout::{
    self, ARENA_WORDS, EVENT_OCTETS, EVENTS_LOG2, HEADER_OCTETS, LIVE_OCTETS, LiveHeader, Prefix,
    TOTALS_LOG2, TotalsRecord,
};
use crate::map::Map;
use crate::segment::Kind;

/// `live` as this release makes it.
pub(super) const KIND: Kind = Kind {
    name: "live",
    magic: layout::LIVE_MAGIC,
    record_octets: LIVE_OCTETS,
    second_octets: EVENT_OCTETS,
    regions: [layout::live::EVENTS, layout::live::TOTALS, layout::live::RECORDS, layout::live::ARENA],
    file_octets: layout::live::END,
};

/// A mapped `live` with its checked geometry.
pub(super) struct Shape {
    pub(super) map: Map,
    events: u64,
    event_stride: u64,
    pub(super) event_entries: u64,
    totals: u64,
    pub(super) totals_entries: u32,
    records: u64,
    record_stride: u64,
    arena: u64,
    pub(super) arena_words: u32,
}

impl Shape {
    /// Checks that every region lies inside the file. Errors: `Header`.
    pub(super) fn new(map: Map, prefix: &Prefix) -> Result<Self, Error> {
        let bad = |field, value: u64| Error::Header { segment: KIND.name, field, value };
        let [events, totals, records, arena] = prefix.regions;
        let header: &LiveHeader = map.at(0).ok_or_else(|| bad("file_octets", prefix.file_octets))?;
        let events_log2 = header.events_log2.load(Ordering::Relaxed);
        let totals_log2 = header.totals_log2.load(Ordering::Relaxed);
        let arena_words = header.arena_words.load(Ordering::Relaxed);
        if !(4..=20).contains(&events_log2) {
            return Err(bad("events_log2", events_log2.into()));
        }
        if !(4..=24).contains(&totals_log2) {
            return Err(bad("totals_log2", totals_log2.into()));
        }
        let words = u32::try_from(arena_words).map_err(|_| bad("arena_words", arena_words))?;
        // Records of another inside have their counters in other places.
        let ring_words = header.ring_words.load(Ordering::Relaxed);
        if ring_words != INLINE_WORDS {
            return Err(bad("ring_words", ring_words.into()));
        }
        // A record is reached as a struct of whole cache lines.
        if !prefix.record_octets.is_multiple_of(64) {
            return Err(bad("record_octets", prefix.record_octets.into()));
        }
        let shape = Self {
            events,
            event_stride: prefix.second_octets.into(),
            event_entries: 1 << events_log2,
            totals,
            totals_entries: 1 << totals_log2,
            records,
            record_stride: prefix.record_octets.into(),
            arena,
            arena_words: words,
            map,
        };
        let regions = [
            ("event_offset", events, shape.event_entries, shape.event_stride),
            ("totals_offset", totals, shape.totals_entries.into(), size_of::<TotalsRecord>() as u64),
            ("record_offset", records, SA_SLOTS.into(), shape.record_stride),
            ("arena_offset", arena, arena_words, 8),
        ];
        for (field, offset, count, stride) in regions {
            let end = count.checked_mul(stride).and_then(|octets| octets.checked_add(offset));
            let inside = end.is_some_and(|end| end <= prefix.file_octets);
            if offset < HEADER_OCTETS.into() || !offset.is_multiple_of(64) || !inside {
                return Err(bad(field, offset));
            }
        }
        Ok(shape)
    }

    /// Gives a new file its geometry.
    pub(super) fn fill(map: &Map) -> Result<(), Error> {
        let lost = Error::Header { segment: KIND.name, field: "file_octets", value: 0 };
        let header: &LiveHeader = map.at(0).ok_or(lost)?;
        header.events_log2.store(EVENTS_LOG2, Ordering::Relaxed);
        header.totals_log2.store(TOTALS_LOG2, Ordering::Relaxed);
        header.arena_words.store(ARENA_WORDS, Ordering::Relaxed);
        header.ring_words.store(INLINE_WORDS, Ordering::Relaxed);
        map.provide(0, layout::live::TOTALS)
    }

    /// Returns the header.
    pub(super) fn header(&self) -> Result<&LiveHeader, Error> {
        self.map.at(0).ok_or(Error::Header { segment: KIND.name, field: "header", value: 0 })
    }

    /// Returns the record of `slot`.
    pub(super) fn record(&self, slot: Slot) -> Result<&LiveRecord, Error> {
        let value = self.record_at(slot);
        self.record_if_any(slot).ok_or(Error::LiveField { slot, field: "offset", value })
    }

    /// Returns the record of `slot`, for those who ask for every packet.
    #[inline]
    pub(super) fn record_if_any(&self, slot: Slot) -> Option<&LiveRecord> {
        self.map.at(self.record_at(slot))
    }

    #[inline]
    const fn record_at(&self, slot: Slot) -> u64 {
        self.records + slot.index() as u64 * self.record_stride
    }

    /// Tells whether the record of `slot` was ever set up; one that was not reads as 0.
    pub(super) fn has_record(&self, slot: Slot) -> bool {
        self.map.is_backed(self.record_at(slot), self.record_stride)
    }

    /// Gives memory to the record of `slot`, so that counting in it cannot end in SIGBUS.
    pub(super) fn provide_record(&self, slot: Slot) -> Result<(), Error> {
        self.map.provide_around(self.record_at(slot), self.record_stride)
    }

    /// Returns the totals entry `index`.
    pub(super) fn totals(&self, index: u32) -> Result<&TotalsRecord, Error> {
        let offset = self.totals + u64::from(index) * size_of::<TotalsRecord>() as u64;
        let lost = Error::Header { segment: KIND.name, field: "totals_used", value: index.into() };
        if index < self.totals_entries { self.map.at(offset).ok_or(lost) } else { Err(lost) }
    }

    /// Gives memory to a totals entry.
    pub(super) fn provide_totals(&self, index: u32) -> Result<(), Error> {
        let octets = size_of::<TotalsRecord>() as u64;
        self.map.provide(self.totals + u64::from(index) * octets, octets)
    }

    /// Returns the words of the event at position `at`.
    pub(super) fn event(&self, at: u64) -> Option<&[AtomicU64; EVENT_OCTETS as usize / 8]> {
        let offset = self.events + (at & (self.event_entries - 1)) * self.event_stride;
        self.map.words(offset, EVENT_OCTETS as usize / 8)?.first_chunk()
    }

    /// Returns the words of a ring; `None` if it is not inside the arena.
    #[inline]
    pub(super) fn ring<'a>(&'a self, record: &'a LiveRecord, place: Place) -> Option<&'a [AtomicU64]> {
        let Some(block) = place.block else { return Some(&record.ring) };
        let end = block.word.checked_add(block.words())?;
        let count = usize::try_from(block.words()).ok()?;
        if end > self.arena_words {
            return None;
        }
        self.map.words(self.arena + u64::from(block.word) * 8, count)
    }

    /// Gives memory to the words of a ring in the arena.
    pub(super) fn provide_ring(&self, place: Place) -> Result<(), Error> {
        match place.block {
            Some(block) => {
                self.map.provide(self.arena + u64::from(block.word) * 8, u64::from(block.words()) * 8)
            }
            None => Ok(()),
        }
    }
}
