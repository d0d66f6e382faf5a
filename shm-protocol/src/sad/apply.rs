//! The redo record: filled, made valid, carried out, wiped. Recovery runs the same code.
//!
//! A killed writer leaves one of four states. `FILLING`: nothing was touched, the entries are wiped.
//! `COMMITTED`: everything is written again from the entries. `WIPING`: all was written, keys may be left.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::plan::Plan;
use super::reader::{join, split};
use super::shape::{KIND, Shape};
use super::{MAX_CHANGES, POLICY_WORDS, SA_WORDS, Step, WHOLE_SA_WORDS, goes_on, kind};
use crate::error::Error;
use crate::ids::{PolicySlot, Slot};

const EMPTY: u32 = 0;
const FILLING: u32 = 1;
const COMMITTED: u32 = 2;
const WIPING: u32 = 3;

/// Calls the test hook, if there is one.
pub(super) type Hook<'a> = &'a mut dyn FnMut(Step);

/// Writes the plan down and carries it out. The caller holds the write lock and has recovered.
pub(super) fn commit(shape: &Shape, plan: &Plan, hook: Hook<'_>) -> Result<(), Error> {
    fill(shape, plan, hook)?;
    carry_out(shape, hook)?;
    wipe(shape, hook)
}

/// Finishes or undoes what a killed writer began. The caller holds the write lock.
/// Errors: `Header` when the redo record cannot be one of ours.
pub(super) fn recover(shape: &Shape) -> Result<(), Error> {
    let state = shape.header()?.redo_state.load(Ordering::Acquire);
    let hook: Hook<'_> = &mut |_| {};
    match state {
        EMPTY => Ok(()),
        FILLING | WIPING => wipe(shape, hook),
        COMMITTED => {
            carry_out(shape, hook)?;
            wipe(shape, hook)
        }
        other => Err(Error::Header { segment: KIND.name, field: "redo_state", value: other.into() }),
    }
}

fn fill(shape: &Shape, plan: &Plan, hook: Hook<'_>) -> Result<(), Error> {
    let header = shape.header()?;
    header.redo_state.store(FILLING, Ordering::Relaxed);
    fence(Ordering::Release);
    hook(Step::RedoFilling);
    for (at, entry) in (0..).zip(&plan.entries) {
        let words = shape.redo(at)?;
        let source = [join(entry.kind, entry.index), entry.sequence];
        let record = entry.record.words();
        let source = source.iter().chain(record.iter().skip(1));
        for (done, (word, value)) in words.iter().zip(source).enumerate() {
            word.store(*value, Ordering::Relaxed);
            if done == record.len() / 2 {
                hook(Step::RedoEntryHalf);
            }
        }
    }
    let count = u32::try_from(plan.entries.len()).unwrap_or(u32::MAX);
    header.redo_count.store(count, Ordering::Relaxed);
    header.redo_generation.store(plan.generation.0, Ordering::Relaxed);
    header.redo_ring_head.store(header.ring_head.load(Ordering::Relaxed), Ordering::Relaxed);
    header.redo_sa_count.store(plan.sa_count, Ordering::Relaxed);
    header.redo_policy_count.store(plan.policy_count, Ordering::Relaxed);
    header.redo_sa_used.store(plan.sa_used, Ordering::Relaxed);
    header.redo_policy_used.store(plan.policy_used, Ordering::Relaxed);
    for (word, value) in header.redo_instance.iter().zip(plan.instance.0) {
        word.store(value, Ordering::Relaxed);
    }
    hook(Step::RedoFilled);
    header.redo_state.store(COMMITTED, Ordering::Release);
    fence(Ordering::SeqCst);
    hook(Step::RedoCommitted);
    Ok(())
}

