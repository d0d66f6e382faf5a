//! What a transaction would write, worked out and checked before anything is touched.

use std::sync::atomic::Ordering;

use zerocopy::{FromBytes, IntoBytes};

use super::reader::{SadReader, copy_words};
use super::transaction::{Change, Transaction};
use super::{MAX_CHANGES, POLICY_WORDS, RecordWords, blank, kind};
use crate::error::Error;
use crate::ids::{Generation, InstanceId, PolicySlot, Slot, Spi};
use crate::layout::{PolicyImage, SaImage, SadHeader};
use crate::policy::Policy;
use crate::record;
use crate::sa::{Direction, Occupant, SpiHistory};

/// One record to be written.
pub(super) struct Entry {
    pub(super) kind: u32,
    pub(super) index: u32,
    /// The sequence word when the record is done: even.
    pub(super) sequence: u64,
    pub(super) record: Record,
}

/// What is to be written.
pub(super) enum Record {
    Sa(RecordWords),
    Policy(Box<[u64; POLICY_WORDS]>),
    /// Nothing: the header says it.
    Instance,
}

impl Record {
    /// Returns the words, the sequence word's place first.
    pub(super) fn words(&self) -> &[u64] {
        match self {
            Self::Sa(words) => words.as_slice(),
            Self::Policy(words) => words.as_slice(),
            Self::Instance => &[],
        }
    }
}

/// Everything one transaction writes.
pub(super) struct Plan {
    pub(super) entries: Vec<Entry>,
    pub(super) generation: Generation,
    pub(super) sa_count: u32,
    pub(super) policy_count: u32,
    pub(super) sa_used: u32,
    pub(super) policy_used: u32,
    pub(super) instance: InstanceId,
    /// SAs that this transaction removes, for the instance check.
    removed_sas: u32,
}

impl Plan {
    /// Works out the plan and gives its records memory. The caller holds the write lock.
    /// Errors: `Full`, `PoliciesFull`, `TooManyChanges`, `ChangedTwice`, `InstanceInUse`, `SaField`,
    /// `PolicyField`, `System` (no memory left on the tmpfs).
    pub(super) fn new(reader: &SadReader, transaction: &Transaction) -> Result<Self, Error> {
        let changes = transaction.len();
        if changes > MAX_CHANGES {
            return Err(Error::TooManyChanges { changes, limit: MAX_CHANGES });
        }
        let header = reader.shape.header()?;
        let mut plan = Self {
            entries: Vec::with_capacity(changes),
            generation: Generation(header.generation.load(Ordering::Relaxed) + 1),
            sa_count: header.sa_count.load(Ordering::Relaxed),
            policy_count: header.policy_count.load(Ordering::Relaxed),
            sa_used: header.sa_used.load(Ordering::Relaxed),
            policy_used: header.policy_used.load(Ordering::Relaxed),
            instance: reader.instance(),
            removed_sas: 0,
        };
        let mut before = blank();
        for change in &transaction.changes {
            let entry = match change {
                Change::Slot { slot, occupant, freed_ns } => {
                    plan.slot(reader, &mut before, *slot, occupant, *freed_ns)?
                }
                Change::Policy { slot, policy } => plan.policy(reader, *slot, policy.as_ref())?,
                Change::Instance(instance) => {
                    plan.instance = *instance;
                    Entry { kind: kind::INSTANCE, index: 0, sequence: 0, record: Record::Instance }
                }
            };
            plan.entries.push(entry);
        }
        plan.check_names()?;
        plan.admit(reader, header)?;
        Ok(plan)
    }

    /// Refuses two changes of one record.
    fn check_names(&self) -> Result<(), Error> {
        let mut names: Vec<(u32, u32)> = self.entries.iter().map(|entry| (entry.kind, entry.index)).collect();
        names.sort_unstable();
        let twice = names.iter().zip(names.iter().skip(1)).find(|(one, next)| one == next);
        twice.map_or(Ok(()), |(name, _)| Err(Error::ChangedTwice { index: name.1 }))
    }

    fn slot(
        &mut self,
        reader: &SadReader,
        before: &mut RecordWords,
        slot: Slot,
        occupant: &Occupant,
        freed_ns: u64,
    ) -> Result<Entry, Error> {
        reader.shape.provide_sa(slot.index())?;
        let sequence = copy_before(reader.shape.sa(slot.index())?, before.as_mut_slice());
        let damaged = |_| Error::SaField { slot, field: "size", value: 0 };
        let before = SaImage::ref_from_bytes(before.as_bytes()).map_err(damaged)?;
        let history = history(before, occupant, freed_ns);
        let mut words = blank();
        let image = SaImage::mut_from_bytes(words.as_mut_bytes()).map_err(|_| Error::SaField {
            slot,
            field: "size",
            value: 0,
        })?;
        record::sa::encode(occupant, &history, self.generation, image);
        // What the engine would read must be what was meant, or a wrong value would be found only there.
        let bad = |bad: record::BadField| Error::SaField { slot, field: bad.field, value: bad.value };
        if !record::sa::reads_as(slot, image, occupant).map_err(bad)? {
            return Err(Error::SaField { slot, field: "dst", value: 0 });
        }
        if image.selector_count > 1 {
            reader.shape.provide_more(slot.index())?;
        }
        self.sa_count = self.sa_count + u32::from(image.state != record::sa::EMPTY)
            - u32::from(before.state != record::sa::EMPTY).min(self.sa_count);
        self.sa_used = self.sa_used.max(slot.index() + 1);
        if before.state == record::sa::INSTALLED && image.state != record::sa::INSTALLED {
            self.removed_sas += 1;
        }
        Ok(Entry { kind: kind::SA, index: slot.index(), sequence, record: Record::Sa(words) })
    }

