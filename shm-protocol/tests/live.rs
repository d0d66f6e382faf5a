//! The segment `live` through its public interface: what was counted survives whoever counted it.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use common::runtime;
use proptest::prelude::*;
use shm_protocol::Error;
use shm_protocol::ids::{Generation, IfId, InstanceId, SaUid, Slot, Spi};
use shm_protocol::live::{
    Event, EventKind, Events, InitOutcome, Live, LiveReader, LiveStep, NewRecord, RingRef, Totals, Window,
};
use shm_protocol::place::RuntimeDir;
use shm_protocol::sa::{Direction, Initial};

fn record(slot: u32, uid: u64, window_pkts: u32) -> NewRecord {
    NewRecord {
        slot: Slot::new(slot).unwrap(),
        uid: SaUid::new(uid).unwrap(),
        if_id: IfId(slot % 3),
        initial: Initial { oseq: 1000, iseq_top: 50 },
        window_pkts,
    }
}

/// Fills a window as the engine does: every block up to that of `top` is seen.
fn preset(window: Window<'_>, top: u64) {
    let words = u64::try_from(window.ring.len()).unwrap();
    for back in 0..words {
        let bits = if back == 0 { u64::from(u32::MAX >> (31 - top % 32)) } else { u64::from(u32::MAX) };
        let place = usize::try_from((top / 32 % words + words - back) % words).unwrap();
        let word = (top / 32).checked_sub(back).map_or(0, |block| (block & 0xffff_ffff) << 32 | bits);
        window.ring[place].store(word, Ordering::Relaxed);
    }
}

/// The window's rule, one packet at a time; true if it is accepted.
fn accept(window: Window<'_>, seq: u64) -> bool {
    let words = u64::try_from(window.ring.len()).unwrap();
    if seq + u64::from(window.size_pkts) <= window.top.load(Ordering::Relaxed) {
        return false;
    }
    let word = &window.ring[usize::try_from(seq / 32 % words).unwrap()];
    let (block, bit) = ((seq / 32) & 0xffff_ffff, 1 << (seq % 32));
    let found = word.load(Ordering::Relaxed);
    let next = match found >> 32 {
        same if same == block => found | bit,
        // Serial arithmetic: blocks below that of a small top wrap round.
        other if block.wrapping_sub(other) & 0xffff_ffff < 1 << 31 => block << 32 | bit,
        _ => return false,
    };
    word.store(next, Ordering::Relaxed);
    // The top follows late on purpose: it is only a lower bound.
    if seq.is_multiple_of(3) {
        window.top.fetch_max(seq, Ordering::Relaxed);
    }
    found != next
}

fn init(live: &Live, new: &NewRecord) -> (InitOutcome, RingRef) {
    live.init(new, &mut preset).unwrap()
}

fn attach(dir: &RuntimeDir) -> Live {
    Live::attach_or_create(dir).unwrap()
}

fn killed(at: LiveStep) -> Box<dyn FnMut(LiveStep) + Send> {
    Box::new(move |step| assert!(step != at, "killed"))
}

#[test]
fn numbers_and_windows_go_on_after_a_restart_of_the_engine() {
    let (_temp, dir) = runtime();
    let first = attach(&dir);
    for window_pkts in [0, 32, 1024, 4096, 1 << 20] {
        let new = record(window_pkts % 1000, u64::from(window_pkts) + 1, window_pkts);
        let (outcome, ring) = init(&first, &new);
        assert_eq!(outcome, InitOutcome::Fresh);
        let record = first.record(new.slot);
        assert_eq!(record.next_seq.fetch_add(32, Ordering::Relaxed), 1000);
        assert_eq!(record.window_top.load(Ordering::Relaxed), 50);
        let window = first.window(ring);
        assert!(window_pkts == 0 || (!accept(window, 50) && accept(window, 51) && !accept(window, 51)));
    }
    let instance = first.instance();
    drop(first);
    let second = attach(&dir);
    assert_eq!(second.instance(), instance);
    for window_pkts in [0, 32, 1024, 4096, 1 << 20] {
        let new = record(window_pkts % 1000, u64::from(window_pkts) + 1, window_pkts);
        let (outcome, ring) = init(&second, &new);
        assert_eq!(outcome, InitOutcome::Kept);
        assert_eq!(second.record(new.slot).next_seq.load(Ordering::Relaxed), 1032);
        let window = second.window(ring);
        assert_eq!(window.size_pkts, window_pkts);
        assert!(window_pkts == 0 || (!accept(window, 51) && accept(window, 52)));
    }
}

