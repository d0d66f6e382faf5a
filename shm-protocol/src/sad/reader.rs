//! What the engine sees of `sad`: the generation, what changed since, and single records.
//!
//! Shared words are read as relaxed atomics; a record counts only if its sequence word was even before
//! and the same after. It is copied out, checked, and only then parsed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use zerocopy::{FromBytes, IntoBytes};

use super::shape::{KIND, Shape};
use super::{MAX_CHANGES, POLICY_WORDS, blank, kind};
use crate::error::Error;
use crate::ids::{Generation, InstanceId, PolicySlot, SA_SLOTS, Slot};
use crate::layout::{PolicyImage, SaImage};
use crate::lock;
use crate::map::Access;
use crate::place::RuntimeDir;
use crate::policy::Policy;
use crate::record;
use crate::sa::{Occupant, SlotContents, SpiHistory};
use crate::segment;

/// How often a record that changed under the copy is copied again.
const TRIES: usize = 4;

/// A record named by the change ring.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    /// An SA, larval SPI or emptied slot.
    Sa(Slot),
    /// A policy or emptied policy slot.
    Policy(PolicySlot),
    /// The instance id of the header.
    Instance,
}

/// Place in the change ring up to which a reader has adopted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChangeCursor(pub(crate) u64);

/// What changed since a cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Changes {
    /// The list holds every change; visit each slot named.
    List {
        /// Everything up to this generation is in the list.
        generation: Generation,
    },
    /// The ring went round: only a full scan knows.
    Lapped,
}

/// How full the segment is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Occupancy {
    /// SAs and reserved SPIs.
    pub sas: u32,
    /// Policies.
    pub policies: u32,
    /// Most SAs and reserved SPIs admitted.
    pub capacity: u32,
    /// Most policies admitted.
    pub policy_capacity: u32,
}

/// The engine's view of `sad`; read only, never waits.
pub struct SadReader {
    pub(super) shape: Shape,
    pub(super) lock: PathBuf,
    checked: bool,
}

/// LOCK_SH on `sad`, for attach and full scans only; no longer than a copy.
#[derive(Debug)]
pub struct ScanGuard {
    _guard: lock::Guard,
}

impl SadReader {
    /// Maps the segment read-only.
    /// Errors: `Missing`, `OtherBoot`, `Version`, `Truncated`, `NotASegment`, `Header`, `System`.
    pub fn attach(dir: &RuntimeDir) -> Result<Self, Error> {
        Self::over(dir, segment::attach(dir, &KIND, Access::Read)?)
    }

    pub(super) fn over(
        dir: &RuntimeDir,
        (map, prefix): (crate::map::Map, crate::layout::Prefix),
    ) -> Result<Self, Error> {
        Ok(Self { shape: Shape::new(map, &prefix)?, lock: lock::sad_lock(dir), checked: true })
    }

    /// Switches the sequence words off, to show in a test that torn reads do occur without them.
    #[doc(hidden)]
    pub fn ignore_sequence_words(&mut self) {
        self.checked = false;
    }

    /// Tells whether the file behind the map is still the one in the directory; one stat.
    pub fn is_current(&self) -> bool {
        self.shape.map.is_current()
    }

