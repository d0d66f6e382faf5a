//! Counters of SAs that are gone, by tunnel: they never fall, whatever stops the engine meanwhile.
//!
//! A retirement is written to the journal as the totals it ends with, so that doing it twice is the same.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::LiveStep;
use super::record::{Place, highest_possible};
use super::shape::{KIND, Shape};
use crate::error::Error;
use crate::ids::{IfId, SaUid, Slot};

const NONE: u32 = 0;
const VALID: u32 = 1;

/// Entry for all tunnels beyond those that have their own.
const OTHERS: u32 = 0;

/// Counters of SAs that are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Octets opened.
    pub in_octets: u64,
    /// Packets opened.
    pub in_packets: u64,
    /// Octets sealed.
    pub out_octets: u64,
    /// Packets sealed.
    pub out_packets: u64,
    /// Packets refused by the window, the ICV, the inner check or a limit.
    pub errors: u64,
}

/// Totals of one tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counted {
    /// The tunnel.
    pub if_id: IfId,
    /// Its totals of SAs that are gone.
    pub totals: Totals,
}

fn load(sums: &[AtomicU64; 5]) -> Totals {
    let [in_octets, in_packets, out_octets, out_packets, errors] =
        sums.each_ref().map(|word| word.load(Ordering::Relaxed));
    Totals { in_octets, in_packets, out_octets, out_packets, errors }
}

/// Reads the totals of every tunnel that has an entry of its own.
pub(super) fn read_all(shape: &Shape) -> Result<Vec<Counted>, Error> {
    let used = shape.header()?.totals_used.load(Ordering::Relaxed).min(shape.totals_entries);
    fence(Ordering::Acquire);
    (OTHERS + 1..used)
        .map(|index| {
            let entry = shape.totals(index)?;
            Ok(Counted { if_id: IfId(entry.if_id.load(Ordering::Relaxed)), totals: load(&entry.sums) })
        })
        .collect()
}

/// Where each tunnel's entry is.
pub(super) struct Index {
    by_if_id: HashMap<IfId, u32>,
}

impl Index {
    /// Finds the entries there are. Errors: `Header`.
    pub(super) fn new(shape: &Shape) -> Result<Self, Error> {
        let header = shape.header()?;
        let used = header.totals_used.load(Ordering::Relaxed);
        if used > shape.totals_entries {
            return Err(Error::Header { segment: KIND.name, field: "totals_used", value: used.into() });
        }
        if used == 0 {
            shape.provide_totals(OTHERS)?;
            header.totals_used.store(1, Ordering::Release);
        }
        let mut by_if_id = HashMap::new();
        for index in OTHERS + 1..used {
            by_if_id.insert(IfId(shape.totals(index)?.if_id.load(Ordering::Relaxed)), index);
        }
        Ok(Self { by_if_id })
    }

    /// Returns a tunnel's entry, making one if there is room.
    fn entry(&mut self, shape: &Shape, if_id: IfId) -> Result<u32, Error> {
        if let Some(index) = self.by_if_id.get(&if_id) {
            return Ok(*index);
        }
        let header = shape.header()?;
        let index = header.totals_used.load(Ordering::Relaxed);
        if index >= shape.totals_entries {
            return Ok(OTHERS);
        }
        shape.provide_totals(index)?;
        shape.totals(index)?.if_id.store(if_id.0, Ordering::Relaxed);
        header.totals_used.store(index + 1, Ordering::Release);
        self.by_if_id.insert(if_id, index);
        Ok(index)
    }

    /// Returns a tunnel's totals.
    pub(super) fn read(&self, shape: &Shape, if_id: IfId) -> Totals {
        let entry = self.by_if_id.get(&if_id).and_then(|index| shape.totals(*index).ok());
        entry.map_or_else(Totals::default, |entry| load(&entry.sums))
    }

    /// Adds a record's counters to its tunnel's and leaves the record to nobody.
    pub(super) fn retire(
        &mut self,
        shape: &Shape,
        slot: Slot,
        uid: SaUid,
        hook: &mut dyn FnMut(LiveStep),
    ) -> Result<(), Error> {
        let record = shape.record(slot)?;
        let if_id = record.if_id.load(Ordering::Relaxed);
        let if_id =
            u32::try_from(if_id).map_err(|_| Error::LiveField { slot, field: "if_id", value: if_id })?;
        let index = self.entry(shape, IfId(if_id))?;
        let header = shape.header()?;
        let before = shape.totals(index)?;
        header.journal_slot.store(slot.index(), Ordering::Relaxed);
        header.journal_uid.store(uid.get(), Ordering::Relaxed);
        header.journal_totals_index.store(index, Ordering::Relaxed);
        for ((place, sum), more) in header.journal_totals.iter().zip(&before.sums).zip(record.totals()) {
            place.store(sum.load(Ordering::Relaxed).saturating_add(more), Ordering::Relaxed);
        }
        hook(LiveStep::JournalFilled);
        header.journal_state.store(VALID, Ordering::Release);
        fence(Ordering::SeqCst);
        hook(LiveStep::JournalValid);
        finish(shape, hook)
    }
}

/// Carries out what the journal says, if it says anything; also after a kill.
pub(super) fn finish(shape: &Shape, hook: &mut dyn FnMut(LiveStep)) -> Result<(), Error> {
    let header = shape.header()?;
    match header.journal_state.load(Ordering::Acquire) {
        NONE => return Ok(()),
        VALID => {}
        other => {
            return Err(Error::Header { segment: KIND.name, field: "journal_state", value: other.into() });
        }
    }
    let entry = shape.totals(header.journal_totals_index.load(Ordering::Relaxed))?;
    for (place, sum) in entry.sums.iter().zip(&header.journal_totals) {
        place.store(sum.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    hook(LiveStep::TotalsSet);
    let index = header.journal_slot.load(Ordering::Relaxed);
    let bad = || Error::Header { segment: KIND.name, field: "journal_slot", value: index.into() };
    let slot = Slot::new(index).ok_or_else(bad)?;
    if shape.record(slot)?.uid.load(Ordering::Relaxed) == header.journal_uid.load(Ordering::Relaxed) {
        leave(shape, slot)?;
    }
    fence(Ordering::SeqCst);
    hook(LiveStep::Retired);
    header.journal_state.store(NONE, Ordering::Release);
    fence(Ordering::SeqCst);
    Ok(())
}

/// Makes a record nobody's. Its numbers stay, for the same SA may be taken up again.
fn leave(shape: &Shape, slot: Slot) -> Result<(), Error> {
    let record = shape.record(slot)?;
    let value = record.place.load(Ordering::Relaxed);
    let ring = Place::unpack(value).and_then(|place| shape.ring(record, place));
    let ring = ring.ok_or(Error::LiveField { slot, field: "place", value })?;
    // The ring goes back to the arena, so the top has to stand for all that it knew.
    record
        .window_top
        .fetch_max(highest_possible(record.window_top.load(Ordering::Relaxed), ring), Ordering::Relaxed);
    record.counters().into_iter().for_each(|word| word.store(0, Ordering::Relaxed));
    record.retired_uid.store(record.uid.load(Ordering::Relaxed), Ordering::Relaxed);
    fence(Ordering::SeqCst);
    record.uid.store(0, Ordering::Release);
    Ok(())
}