#[test]
fn a_reset_killed_at_any_step_never_shows_the_old_numbers_under_the_new_uid() {
    let steps = [
        LiveStep::UidZero,
        LiveStep::Cleared,
        LiveStep::InitialSet,
        LiveStep::WindowPreset,
        LiveStep::UidSet,
    ];
    for step in steps {
        let (_temp, dir) = runtime();
        let first = attach(&dir);
        let old = record(3, 1, 5000);
        init(&first, &old);
        first.record(old.slot).next_seq.store(777, Ordering::Relaxed);
        first.retire(old.slot, old.uid).unwrap();
        let new = record(3, 2, 5000);
        first.set_step_hook(Some(killed(step)));
        assert!(catch_unwind(AssertUnwindSafe(|| init(&first, &new))).is_err());
        let second = attach(&dir);
        let uid = second.record(new.slot).uid.load(Ordering::Relaxed);
        assert_eq!(uid, if step == LiveStep::UidSet { 2 } else { 0 }, "{step:?}");
        let (_, ring) = init(&second, &new);
        let window = second.window(ring);
        assert_eq!(second.record(new.slot).next_seq.load(Ordering::Relaxed), 1000);
        assert!(!accept(window, 50) && accept(window, 51), "{step:?}");
    }
}

#[test]
fn totals_count_an_sa_exactly_once_whenever_its_retirement_is_killed() {
    for step in [LiveStep::JournalFilled, LiveStep::JournalValid, LiveStep::TotalsSet, LiveStep::Retired] {
        let (_temp, dir) = runtime();
        let first = attach(&dir);
        let (one, two) = (record(0, 1, 5000), record(3, 2, 32));
        for (new, octets) in [(&one, 100), (&two, 11)] {
            init(&first, new);
            first.record(new.slot).in_octets.store(octets, Ordering::Relaxed);
            first.record(new.slot).err_replay.store(1, Ordering::Relaxed);
        }
        first.retire(one.slot, one.uid).unwrap();
        first.set_step_hook(Some(killed(step)));
        assert!(catch_unwind(AssertUnwindSafe(|| first.retire(two.slot, two.uid))).is_err());
        let second = attach(&dir);
        second.retire(two.slot, two.uid).unwrap();
        let expected = Totals { in_octets: 111, errors: 2, ..Totals::default() };
        assert_eq!(second.retired_totals(IfId(0)), expected, "{step:?}");
        assert_eq!(second.all_retired_totals().len(), 1);
        assert_eq!(second.record(two.slot).uid.load(Ordering::Relaxed), 0);
        assert_eq!(LiveReader::attach(&dir).unwrap().all_retired_totals().unwrap()[0].totals, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_larger_window_after_a_restart_re_admits_nothing(
        small in 32u32..3000, large in 32u32..20_000, seqs in proptest::collection::vec(51u64..6000, 1..300),
        kill in proptest::option::of(prop_oneof![Just(LiveStep::NewWindowPreset), Just(LiveStep::NewWindowPlaced)])
    ) {
        let (_temp, dir) = runtime();
        let mut live = attach(&dir);
        let (_, ring) = init(&live, &record(3, 1, small));
        let mut accepted: Vec<u64> = seqs.into_iter().filter(|seq| accept(live.window(ring), *seq)).collect();
        drop(live);
        live = attach(&dir);
        if let Some(step) = kill {
            live.set_step_hook(Some(killed(step)));
            let died = catch_unwind(AssertUnwindSafe(|| init(&live, &record(3, 1, large)))).is_err();
            prop_assert_eq!(died, large > small);
            live = attach(&dir);
        }
        let (outcome, ring) = init(&live, &record(3, 1, large));
        prop_assert!(outcome == InitOutcome::Kept || large > small);
        prop_assert!(live.window(ring).size_pkts >= small.max(large));
        accepted.push(50);
        for seq in accepted {
            prop_assert!(!accept(live.window(ring), seq), "{} was accepted twice", seq);
        }
        let next = live.window(ring).top.load(Ordering::Relaxed).max(6000) + 40;
        prop_assert!(accept(live.window(ring), next));
    }
}

#[test]
fn an_sa_that_was_retired_and_is_back_goes_on_with_its_numbers() {
    let steps = [LiveStep::Cleared, LiveStep::WindowPreset, LiveStep::UidSet];
    for (step, window_pkts) in steps.into_iter().map(Some).chain([None]).zip([32, 1024, 4096, 64]) {
        let (_temp, dir) = runtime();
        let first = attach(&dir);
        let new = record(3, 1, window_pkts);
        let (_, ring) = init(&first, &new);
        first.record(new.slot).next_seq.fetch_add(500, Ordering::Relaxed);
        first.record(new.slot).in_packets.fetch_add(2, Ordering::Relaxed);
        assert!(accept(first.window(ring), 61) && accept(first.window(ring), 190));
        first.retire(new.slot, new.uid).unwrap();
        first.set_step_hook(step.map(killed));
        let died = catch_unwind(AssertUnwindSafe(|| init(&first, &new))).is_err();
        assert_eq!(died, step.is_some());
        let second = attach(&dir);
        let (_, ring) = init(&second, &new);
        assert_eq!(second.record(new.slot).next_seq.load(Ordering::Relaxed), 1500, "{step:?}");
        assert!(!accept(second.window(ring), 61) && !accept(second.window(ring), 190), "{step:?}");
        assert!(accept(second.window(ring), 230));
        assert_eq!(second.record(new.slot).in_packets.load(Ordering::Relaxed), 0);
        assert_eq!(second.retired_totals(IfId(0)).in_packets, 2);
    }
}

#[test]
fn a_window_that_workers_may_use_is_left_where_it_is() {
    let (_temp, dir) = runtime();
    let live = attach(&dir);
    let (_, ring) = init(&live, &record(3, 1, 32));
    assert_eq!(init(&live, &record(3, 1, 4096)), (InitOutcome::Kept, ring));
    let error = live.init(&record(3, 2, 32), &mut preset).unwrap_err();
    assert!(matches!(error, Error::OtherSa { found: 1, .. }), "{error}");
    let error = live.init(&record(4, 2, (1 << 20) + 1), &mut preset).unwrap_err();
    assert!(matches!(error, Error::WindowTooLarge { .. }), "{error}");
}

#[test]
fn an_sa_left_by_an_earlier_engine_goes_to_the_totals_before_its_slot_is_used() {
    let (_temp, dir) = runtime();
    let first = attach(&dir);
    for slot in [3, 4] {
        init(&first, &record(slot, u64::from(slot), 32));
        first.record(Slot::new(slot).unwrap()).out_packets.store(5, Ordering::Relaxed);
    }
    drop(first);
    let second = attach(&dir);
    init(&second, &record(3, 9, 32));
    assert_eq!(second.retired_totals(IfId(0)).out_packets, 5);
    assert_eq!(second.sweep(0..8, &|slot, uid| slot.index() == 3 && uid.get() == 9).unwrap(), (1, None));
    assert_eq!(second.retired_totals(IfId(1)).out_packets, 5);
    assert_eq!(second.sweep(0..8, &|slot, _| slot.index() == 3).unwrap(), (0, None));
}

#[test]
fn windows_in_the_arena_never_share_a_word() {
    let (_temp, dir) = runtime();
    let mut live = attach(&dir);
    let mut rings: Vec<(usize, usize)> = Vec::new();
    for slot in 0..300 {
        if slot == 150 {
            live = attach(&dir);
            rings.clear();
            (0..150).for_each(|slot| {
                rings.push(span(&live, &record(slot, u64::from(slot) + 1, 40 << (slot % 12))))
            });
        }
        rings.push(span(&live, &record(slot, u64::from(slot) + 1, 40 << (slot % 12))));
    }
    rings.sort_unstable();
    rings.dedup();
    assert_eq!(rings.len(), 300);
    assert!(rings.windows(2).all(|pair| pair[0].1 <= pair[1].0));
}

fn span(live: &Live, new: &NewRecord) -> (usize, usize) {
    let (_, ring) = init(live, new);
    let words: &[AtomicU64] = live.window(ring).ring;
    (words.as_ptr().addr(), words.as_ptr().addr() + size_of_val(words))
}

#[test]
fn the_bridge_reads_usage_of_the_sa_it_means_and_of_no_other() {
    let (_temp, dir) = runtime();
    let live = attach(&dir);
    let (_, ring) = init(&live, &record(3, 7, 64));
    let record_3 = live.record(Slot::new(3).unwrap());
    record_3.in_octets.store(1500, Ordering::Relaxed);
    record_3.out_packets.store(4, Ordering::Relaxed);
    for seq in [60, 61, 63] {
        assert!(accept(live.window(ring), seq));
    }
    live.set_adopted_generation(Generation(12));
    live.set_heartbeat_ns(99);
    let reader = LiveReader::attach(&dir).unwrap();
    let slot = Slot::new(3).unwrap();
    let usage = reader.usage(slot, SaUid::new(7).unwrap(), Direction::In).unwrap();
    assert_eq!((usage.octets, usage.packets, usage.oseq, usage.iseq_top), (1500, 0, 1000, 63));
    // 63, 61, 60 and, from 50 downwards, everything.
    assert_eq!(usage.bitmap, 0b1101 | u32::MAX << 13);
    assert_eq!(reader.usage(slot, SaUid::new(7).unwrap(), Direction::Out).unwrap().packets, 4);
    let error = reader.usage(slot, SaUid::new(8).unwrap(), Direction::In).unwrap_err();
    assert!(matches!(error, Error::OtherSa { found: 7, .. }), "{error}");
    let error = reader.usage(Slot::new(99_999).unwrap(), SaUid::new(8).unwrap(), Direction::In).unwrap_err();
    assert!(matches!(error, Error::OtherSa { found: 0, .. }), "{error}");
    assert_eq!((reader.adopted_generation(), reader.heartbeat_ns()), (Generation(12), 99));
    assert_eq!((reader.engine_pid(), reader.instance()), (std::process::id(), live.instance()));
    // Another engine has taken nothing up yet, whatever the one before it had.
    drop(live);
    let _another = attach(&dir);
    assert_eq!(reader.adopted_generation(), Generation(0));
}

#[test]
fn events_are_read_in_order_and_a_reader_too_late_is_told_so() {
    let (_temp, dir) = runtime();
    let live = attach(&dir);
    let reader = LiveReader::attach(&dir).unwrap();
    let mut cursor = reader.event_cursor();
    let event = |n: u64| Event {
        kind: EventKind::SoftOctets,
        time_ns: n,
        sa: Some((Slot::new(3).unwrap(), SaUid::new(7).unwrap())),
        spi: Some(Spi(0x1_0000)),
        policy: None,
        if_id: IfId(1),
        flow: None,
    };
    (0..3).for_each(|n| live.raise(&event(n)));
    let mut found = Vec::new();
    assert_eq!(reader.events(&mut cursor, &mut found), Events::All);
    assert_eq!(found, [event(0), event(1), event(2)]);
    (0..4095).for_each(|n| live.raise(&event(n)));
    assert_eq!(reader.events(&mut cursor, &mut found), Events::All);
    assert_eq!(found.len(), 3 + 4095);
    (0..4096).for_each(|n| live.raise(&event(n)));
    assert_eq!(reader.events(&mut cursor, &mut found), Events::Lapped);
    assert_eq!((found.len(), cursor), (3 + 4095, reader.event_cursor()));
}

#[test]
fn a_lost_or_old_segment_comes_back_with_another_instance() {
    let (_temp, dir) = runtime();
    let first = attach(&dir);
    let path = dir.path().join("live");
    std::fs::remove_file(&path).unwrap();
    assert!(!first.is_current());
    let second = attach(&dir);
    assert_ne!(second.instance(), first.instance());
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xee; 16], 48).unwrap();
    assert!(matches!(LiveReader::attach(&dir), Err(Error::OtherBoot { .. })));
    let third = attach(&dir);
    assert!(third.instance() != second.instance() && third.instance() != InstanceId::NONE);
    assert!(!second.is_current() && third.is_current());
}