    /// Number of the last finished transaction; one load.
    pub fn generation(&self) -> Generation {
        // A read-only map allows relaxed loads only; the fence makes it an acquire.
        let generation = self.shape.header().map_or(0, |header| header.generation.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        Generation(generation)
    }

    /// The `live` segment that the SAs run on; when it is not the engine's own, no SA may be used.
    pub fn instance(&self) -> InstanceId {
        self.shape.header().map_or(InstanceId::NONE, |header| {
            let [high, low] = &header.instance;
            InstanceId([high.load(Ordering::Relaxed), low.load(Ordering::Relaxed)])
        })
    }

    /// Place in the change ring now; take it before a full scan.
    pub fn cursor(&self) -> ChangeCursor {
        let head = self.shape.header().map_or(0, |header| header.ring_head.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        ChangeCursor(head)
    }

    /// Fills `out` with what changed since `cursor` and moves it; after `Lapped` it stands at now.
    pub fn changes(&self, cursor: &mut ChangeCursor, out: &mut Vec<Change>) -> Changes {
        out.clear();
        // Read before the head, so that the head has every change of this generation.
        let generation = self.generation();
        let head = self.cursor();
        let listed = self.list(cursor.0, head.0, out);
        *cursor = head;
        match listed {
            Some(()) => Changes::List { generation },
            None => {
                out.clear();
                Changes::Lapped
            }
        }
    }

    /// Lists the entries from `since` to `head`; `None` when they are gone or may have been overwritten.
    fn list(&self, since: u64, head: u64, out: &mut Vec<Change>) -> Option<()> {
        // A writer may be filling as many entries beyond the head as one transaction has.
        let room = self.shape.ring_entries - MAX_CHANGES as u64;
        if head.checked_sub(since)? > room {
            return None;
        }
        for at in since..head {
            let [position, what] = self.shape.ring(at).ok()?;
            if position.load(Ordering::Relaxed) != at {
                return None;
            }
            out.push(change(what.load(Ordering::Relaxed))?);
        }
        fence(Ordering::Acquire);
        (self.cursor().0.checked_sub(since)? <= room).then_some(())
    }

    /// Reads one slot. Errors: `Torn` (keep what you had, a change will name it again), `SaField`.
    pub fn sa(&self, slot: Slot) -> Result<SlotContents, Error> {
        if !self.shape.has_sa(slot.index()) {
            let (occupant, history) = (Occupant::Empty, SpiHistory::default());
            return Ok(SlotContents { slot, occupant, history, generation: Generation::default() });
        }
        let mut words = blank();
        let record = self.shape.sa(slot.index())?;
        self.copy(record, slot.index(), || self.shape.copy_sa(slot.index(), &mut words))?;
        let image =
            SaImage::ref_from_bytes(words.as_bytes()).map_err(|_| Error::Torn { index: slot.index() })?;
        record::sa::decode(slot, image).map_err(|bad| Error::SaField {
            slot,
            field: bad.field,
            value: bad.value,
        })
    }

    /// Reads one policy. Errors: `Torn`, `PolicyField`.
    pub fn policy(&self, slot: PolicySlot) -> Result<Option<Policy>, Error> {
        if !self.shape.has_policy(slot.index()) {
            return Ok(None);
        }
        let mut words = [0; POLICY_WORDS];
        let record = self.shape.policy(slot.index())?;
        self.copy(record, slot.index(), || {
            copy_words(record, &mut words);
            Ok(())
        })?;
        let image =
            PolicyImage::ref_from_bytes(words.as_bytes()).map_err(|_| Error::Torn { index: slot.index() })?;
        record::policy::decode(slot, image).map_err(|bad| Error::PolicyField {
            slot,
            field: bad.field,
            value: bad.value,
        })
    }

    /// Slots below this one may hold something.
    pub fn sa_slots_used(&self) -> u32 {
        self.shape.header().map_or(0, |header| header.sa_used.load(Ordering::Relaxed)).min(SA_SLOTS)
    }

    /// Policy slots below this one may hold something.
    pub fn policy_slots_used(&self) -> u32 {
        self.shape
            .header()
            .map_or(0, |header| header.policy_used.load(Ordering::Relaxed))
            .min(crate::ids::POLICY_SLOTS)
    }

    /// How many SAs and reserved SPIs there are, how many policies, and how many are admitted.
    pub fn occupancy(&self) -> Occupancy {
        let load = |pick: fn(&crate::layout::SadHeader) -> &std::sync::atomic::AtomicU32| {
            self.shape.header().map_or(0, |header| pick(header).load(Ordering::Relaxed))
        };
        Occupancy {
            sas: load(|header| &header.sa_count),
            policies: load(|header| &header.policy_count),
            capacity: load(|header| &header.capacity),
            policy_capacity: load(|header| &header.policy_capacity),
        }
    }

    /// Takes LOCK_SH without waiting; `None` when refused: go on by sequence words alone.
    pub fn try_scan_guard(&self) -> Option<ScanGuard> {
        lock::try_shared(&self.lock).map(|guard| ScanGuard { _guard: guard })
    }

    /// Lets `read` copy a record whose sequence word was even and unchanged.
    fn copy(
        &self,
        words: &[AtomicU64],
        index: u32,
        mut read: impl FnMut() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some((sequence, _)) = words.split_first() else { return Err(Error::Torn { index }) };
        for _ in 0..TRIES {
            let before = sequence.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if self.checked && before % 2 == 1 {
                break;
            }
            read()?;
            fence(Ordering::Acquire);
            if !self.checked || sequence.load(Ordering::Relaxed) == before {
                return Ok(());
            }
        }
        Err(Error::Torn { index })
    }
}

/// Copies what this release knows of a record, word by word.
pub(super) fn copy_words(words: &[AtomicU64], out: &mut [u64]) {
    for (place, word) in out.iter_mut().zip(words) {
        *place = word.load(Ordering::Relaxed);
    }
}

fn change(what: u64) -> Option<Change> {
    let (kind, index) = split(what);
    match kind {
        kind::SA => Slot::new(index).map(Change::Sa),
        kind::POLICY => PolicySlot::new(index).map(Change::Policy),
        kind::INSTANCE => Some(Change::Instance),
        _ => None,
    }
}

/// Joins the kind and index of a change into one word.
pub(super) fn join(kind: u32, index: u32) -> u64 {
    u64::from(index) << 32 | u64::from(kind)
}

/// Takes a word of [`join`] apart.
#[allow(clippy::cast_possible_truncation, reason = "the two halves of a word")]
pub(super) fn split(what: u64) -> (u32, u32) {
    (what as u32, (what >> 32) as u32)
}
