//! Setting a record up: kept if it is this SA's already, else uid = 0, clear, initial values, uid last.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::arena::Arena;
use super::record::{Place, highest_possible, words_for};
use super::shape::Shape;
use super::{InitOutcome, LiveRecord, LiveStep, NewRecord, Window};
use crate::error::Error;
use crate::ids::Slot;
use crate::sa::MAX_WINDOW_PKTS;

/// Fills a window so that everything up to the number given is seen.
pub(super) type Preset<'a> = &'a mut dyn FnMut(Window<'_>, u64);

/// What a set-up works with.
pub(super) struct Setup<'a> {
    pub(super) shape: &'a Shape,
    pub(super) arena: &'a mut Arena,
    pub(super) hook: &'a mut dyn FnMut(LiveStep),
}

impl Setup<'_> {
    /// Sets the record up; `used` says that workers may use it already.
    /// Errors: `ArenaFull`, `WindowTooLarge`, `LiveField`, `System`.
    pub(super) fn run(
        &mut self,
        new: &NewRecord,
        used: bool,
        preset: Preset<'_>,
    ) -> Result<(InitOutcome, Place), Error> {
        if new.window_pkts > MAX_WINDOW_PKTS {
            return Err(Error::WindowTooLarge { pkts: new.window_pkts });
        }
        let record = self.shape.record(new.slot)?;
        if record.uid.load(Ordering::Acquire) == new.uid.get() {
            return self.keep(record, new, used, preset);
        }
        let inline = Place { size_pkts: new.window_pkts, block: None };
        let fits = words_for(new.window_pkts) <= inline.words();
        let place = if fits { inline } else { self.place(new.window_pkts)? };
        if record.retired_uid.load(Ordering::Relaxed) == new.uid.get() {
            self.revive(record, new, place, preset)?;
            return Ok((InitOutcome::Rewindowed, place));
        }
        self.fresh(record, new, place, preset)?;
        Ok((InitOutcome::Fresh, place))
    }

    /// Takes room for a window in the arena; nothing in the segment is touched but memory given.
    fn place(&mut self, size_pkts: u32) -> Result<Place, Error> {
        let words = words_for(size_pkts);
        let block = Arena::class(words).and_then(|class| self.arena.take(class));
        let block = block.ok_or(Error::ArenaFull { words })?;
        let place = Place { size_pkts, block: Some(block) };
        if let Err(error) = self.shape.provide_ring(place) {
            self.arena.give(block);
            return Err(error);
        }
        Ok(place)
    }

    fn fresh(
        &mut self,
        record: &LiveRecord,
        new: &NewRecord,
        place: Place,
        preset: Preset<'_>,
    ) -> Result<(), Error> {
        // The record is nobody's already, so its old window's block, if any, is free.
        record.uid.store(0, Ordering::Release);
        fence(Ordering::SeqCst);
        (self.hook)(LiveStep::UidZero);
        for word in record.all_but_uid() {
            word.store(0, Ordering::Relaxed);
        }
        let ring = self.ring(record, new.slot, place)?;
        clear(ring);
        (self.hook)(LiveStep::Cleared);
        record.next_seq.store(new.initial.oseq, Ordering::Relaxed);
        record.window_top.store(new.initial.iseq_top, Ordering::Relaxed);
        record.if_id.store(new.if_id.0.into(), Ordering::Relaxed);
        record.place.store(place.pack(), Ordering::Relaxed);
        (self.hook)(LiveStep::InitialSet);
        let window = Window { top: &record.window_top, ring, size_pkts: place.size_pkts };
        preset(window, new.initial.iseq_top);
        (self.hook)(LiveStep::WindowPreset);
        fence(Ordering::SeqCst);
        record.uid.store(new.uid.get(), Ordering::Release);
        (self.hook)(LiveStep::UidSet);
        Ok(())
    }

    /// Goes on with the numbers of an SA that was retired and is back: to start them again would repeat IVs
    /// and accept packets twice. Its counters are in the totals and begin at 0.
    fn revive(
        &mut self,
        record: &LiveRecord,
        new: &NewRecord,
        place: Place,
        preset: Preset<'_>,
    ) -> Result<(), Error> {
        let ring = self.ring(record, new.slot, place)?;
        clear(ring);
        (self.hook)(LiveStep::Cleared);
        record.if_id.store(new.if_id.0.into(), Ordering::Relaxed);
        record.place.store(place.pack(), Ordering::Relaxed);
        let top = record.window_top.load(Ordering::Relaxed);
        preset(Window { top: &record.window_top, ring, size_pkts: place.size_pkts }, top);
        (self.hook)(LiveStep::WindowPreset);
        fence(Ordering::SeqCst);
        record.uid.store(new.uid.get(), Ordering::Release);
        (self.hook)(LiveStep::UidSet);
        Ok(())
    }

    /// Goes on with the numbers there are; lays a larger window out if no worker can be using the old one.
    fn keep(
        &mut self,
        record: &LiveRecord,
        new: &NewRecord,
        used: bool,
        preset: Preset<'_>,
    ) -> Result<(InitOutcome, Place), Error> {
        let word = record.place.load(Ordering::Relaxed);
        let bad = Error::LiveField { slot: new.slot, field: "place", value: word };
        let old = Place::unpack(word).ok_or(bad)?;
        record.if_id.store(new.if_id.0.into(), Ordering::Relaxed);
        if used || new.window_pkts <= old.size_pkts {
            return Ok((InitOutcome::Kept, old));
        }
        // Always in another place, never over the ring in use: a kill on the way leaves the old one whole.
        let seen =
            highest_possible(record.window_top.load(Ordering::Relaxed), self.ring(record, new.slot, old)?);
        let place = self.place(new.window_pkts)?;
        let ring = self.ring(record, new.slot, place)?;
        clear(ring);
        // The top first: a kill from here on finds a higher bound, which never re-admits a packet.
        record.window_top.fetch_max(seen, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        preset(Window { top: &record.window_top, ring, size_pkts: place.size_pkts }, seen);
        (self.hook)(LiveStep::NewWindowPreset);
        fence(Ordering::SeqCst);
        record.place.store(place.pack(), Ordering::Release);
        (self.hook)(LiveStep::NewWindowPlaced);
        if let Some(block) = old.block {
            self.arena.give(block);
        }
        Ok((InitOutcome::Rewindowed, place))
    }

    fn ring<'s>(&self, record: &'s LiveRecord, slot: Slot, place: Place) -> Result<&'s [AtomicU64], Error>
    where
        Self: 's,
    {
        let bad = Error::LiveField { slot, field: "place", value: place.pack() };
        self.shape.ring(record, place).ok_or(bad)
    }
}

fn clear(ring: &[AtomicU64]) {
    for word in ring {
        word.store(0, Ordering::Relaxed);
    }
}