#[test]
fn a_segment_that_cannot_be_ours_is_refused_and_kept() {
    let (_temp, dir) = runtime();
    init(&attach(&dir), &record(0, 1, 5000));
    let file = std::fs::OpenOptions::new().read(true).write(true).open(dir.path().join("live")).unwrap();
    let refused = || Live::attach_or_create(&dir).err().unwrap();
    // The window's place in the record of slot 0 names a block that is none.
    let place = 0x420_0000 + 128;
    let mut kept = [0; 8];
    file.read_exact_at(&mut kept, place).unwrap();
    file.write_all_at(&[0xff; 8], place).unwrap();
    assert!(matches!(refused(), Error::LiveField { field: "place", .. }));
    file.write_all_at(&kept, place).unwrap();
    // Records with a longer window inside have their counters in other places.
    file.write_all_at(&40u32.to_le_bytes(), 152).unwrap();
    assert!(matches!(refused(), Error::Header { field: "ring_words", value: 40, .. }));
    file.write_all_at(&33u32.to_le_bytes(), 152).unwrap();
    file.write_all_at(&9u32.to_le_bytes(), 8).unwrap();
    assert!(matches!(refused(), Error::Version { found_major: 9, .. }));
    file.write_all_at(&1u32.to_le_bytes(), 8).unwrap();
    attach(&dir);
    file.set_len(1 << 20).unwrap();
    assert!(matches!(refused(), Error::Truncated { .. }));
}