    fn policy(
        &mut self,
        reader: &SadReader,
        slot: PolicySlot,
        policy: Option<&Policy>,
    ) -> Result<Entry, Error> {
        reader.shape.provide_policy(slot.index())?;
        let mut before = [0; POLICY_WORDS];
        let sequence = copy_before(reader.shape.policy(slot.index())?, &mut before);
        let bad = |field, value| Error::PolicyField { slot, field, value };
        let before = PolicyImage::ref_from_bytes(before.as_bytes()).map_err(|_| bad("size", 0))?;
        let mut words = Box::new([0; POLICY_WORDS]);
        let image = PolicyImage::mut_from_bytes(words.as_mut_bytes()).map_err(|_| bad("size", 0))?;
        record::policy::encode(policy, self.generation, image);
        let read = record::policy::decode(slot, image).map_err(|found| bad(found.field, found.value))?;
        if read.as_ref() != policy {
            return Err(bad("template_dst", 0));
        }
        self.policy_count = self.policy_count + u32::from(image.state != record::policy::EMPTY)
            - u32::from(before.state != record::policy::EMPTY).min(self.policy_count);
        self.policy_used = self.policy_used.max(slot.index() + 1);
        Ok(Entry { kind: kind::POLICY, index: slot.index(), sequence, record: Record::Policy(words) })
    }

    /// Refuses growth beyond the admission limits, and another instance while SAs are left.
    fn admit(&self, reader: &SadReader, header: &SadHeader) -> Result<(), Error> {
        let capacity = header.capacity.load(Ordering::Relaxed);
        if self.sa_count > capacity && self.sa_count > header.sa_count.load(Ordering::Relaxed) {
            return Err(Error::Full { capacity });
        }
        let capacity = header.policy_capacity.load(Ordering::Relaxed);
        if self.policy_count > capacity && self.policy_count > header.policy_count.load(Ordering::Relaxed) {
            return Err(Error::PoliciesFull { capacity });
        }
        // SAs that run on no segment yet have used no number: they may run on the first one there is.
        if self.instance != reader.instance() && !reader.instance().is_none() {
            let installs = |entry: &&Entry| {
                SaImage::ref_from_bytes(entry.record.words().as_bytes())
                    .is_ok_and(|image| image.state == record::sa::INSTALLED)
            };
            let sas = installed(reader)?.saturating_sub(self.removed_sas);
            // Those that this transaction installs run on the new instance only if none was there before.
            let added = u32::try_from(self.entries.iter().filter(installs).count()).unwrap_or(u32::MAX);
            if sas + added > 0 {
                return Err(Error::InstanceInUse { sas: sas + added, instance: reader.instance() });
            }
        }
        Ok(())
    }
}

/// Copies a record as it is now and returns what its sequence word will be.
fn copy_before(words: &[std::sync::atomic::AtomicU64], out: &mut [u64]) -> u64 {
    copy_words(words, out);
    let sequence = out.first().copied().unwrap_or(0);
    (sequence | 1).wrapping_add(1)
}

fn installed(reader: &SadReader) -> Result<u32, Error> {
    let mut count = 0;
    for index in (0..reader.sa_slots_used()).filter(|index| reader.shape.has_sa(*index)) {
        let mut words = blank();
        copy_words(reader.shape.sa(index)?, words.as_mut_slice());
        let image = SaImage::ref_from_bytes(words.as_bytes());
        count += u32::from(image.is_ok_and(|image| image.state == record::sa::INSTALLED));
    }
    Ok(count)
}

/// What the slot will remember: the high part of every SPI of our own that it had.
fn history(before: &SaImage, occupant: &Occupant, freed_ns: u64) -> SpiHistory {
    let mut history = record::sa::history(before);
    let own: Option<Spi> = match occupant {
        Occupant::Empty => None,
        Occupant::Larval(larval) => Some(larval.spi),
        Occupant::Sa(sa) => (sa.direction == Direction::In && !sa.foreign).then_some(sa.spi),
    };
    if let Some(high) = own.map(Spi::high).filter(|high| history.last_high.first() != Some(high)) {
        history.last_high.rotate_right(1);
        if let Some(newest) = history.last_high.first_mut() {
            *newest = high;
        }
    }
    if freed_ns != 0 {
        history.freed_ns = freed_ns;
    }
    history
}
