//! Where things are in a mapped `sad`: the header's offsets and strides, checked once at attach.

use std::sync::atomic::AtomicU64;

use crate::error::Error;
use crate::ids::{POLICY_SLOTS, SA_SLOTS};
use crate::layout::{
    self, POLICY_OCTETS, Prefix, REDO_ENTRY_OCTETS, RING_ENTRIES_LOG2, RING_ENTRY_OCTETS, SA_MORE_OCTETS,
    SA_OCTETS, SadHeader,
};
use crate::map::Map;
use crate::sad::reader::copy_words;
use crate::sad::{MAX_CHANGES, SA_WORDS, WHOLE_SA_WORDS, goes_on};
use crate::segment::Kind;

/// `sad` as this release makes it.
pub(super) const KIND: Kind = Kind {
    name: "sad",
    magic: layout::SAD_MAGIC,
    record_octets: SA_OCTETS,
    second_octets: POLICY_OCTETS,
    regions: [layout::sad::REDO, layout::sad::RING, layout::sad::RECORDS, layout::sad::POLICIES],
    file_octets: layout::sad::END,
};

/// A mapped `sad` with its checked geometry.
pub(super) struct Shape {
    pub(super) map: Map,
    redo: u64,
    redo_stride: u64,
    ring: u64,
    pub(super) ring_entries: u64,
    records: u64,
    record_stride: u64,
    policies: u64,
    policy_stride: u64,
    more: u64,
    more_stride: u64,
}

impl Shape {
    /// Checks that every region lies inside the file. Errors: `Header`.
    pub(super) fn new(map: Map, prefix: &Prefix) -> Result<Self, Error> {
        let [redo, ring, records, policies] = prefix.regions;
        let Some(header) = map.at::<SadHeader>(0) else {
            return Err(Error::Header {
                segment: KIND.name,
                field: "file_octets",
                value: prefix.file_octets,
            });
        };
        let redo_entry = header.redo_entry_octets.load(std::sync::atomic::Ordering::Relaxed);
        let ring_log2 = header.ring_entries_log2.load(std::sync::atomic::Ordering::Relaxed);
        let more = header.more_offset.load(std::sync::atomic::Ordering::Relaxed);
        let more_octets = header.more_octets.load(std::sync::atomic::Ordering::Relaxed);
        let bad = |field, value: u64| Error::Header { segment: KIND.name, field, value };
        if more_octets < SA_MORE_OCTETS || !more_octets.is_multiple_of(8) || more_octets > 1 << 16 {
            return Err(bad("more_octets", more_octets.into()));
        }
        if redo_entry < REDO_ENTRY_OCTETS || !redo_entry.is_multiple_of(8) || redo_entry > 1 << 16 {
            return Err(bad("redo_entry_octets", redo_entry.into()));
        }
        if !(10..=24).contains(&ring_log2) {
            return Err(bad("ring_entries_log2", ring_log2.into()));
        }
        let shape = Self {
            redo,
            redo_stride: redo_entry.into(),
            ring,
            ring_entries: 1 << ring_log2,
            records,
            record_stride: prefix.record_octets.into(),
            policies,
            policy_stride: prefix.second_octets.into(),
            more,
            more_stride: more_octets.into(),
            map,
        };
        let inside = |offset: u64, count: u64, stride: u64| {
            offset.is_multiple_of(8)
                && count.checked_mul(stride).and_then(|o| o.checked_add(offset)) <= Some(prefix.file_octets)
        };
        let regions = [
            ("redo_offset", redo, MAX_CHANGES as u64, shape.redo_stride),
            ("ring_offset", ring, shape.ring_entries, RING_ENTRY_OCTETS),
            ("record_offset", records, SA_SLOTS.into(), shape.record_stride),
            ("policy_offset", policies, POLICY_SLOTS.into(), shape.policy_stride),
            ("more_offset", more, SA_SLOTS.into(), shape.more_stride),
        ];
        for (field, offset, count, stride) in regions {
            if offset < layout::HEADER_OCTETS.into() || !inside(offset, count, stride) {
                return Err(bad(field, offset));
            }
        }
        Ok(shape)
    }

