//! The segment `sad` through its public interface: what is written is read, what is refused changes nothing.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{DEADLINE, is_whole, policy, runtime, sa, selector};
use proptest::prelude::*;
use shm_protocol::Error;
use shm_protocol::ids::{Generation, InstanceId, Owner, PolicySlot, Slot, Spi};
use shm_protocol::place::RuntimeDir;
use shm_protocol::sa::{Larval, Occupant, Sa};
use shm_protocol::sad::{Change, Changes, MAX_CHANGES, SadReader, SadWriter, Step, Transaction};

fn writer(dir: &RuntimeDir) -> SadWriter {
    SadWriter::open(dir, 1000, DEADLINE).unwrap()
}

fn put(writer: &mut SadWriter, sas: &[Sa]) -> Generation {
    let mut changes = Transaction::new();
    for sa in sas {
        changes.put_sa(sa);
    }
    writer.commit(&changes, DEADLINE).unwrap()
}

fn read(reader: &SadReader, index: u32) -> Option<Sa> {
    match reader.sa(Slot::new(index).unwrap()).unwrap().occupant {
        Occupant::Sa(sa) => Some(*sa),
        Occupant::Empty | Occupant::Larval(_) => None,
    }
}

/// Everything in the first part of the file and in the first records; keys are searched for in it.
fn octets(dir: &RuntimeDir) -> Vec<u8> {
    let file = std::fs::File::open(dir.path().join("sad")).unwrap();
    let mut octets = vec![0; 0x21_0000];
    file.read_exact_at(&mut octets, 0).unwrap();
    octets
}

fn holds_key(dir: &RuntimeDir, sa: &Sa) -> bool {
    let key = sa.keying.key().expose();
    octets(dir).windows(key.len()).any(|window| window == key)
}

