//! The bridge's view of `live`: read only.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::record::Place;
use super::shape::{KIND, Shape};
use super::totals::{self, Counted};
use super::{Event, EventCursor, LiveRecord, event};
use crate::error::Error;
use crate::ids::{Generation, InstanceId, SaUid, Slot};
use crate::map::Access;
use crate::place::RuntimeDir;
use crate::sa::Direction;
use crate::segment;

/// What an SA has used so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Octets sealed or opened.
    pub octets: u64,
    /// Packets sealed or opened.
    pub packets: u64,
    /// When last used; 0 if never. Units: nanoseconds of CLOCK_BOOTTIME.
    pub last_use_ns: u64,
    /// Number last taken (outbound).
    pub oseq: u64,
    /// Top of the window (inbound).
    pub iseq_top: u64,
    /// The 32 numbers up to the top, bit 0 the top.
    pub bitmap: u32,
    /// Packets seen before.
    pub err_replay: u64,
    /// Packets older than the window.
    pub err_too_old: u64,
    /// Packets whose ICV was wrong.
    pub err_integrity: u64,
    /// Packets whose inside was wrong.
    pub err_inner: u64,
}

/// Whether events were missed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Events {
    /// Every event is in the list.
    All,
    /// The ring went round: recompute the truth from the counters.
    Lapped,
}

/// The bridge's read-only map of `live`.
pub struct LiveReader {
    shape: Shape,
    instance: InstanceId,
}

impl LiveRecord {
    /// Reads what an SA has used so far, all but the bitmap; `None` when the record is not its own, or no more. Who has
    /// the engine's map at hand needs no other, whose pages would count as memory once more.
    #[must_use]
    pub fn usage(&self, uid: SaUid, direction: Direction) -> Option<Usage> {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed);
        let (octets, packets, last_use_ns) = match direction {
            Direction::In => (&self.in_octets, &self.in_packets, &self.in_last_use_ns),
            Direction::Out => (&self.out_octets, &self.out_packets, &self.out_last_use_ns),
        };
        let before = load(&self.uid);
        fence(Ordering::Acquire);
        let usage = Usage {
            octets: load(octets),
            packets: load(packets),
            last_use_ns: load(last_use_ns),
            oseq: load(&self.next_seq),
            iseq_top: load(&self.window_top),
            bitmap: 0,
            err_replay: load(&self.err_replay),
            err_too_old: load(&self.err_too_old),
            err_integrity: load(&self.err_integrity),
            err_inner: load(&self.err_inner),
        };
        fence(Ordering::Acquire);
        (before == uid.get() && load(&self.uid) == before).then_some(usage)
    }
}

impl LiveReader {
    /// Maps the segment read-only.
    /// Errors: `Missing`, `OtherBoot`, `Version`, `Truncated`, `NotASegment`, `Header`, `System`.
    pub fn attach(dir: &RuntimeDir) -> Result<Self, Error> {
        let (map, prefix) = segment::attach(dir, &KIND, Access::Read)?;
        Ok(Self { shape: Shape::new(map, &prefix)?, instance: InstanceId(prefix.instance) })
    }

    /// Tells whether the file behind the map is still the one in the directory; one stat.
    pub fn is_current(&self) -> bool {
        self.shape.map.is_current()
    }

    /// Identity of the segment.
    pub const fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Process id of the engine that attached last.
    pub fn engine_pid(&self) -> u32 {
        self.shape.header().map_or(0, |header| header.writer_pid.load(Ordering::Relaxed))
    }

    /// When the engine's control thread last said that it lives. Units: nanoseconds of CLOCK_BOOTTIME.
    pub fn heartbeat_ns(&self) -> u64 {
        self.shape.header().map_or(0, |header| header.heartbeat_ns.load(Ordering::Relaxed))
    }

    /// Everything up to this generation of `sad` is in use by every worker.
    pub fn adopted_generation(&self) -> Generation {
        // A read-only map allows relaxed loads only; the fence makes it an acquire.
        let adopted =
            self.shape.header().map_or(0, |header| header.adopted_generation.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        Generation(adopted)
    }

    /// Reads one SA's usage. Errors: `OtherSa` when the engine has not taken it up, or let it go meanwhile.
    pub fn usage(&self, slot: Slot, uid: SaUid, direction: Direction) -> Result<Usage, Error> {
        let record = self.owned(slot, uid)?;
        let bitmap = self.bitmap(slot, record)?;
        let usage = record.usage(uid, direction).map(|usage| Usage { bitmap, ..usage });
        usage.ok_or_else(|| Error::OtherSa { slot, uid, found: record.uid.load(Ordering::Relaxed) })
    }

    fn owned(&self, slot: Slot, uid: SaUid) -> Result<&LiveRecord, Error> {
        let other = |found| Error::OtherSa { slot, uid, found };
        if !self.shape.has_record(slot) {
            return Err(other(0));
        }
        let record = self.shape.record(slot)?;
        let found = record.uid.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        if found == uid.get() { Ok(record) } else { Err(other(found)) }
    }

    /// Returns the 32 numbers up to the top, bit 0 the top, as `ip xfrm` shows them.
    fn bitmap(&self, slot: Slot, record: &LiveRecord) -> Result<u32, Error> {
        let value = record.place.load(Ordering::Relaxed);
        let ring = Place::unpack(value).and_then(|place| self.shape.ring(record, place));
        let ring = ring.ok_or(Error::LiveField { slot, field: "place", value })?;
        let top = record.window_top.load(Ordering::Relaxed);
        let bits = |block: u64| {
            let wanted = block & u64::from(u32::MAX);
            let found =
                ring.iter().map(|word| word.load(Ordering::Relaxed)).find(|word| word >> 32 == wanted);
            found.unwrap_or(0) & u64::from(u32::MAX)
        };
        let upper = bits(top / 32);
        let lower = (top / 32).checked_sub(1).map_or(0, bits);
        // The top's bit becomes the lowest of the 64 that two blocks hold, counted downwards.
        let downwards = (upper << 32 | lower) << (31 - top % 32);
        u32::try_from(downwards >> 32).map(u32::reverse_bits).map_err(|_| Error::LiveField {
            slot,
            field: "window_top",
            value: top,
        })
    }

    /// Totals of the deleted SAs of every tunnel.
    pub fn all_retired_totals(&self) -> Result<Vec<Counted>, Error> {
        totals::read_all(&self.shape)
    }

    /// Place in the event ring now.
    pub fn event_cursor(&self) -> EventCursor {
        let head = self.shape.header().map_or(0, |header| header.event_head.load(Ordering::Relaxed));
        fence(Ordering::Acquire);
        EventCursor(head)
    }

    /// Appends what was raised since `cursor` to `out` and moves it.
    pub fn events(&self, cursor: &mut EventCursor, out: &mut Vec<Event>) -> Events {
        let head = self.event_cursor();
        let since = std::mem::replace(cursor, head).0;
        let kept = out.len();
        // The engine may be writing the entry behind the head, which is the oldest one's place.
        let room = self.shape.event_entries - 1;
        let within = |head: u64| head.checked_sub(since).is_some_and(|count| count <= room);
        if !within(head.0) {
            return Events::Lapped;
        }
        for at in since..head.0 {
            let words =
                self.shape.event(at).map(|words| words.each_ref().map(|word| word.load(Ordering::Relaxed)));
            out.extend(words.and_then(|words| event::decode(&words, at)));
        }
        fence(Ordering::Acquire);
        if within(self.event_cursor().0) {
            return Events::All;
        }
        out.truncate(kept);
        Events::Lapped
    }
}