/// Writes everything the redo record says; doing it twice changes nothing.
fn carry_out(shape: &Shape, hook: Hook<'_>) -> Result<(), Error> {
    let header = shape.header()?;
    let count = header.redo_count.load(Ordering::Relaxed);
    if usize::try_from(count).is_ok_and(|count| count > MAX_CHANGES) {
        return Err(Error::Header { segment: KIND.name, field: "redo_count", value: count.into() });
    }
    for at in 0..count {
        record(shape, shape.redo(at)?, hook)?;
    }
    let head = header.redo_ring_head.load(Ordering::Relaxed);
    for at in 0..count {
        let [position, what] = shape.ring(head + u64::from(at))?;
        position.store(head + u64::from(at), Ordering::Relaxed);
        what.store(shape.redo(at)?.first().map_or(0, |word| word.load(Ordering::Relaxed)), Ordering::Relaxed);
        hook(Step::RingEntry);
    }
    header.ring_head.store(head + u64::from(count), Ordering::Release);
    hook(Step::RingHead);
    let same = [
        (&header.sa_count, &header.redo_sa_count),
        (&header.policy_count, &header.redo_policy_count),
        (&header.sa_used, &header.redo_sa_used),
        (&header.policy_used, &header.redo_policy_used),
    ];
    for (place, value) in same {
        place.store(value.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    for (place, value) in header.instance.iter().zip(&header.redo_instance) {
        place.store(value.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    header.generation.store(header.redo_generation.load(Ordering::Relaxed), Ordering::Release);
    hook(Step::Generation);
    Ok(())
}

/// Writes one record from its redo entry, unless it is there already.
fn record(shape: &Shape, entry: &[AtomicU64], hook: Hook<'_>) -> Result<(), Error> {
    let [what, sequence, body @ ..] = entry else { return Ok(()) };
    let (kind, index) = split(what.load(Ordering::Relaxed));
    let bad = || Error::Header { segment: KIND.name, field: "redo_entry", value: join(kind, index) };
    let (words, known) = match kind {
        kind::SA => (shape.sa(Slot::new(index).ok_or_else(bad)?.index())?, SA_WORDS),
        kind::POLICY => (shape.policy(PolicySlot::new(index).ok_or_else(bad)?.index())?, POLICY_WORDS),
        kind::INSTANCE => return Ok(()),
        _ => return Err(bad()),
    };
    let done = sequence.load(Ordering::Relaxed);
    let Some((word, rest)) = words.split_first() else { return Err(bad()) };
    if word.load(Ordering::Relaxed) == done {
        return Ok(());
    }
    let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
    word.store(done.wrapping_sub(1), Ordering::Relaxed);
    fence(Ordering::Release);
    hook(Step::SlotOdd);
    for (at, place) in rest.iter().enumerate() {
        // Octets behind those we know belong to a newer minor version and start at zero.
        let value = if at + 1 < known { body.get(at).map_or(0, load) } else { 0 };
        place.store(value, Ordering::Relaxed);
        if at == known / 2 {
            hook(Step::SlotHalf);
        }
    }
    if kind == kind::SA && goes_on(std::iter::once(done).chain(body.iter().map(load))) {
        let more = body
            .iter()
            .skip(SA_WORDS - 1)
            .take(WHOLE_SA_WORDS - SA_WORDS)
            .map(load)
            .chain(std::iter::repeat(0));
        for (place, value) in shape.sa_more(index)?.iter().zip(more) {
            place.store(value, Ordering::Relaxed);
        }
    }
    hook(Step::SlotBody);
    word.store(done, Ordering::Release);
    hook(Step::SlotEven);
    Ok(())
}

/// Wipes every entry, for they hold keys, and says that there is nothing to redo.
fn wipe(shape: &Shape, hook: Hook<'_>) -> Result<(), Error> {
    let header = shape.header()?;
    let limit = u32::try_from(MAX_CHANGES).unwrap_or(u32::MAX);
    let filling = header.redo_state.load(Ordering::Relaxed) == FILLING;
    if filling {
        // A writer killed while filling has not stored its count: then all are wiped.
        header.redo_count.store(limit, Ordering::Relaxed);
    }
    let count = header.redo_count.load(Ordering::Relaxed).min(limit);
    header.redo_state.store(WIPING, Ordering::Release);
    fence(Ordering::SeqCst);
    hook(Step::RedoWiping);
    for at in 0..count {
        let words = shape.redo(at)?;
        let what = words.first().map_or(0, |what| what.load(Ordering::Relaxed));
        // Behind a policy its entry was never written. One that is half wiped does not say any more what it was.
        let is_policy = !filling && split(what).0 == kind::POLICY;
        let words = words.get(..if is_policy { POLICY_WORDS + 1 } else { words.len() }).unwrap_or(words);
        for (done, word) in words.iter().enumerate() {
            word.store(0, Ordering::Relaxed);
            if done == words.len() / 2 {
                hook(Step::RedoWipedHalf);
            }
        }
    }
    fence(Ordering::Release);
    header.redo_count.store(0, Ordering::Relaxed);
    header.redo_state.store(EMPTY, Ordering::Release);
    hook(Step::RedoEmpty);
    Ok(())
}