fn patch(dir: &RuntimeDir, offset: u64, octets: &[u8]) {
    let file = std::fs::OpenOptions::new().write(true).open(dir.path().join("sad")).unwrap();
    file.write_all_at(octets, offset).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_sa_and_policy_is_read_as_it_was_written(seed: u64, slot in 0u32..1 << 20, at in 0u32..1 << 21) {
        let (_temp, dir) = runtime();
        let mut writer = writer(&dir);
        let (sa, policy) = (sa(slot, seed), policy(at, seed));
        let generation = writer.commit(Transaction::new().put_sa(&sa).put_policy(&policy), DEADLINE).unwrap();
        let reader = SadReader::attach(&dir).unwrap();
        prop_assert_eq!(reader.generation(), generation);
        prop_assert_eq!(read(&reader, slot), Some(sa));
        prop_assert_eq!(reader.policy(policy.slot).unwrap(), Some(policy));
        prop_assert!(reader.sa_slots_used() == slot + 1 && reader.policy_slots_used() == at + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_record_of_any_octets_is_read_or_refused_without_panic(at in 8u64..384, octets in any::<[u8; 16]>()) {
        thread_local! {
            static SEGMENT: (tempfile::TempDir, RuntimeDir, SadReader) = {
                let (temp, dir) = runtime();
                put(&mut writer(&dir), &[sa(5, 1)]);
                let reader = SadReader::attach(&dir).unwrap();
                (temp, dir, reader)
            };
        }
        SEGMENT.with(|(_, dir, reader)| {
            let record = 0x20_0000 + 5 * 384;
            patch(dir, record + at, &octets);
            match reader.sa(Slot::new(5).unwrap()) {
                Ok(_) | Err(Error::SaField { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        });
    }
}

#[test]
fn a_transaction_is_one_generation_and_names_its_changes() {
    let (_temp, dir) = runtime();
    let mut writer = writer(&dir);
    let reader = SadReader::attach(&dir).unwrap();
    let mut cursor = reader.cursor();
    let before = reader.generation();
    let generation =
        writer.commit(Transaction::new().put_sa(&sa(3, 1)).put_policy(&policy(9, 1)), DEADLINE).unwrap();
    assert_eq!(generation, Generation(before.0 + 1));
    let mut changes = Vec::new();
    assert_eq!(reader.changes(&mut cursor, &mut changes), Changes::List { generation });
    assert_eq!(changes, [Change::Sa(Slot::new(3).unwrap()), Change::Policy(PolicySlot::new(9).unwrap())]);
    assert_eq!(reader.changes(&mut cursor, &mut changes), Changes::List { generation });
    assert!(changes.is_empty());
}

#[test]
fn a_reader_that_was_away_for_a_round_of_the_ring_is_told_so() {
    let (_temp, dir) = runtime();
    let mut writer = writer(&dir);
    let reader = SadReader::attach(&dir).unwrap();
    let mut cursor = reader.cursor();
    let sas: Vec<Sa> = (0..256).map(|slot| sa(slot, 7)).collect();
    let mut changes = Vec::new();
    for _ in 0..255 {
        put(&mut writer, &sas);
    }
    assert!(matches!(reader.changes(&mut cursor.clone(), &mut changes), Changes::List { .. }));
    assert_eq!(changes.len(), 255 * 256);
    put(&mut writer, &sas);
    assert_eq!(reader.changes(&mut cursor, &mut changes), Changes::Lapped);
    assert_eq!(cursor, reader.cursor());
}

#[test]
fn a_writer_killed_at_any_step_leaves_all_or_nothing_to_its_successor() {
    for step in Step::ALL {
        for nth in [1, 2, 3] {
            let (_temp, dir) = runtime();
            let mut first = writer(&dir);
            let (old, new): (Vec<Sa>, Vec<Sa>) = (0..3).map(|slot| (sa(slot, 1), sa(slot, 2))).unzip();
            let generation = put(&mut first, &old);
            let mut left = nth;
            first.set_step_hook(Some(Box::new(move |at| {
                left -= u32::from(at == step);
                assert!(at != step || left > 0, "killed");
            })));
            let killed = catch_unwind(AssertUnwindSafe(|| put(&mut first, &new))).is_err();
            drop(first);
            let reader = SadReader::attach(&dir).unwrap();
            for slot in 0..3 {
                match reader.sa(Slot::new(slot).unwrap()) {
                    Ok(contents) => assert!(matches!(contents.occupant, Occupant::Sa(sa) if is_whole(&sa))),
                    Err(error) => assert!(matches!(error, Error::Torn { .. }), "{error}"),
                }
            }
            let mut second = writer(&dir);
            let found: Vec<Sa> = (0..3).map(|slot| read(second.reader(), slot).unwrap()).collect();
            assert!(found == old || found == new, "{step:?}: half a transaction");
            assert_eq!(found == new, second.reader().generation() > generation, "{step:?}");
            assert!(killed || found == new);
            let gone = if found == new { &old } else { &new };
            assert!(gone.iter().all(|sa| !holds_key(&dir, sa)), "{step:?}: a key was left behind");
            put(&mut second, &[sa(0, 3)]);
            assert_eq!(read(second.reader(), 0), Some(sa(0, 3)));
        }
    }
}

#[test]
fn a_removed_sa_leaves_no_key_but_its_high_part_and_time() {
    let (_temp, dir) = runtime();
    let mut writer = writer(&dir);
    let mut gone = sa(4, 11);
    (gone.direction, gone.foreign) = (shm_protocol::sa::Direction::In, false);
    put(&mut writer, std::slice::from_ref(&gone));
    assert!(holds_key(&dir, &gone));
    writer.commit(Transaction::new().remove_sa(gone.slot, 77), DEADLINE).unwrap();
    assert!(!holds_key(&dir, &gone));
    let contents = SadWriter::open(&dir, 1000, DEADLINE).unwrap().reader().sa(gone.slot).unwrap();
    assert_eq!(contents.occupant, Occupant::Empty);
    assert_eq!((contents.history.freed_ns, contents.history.last_high[0]), (77, gone.spi.high()));
}

#[test]
fn a_slot_remembers_its_last_sixteen_high_parts_once_each() {
    let (_temp, dir) = runtime();
    let mut writer = writer(&dir);
    let slot = Slot::new(9).unwrap();
    for high in 1..=20 {
        let mut sa = sa(9, high.into());
        (sa.direction, sa.foreign) = (shm_protocol::sa::Direction::In, false);
        sa.spi = Spi::allocated(slot, high).unwrap();
        let larval = Larval {
            slot,
            owner: Owner(1),
            spi: sa.spi,
            until_ns: 5,
            reqid: 1,
            dst: "192.0.2.1".parse().unwrap(),
        };
        writer.commit(Transaction::new().put_larval(&larval), DEADLINE).unwrap();
        assert_eq!(writer.reader().sa(slot).unwrap().occupant, Occupant::Larval(larval));
        put(&mut writer, &[sa]);
        writer.commit(Transaction::new().remove_sa(slot, high.into()), DEADLINE).unwrap();
    }
    let expected: Vec<u16> = (5..=20).rev().collect();
    assert_eq!(writer.reader().sa(slot).unwrap().history.last_high, expected[..]);
}

#[test]
fn what_is_refused_changes_nothing() {
    let (_temp, dir) = runtime();
    let mut writer = SadWriter::open(&dir, 2, DEADLINE).unwrap();
    let generation = put(&mut writer, &[sa(0, 1), sa(1, 1)]);
    let refused = |writer: &mut SadWriter, changes: &mut Transaction| {
        let error = writer.commit(changes, DEADLINE).unwrap_err();
        assert_eq!(writer.reader().generation(), generation, "{error}");
        error
    };
    let full = refused(&mut writer, Transaction::new().put_sa(&sa(0, 2)).put_sa(&sa(2, 1)));
    assert!(matches!(full, Error::Full { capacity: 2 }), "{full}");
    assert_eq!(read(writer.reader(), 0), Some(sa(0, 1)));
    let twice = refused(&mut writer, Transaction::new().put_sa(&sa(0, 2)).put_sa(&sa(0, 3)));
    assert!(matches!(twice, Error::ChangedTwice { index: 0 }), "{twice}");
    let mut many = Transaction::new();
    (0..=MAX_CHANGES).for_each(|_| _ = many.put_sa(&sa(0, 1)));
    let many = refused(&mut writer, &mut many);
    assert!(matches!(many, Error::TooManyChanges { changes: 257, limit: 256 }), "{many}");
    let mut odd = sa(0, 1);
    odd.dst = if odd.src.is_ipv4() { "2001:db8::".parse().unwrap() } else { "192.0.2.1".parse().unwrap() };
    assert!(matches!(refused(&mut writer, Transaction::new().put_sa(&odd)), Error::SaField { .. }));
    let mut policies = Transaction::new();
    (0..5).for_each(|slot| _ = policies.put_policy(&policy(slot, 1)));
    assert!(matches!(refused(&mut writer, &mut policies), Error::PoliciesFull { capacity: 4 }));
}

#[test]
fn another_live_segment_is_named_only_when_no_sa_is_left() {
    let (_temp, dir) = runtime();
    let mut writer = writer(&dir);
    let (one, two) = (InstanceId::random().unwrap(), InstanceId::random().unwrap());
    assert!(writer.reader().instance().is_none());
    writer.commit(Transaction::new().set_instance(one), DEADLINE).unwrap();
    put(&mut writer, &[sa(0, 1)]);
    let refused = writer.commit(Transaction::new().set_instance(two), DEADLINE).unwrap_err();
    assert!(matches!(refused, Error::InstanceInUse { sas: 1, instance } if instance == one), "{refused}");
    let mut swap = Transaction::new();
    writer.commit(swap.remove_sa(Slot::new(0).unwrap(), 1).set_instance(two), DEADLINE).unwrap();
    let reader = SadReader::attach(&dir).unwrap();
    assert_eq!(reader.instance(), two);
}

#[test]
fn a_segment_that_is_not_ours_is_refused_in_one_line() {
    let (_temp, dir) = runtime();
    assert!(matches!(SadReader::attach(&dir), Err(Error::Missing { .. })));
    drop(writer(&dir));
    let refused = |dir: &RuntimeDir| {
        let error = SadReader::attach(dir).err().unwrap();
        assert_eq!(error.to_string().lines().count(), 1);
        error
    };
    patch(&dir, 8, &2u32.to_le_bytes());
    assert!(matches!(refused(&dir), Error::Version { found_major: 2, major: 1, .. }));
    let error = SadWriter::open(&dir, 10, DEADLINE).err().unwrap();
    assert!(matches!(error, Error::Version { .. }), "{error}");
    patch(&dir, 8, &1u32.to_le_bytes());
    patch(&dir, 32, &1u64.to_le_bytes());
    assert!(matches!(refused(&dir), Error::Version { features: 1, .. }));
    patch(&dir, 32, &0u64.to_le_bytes());
    patch(&dir, 20, &376u32.to_le_bytes());
    assert!(matches!(refused(&dir), Error::Header { field: "record_octets", value: 376, .. }));
    patch(&dir, 20, &384u32.to_le_bytes());
    patch(&dir, 112, &u64::MAX.to_le_bytes());
    assert!(matches!(refused(&dir), Error::Header { field: "record_offset", .. }));
    patch(&dir, 112, &0x20_0000u64.to_le_bytes());
    SadReader::attach(&dir).unwrap();
    patch(&dir, 0, b"nonsense");
    assert!(matches!(refused(&dir), Error::NotASegment { .. }));
    let file = std::fs::OpenOptions::new().write(true).open(dir.path().join("sad")).unwrap();
    patch(&dir, 0, b"ESPAsad\x01");
    file.set_len(1 << 20).unwrap();
    assert!(matches!(refused(&dir), Error::Truncated { octets: 1_048_576, .. }));
    file.set_len(10).unwrap();
    assert!(matches!(refused(&dir), Error::Truncated { octets: 10, .. }));
}

#[test]
fn a_segment_of_another_boot_counts_as_empty() {
    let (_temp, dir) = runtime();
    let mut old = writer(&dir);
    put(&mut old, &[sa(0, 1)]);
    patch(&dir, 48, &[0xee; 16]);
    assert!(matches!(SadReader::attach(&dir), Err(Error::OtherBoot { .. })));
    let fresh = writer(&dir);
    assert_eq!(read(fresh.reader(), 0), None);
    assert_eq!(fresh.reader().generation(), Generation(0));
    assert!(!old.reader().is_current());
    let error = old.commit(Transaction::new().put_sa(&sa(0, 1)), DEADLINE).unwrap_err();
    assert!(matches!(error, Error::Replaced { .. }), "{error}");
}

#[test]
fn an_sa_has_as_many_selectors_as_it_last_got_and_memory_for_more_than_one_only_then() {
    let (_temp, dir) = runtime();
    let mut writer = writer(&dir);
    let blocks = || std::os::unix::fs::MetadataExt::blocks(&dir.path().join("sad").metadata().unwrap());
    let with = |count: u64, seed: u64| {
        let selectors = (0..count).map(|at| selector(seed + at)).collect();
        Sa { selectors, ..sa(7, 3) }
    };
    put(&mut writer, &[with(0, 1)]);
    let least = blocks();
    for (count, seed, more) in [(1, 10, false), (4, 20, true), (1, 30, true), (0, 40, true), (3, 50, true)] {
        put(&mut writer, &[with(count, seed)]);
        assert_eq!(read(writer.reader(), 7), Some(with(count, seed)), "{count} selectors");
        assert_eq!(blocks() > least, more, "{count} selectors");
    }
}

#[test]
fn a_segment_with_longer_records_of_a_newer_minor_version_is_read_and_written() {
    let (_temp, dir) = runtime();
    drop(writer(&dir));
    let (sa_octets, policy_octets) = (704u64, 320u64);
    let policies = 0x20_0000 + (sa_octets << 20);
    let more = policies + (policy_octets << 21);
    let end = more + (256 << 20);
    std::fs::OpenOptions::new().write(true).open(dir.path().join("sad")).unwrap().set_len(end).unwrap();
    patch(&dir, 12, &7u32.to_le_bytes());
    patch(&dir, 20, &704u32.to_le_bytes());
    patch(&dir, 24, &320u32.to_le_bytes());
    patch(&dir, 88, &end.to_le_bytes());
    patch(&dir, 120, &policies.to_le_bytes());
    patch(&dir, 160, &more.to_le_bytes());
    patch(&dir, 0x20_0000 + 704 * 2 - 8, &[0xff; 8]);
    let mut writer = writer(&dir);
    let (one, two) = (sa(1, 5), policy(2_000_000, 5));
    writer.commit(Transaction::new().put_sa(&one).put_policy(&two), DEADLINE).unwrap();
    let reader = SadReader::attach(&dir).unwrap();
    assert_eq!(read(&reader, 1), Some(one));
    assert_eq!(reader.policy(two.slot).unwrap(), Some(two));
    // The part we do not know starts at zero with the new SA.
    assert_eq!(octets(&dir)[0x20_0000 + 704 * 2 - 8..][..8], [0; 8]);
}

#[test]
fn the_admission_limit_is_a_number_that_can_grow() {
    let (_temp, dir) = runtime();
    drop(SadWriter::open(&dir, 1, DEADLINE).unwrap());
    let mut writer = SadWriter::open(&dir, 131_072, DEADLINE).unwrap();
    for first in (0..131_072).step_by(256) {
        put(&mut writer, &(first..first + 256).map(|slot| sa(slot, 1)).collect::<Vec<_>>());
    }
    let error = writer.commit(Transaction::new().put_sa(&sa(131_072, 1)), DEADLINE).unwrap_err();
    assert!(matches!(error, Error::Full { capacity: 131_072 }), "{error}");
    let reader = SadReader::attach(&dir).unwrap();
    assert_eq!((reader.occupancy().sas, reader.sa_slots_used()), (131_072, 131_072));
    assert!((0..131_072).all(|slot| read(&reader, slot).is_some_and(|sa| is_whole(&sa))));
}