    /// Gives a new file its geometry.
    pub(super) fn fill(map: &Map) -> Result<(), Error> {
        let header: &SadHeader =
            map.at(0).ok_or(Error::Header { segment: KIND.name, field: "file_octets", value: 0 })?;
        header.redo_entry_octets.store(REDO_ENTRY_OCTETS, std::sync::atomic::Ordering::Relaxed);
        header.ring_entries_log2.store(RING_ENTRIES_LOG2, std::sync::atomic::Ordering::Relaxed);
        header.more_offset.store(layout::sad::MORE, std::sync::atomic::Ordering::Relaxed);
        header.more_octets.store(SA_MORE_OCTETS, std::sync::atomic::Ordering::Relaxed);
        // What every transaction writes has its memory from the start.
        map.provide(0, layout::sad::RECORDS)
    }

    /// Returns the header.
    pub(super) fn header(&self) -> Result<&SadHeader, Error> {
        self.map.at(0).ok_or_else(|| self.lost("header"))
    }

    /// Returns the words of an SA record.
    pub(super) fn sa(&self, index: u32) -> Result<&[AtomicU64], Error> {
        self.words("record", self.records, index.into(), self.record_stride)
    }

    /// Returns the words that an SA record goes on with, where it has more selectors than one.
    pub(super) fn sa_more(&self, index: u32) -> Result<&[AtomicU64], Error> {
        self.words("more", self.more, index.into(), self.more_stride)
    }

    /// Copies what this release knows of an SA: its record, and what that goes on with.
    pub(super) fn copy_sa(&self, index: u32, out: &mut [u64; WHOLE_SA_WORDS]) -> Result<(), Error> {
        let (record, more) = out.split_at_mut(SA_WORDS);
        copy_words(self.sa(index)?, record);
        let offset = self.more + u64::from(index) * self.more_stride;
        if goes_on(record.iter().copied()) && self.map.is_backed(offset, self.more_stride) {
            copy_words(self.sa_more(index)?, more);
        } else {
            more.fill(0);
        }
        Ok(())
    }

    /// Returns the words of a policy record.
    pub(super) fn policy(&self, index: u32) -> Result<&[AtomicU64], Error> {
        self.words("policy", self.policies, index.into(), self.policy_stride)
    }

    /// Returns the words of a redo entry.
    pub(super) fn redo(&self, index: u32) -> Result<&[AtomicU64], Error> {
        self.words("redo", self.redo, index.into(), self.redo_stride)
    }

    /// Returns the two words of the change ring entry for position `at`.
    pub(super) fn ring(&self, at: u64) -> Result<&[AtomicU64; 2], Error> {
        let words = self.words("ring", self.ring, at & (self.ring_entries - 1), RING_ENTRY_OCTETS)?;
        words.first_chunk().ok_or_else(|| self.lost("ring"))
    }

    /// Tells whether an SA record was ever written; one that was not reads as 0.
    pub(super) fn has_sa(&self, index: u32) -> bool {
        self.map.is_backed(self.records + u64::from(index) * self.record_stride, self.record_stride)
    }

    /// Tells whether a policy record was ever written.
    pub(super) fn has_policy(&self, index: u32) -> bool {
        self.map.is_backed(self.policies + u64::from(index) * self.policy_stride, self.policy_stride)
    }

    /// Gives memory to an SA record, so that neither looking at it nor writing it can end in SIGBUS.
    pub(super) fn provide_sa(&self, index: u32) -> Result<(), Error> {
        self.map.provide_around(self.records + u64::from(index) * self.record_stride, self.record_stride)
    }

    /// Gives memory to what an SA record goes on with.
    pub(super) fn provide_more(&self, index: u32) -> Result<(), Error> {
        self.map.provide(self.more + u64::from(index) * self.more_stride, self.more_stride)
    }

    /// Gives memory to a policy record.
    pub(super) fn provide_policy(&self, index: u32) -> Result<(), Error> {
        self.map.provide_around(self.policies + u64::from(index) * self.policy_stride, self.policy_stride)
    }

    fn words(&self, what: &'static str, region: u64, index: u64, stride: u64) -> Result<&[AtomicU64], Error> {
        let count = usize::try_from(stride / 8).map_err(|_| self.lost(what))?;
        self.map.words(region + index * stride, count).ok_or_else(|| self.lost(what))
    }

    /// Not met after `new` has checked the regions; an error all the same, never a panic.
    fn lost(&self, field: &'static str) -> Error {
        Error::Header { segment: KIND.name, field, value: 0 }
    }
}
