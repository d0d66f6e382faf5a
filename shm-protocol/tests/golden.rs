//! Segment files of released versions are opened: what an older release wrote, this one reads.
//!
//! A golden file holds the octets that are not 0, in lines of offset and hex. Boot id, process id and the
//! random instance are 0 in it. `GOLDEN_WRITE=1` writes the files of the version at hand.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::fmt::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use common::{DEADLINE, policy, runtime, sa};
use shm_protocol::ids::{Generation, IfId, Owner, PolicySlot, SaUid, Slot, Spi};
use shm_protocol::live::{Event, EventKind, Events, Flow, InitOutcome, Live, LiveReader, NewRecord};
use shm_protocol::place::RuntimeDir;
use shm_protocol::sa::{Direction, Initial, Larval, Occupant};
use shm_protocol::sad::{Change, Changes, SadReader, SadWriter, Transaction};

/// Ranges of each file that the content below touches.
const SAD_RANGES: [(u64, usize); 5] =
    [(0, 0x3_0000), (0x4_0000, 256), (0x20_0000, 8 * 384), (0x1820_0000, 8 * 192), (0x3020_0000, 8 * 256)];
const LIVE_RANGES: [(u64, usize); 5] =
    [(0, 4096), (0x1_0000, 512), (0x10_0000, 512), (0x420_0000, 8 * 448), (0x2020_0000, 4096)];
const LINE: usize = 32;
/// Words that differ between two machines: boot id and process id; `live` has a random instance as well.
const SAD_PRIVATE: [(usize, usize); 2] = [(48, 16), (80, 4)];
const LIVE_PRIVATE: [(usize, usize); 3] = [(48, 16), (64, 16), (80, 4)];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn larval() -> Larval {
    let slot = Slot::new(6).unwrap();
    let spi = Spi::allocated(slot, 0x123).unwrap();
    Larval { slot, owner: Owner(9), spi, until_ns: 165, reqid: 3, dst: "2001:db8::1".parse().unwrap() }
}

fn write_sad(dir: &RuntimeDir) {
    let mut writer = SadWriter::open(dir, 1000, DEADLINE).unwrap();
    let mut first = Transaction::new();
    (0..6).for_each(|slot| _ = first.put_sa(&sa(slot, u64::from(slot) + 1)));
    (0..6).for_each(|slot| _ = first.put_policy(&policy(slot, u64::from(slot) + 1)));
    writer.commit(&first, DEADLINE).unwrap();
    let mut second = Transaction::new();
    second
        .put_larval(&larval())
        .remove_sa(Slot::new(0).unwrap(), 60)
        .remove_policy(PolicySlot::new(0).unwrap());
    writer.commit(&second, DEADLINE).unwrap();
}

fn record(slot: u32, window_pkts: u32) -> NewRecord {
    NewRecord {
        slot: Slot::new(slot).unwrap(),
        uid: SaUid::new(u64::from(slot) + 100).unwrap(),
        if_id: IfId(7),
        initial: Initial { oseq: 10, iseq_top: 20 },
        window_pkts,
    }
}

fn event() -> Event {
    Event {
        kind: EventKind::Acquire,
        time_ns: 1,
        sa: None,
        spi: None,
        policy: PolicySlot::new(3),
        if_id: IfId(7),
        flow: Some(Flow {
            src: "192.0.2.1".parse().unwrap(),
            dst: "198.51.100.2".parse().unwrap(),
            proto: 17,
            sport: 5,
            dport: 53,
        }),
    }
}

fn write_live(dir: &RuntimeDir) {
    let live = Live::attach_or_create(dir).unwrap();
    for (slot, window_pkts) in [(0, 32), (1, 1024), (2, 4096), (3, 64)] {
        let fill = &mut |window: shm_protocol::live::Window<'_>, top| {
            window.ring.iter().for_each(|word| word.store(top, Ordering::Relaxed));
        };
        live.init(&record(slot, window_pkts), fill).unwrap();
        live.record(Slot::new(slot).unwrap()).out_packets.store(u64::from(slot) + 5, Ordering::Relaxed);
    }
    live.retire(Slot::new(3).unwrap(), record(3, 64).uid).unwrap();
    live.raise(&event());
    live.set_adopted_generation(Generation(2));
}

/// Returns the lines of a segment file, without what differs between two machines.
fn dump(path: &Path, ranges: &[(u64, usize)], private: &[(usize, usize)]) -> String {
    let file = std::fs::File::open(path).unwrap();
    let mut out = String::new();
    for (start, len) in ranges {
        let mut octets = vec![0; *len];
        file.read_exact_at(&mut octets, *start).unwrap();
        if *start == 0 {
            private.iter().for_each(|(at, len)| octets[*at..*at + *len].fill(0));
        }
        for (at, line) in
            octets.chunks(LINE).enumerate().filter(|(_, line)| line.iter().any(|octet| *octet != 0))
        {
            write!(out, "{:x} ", start + u64::try_from(at * LINE).unwrap()).unwrap();
            line.iter().for_each(|octet| write!(out, "{octet:02x}").unwrap());
            out.push('\n');
        }
    }
    out
}

/// Makes a segment file from its lines, of this boot and with an instance.
fn restore(dir: &RuntimeDir, name: &str, octets: u64, ranges: &[(u64, usize)], lines: &str) {
    let file = std::fs::File::create_new(dir.path().join(name)).unwrap();
    file.set_len(octets).unwrap();
    // A record is written whole, its zeros too.
    ranges.iter().for_each(|(start, len)| file.write_all_at(&vec![0; *len], *start).unwrap());
    for line in lines.lines() {
        let (offset, hex) = line.split_once(' ').unwrap();
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        file.write_all_at(&bytes, u64::from_str_radix(offset, 16).unwrap()).unwrap();
    }
    let [high, low] = dir.boot().0;
    file.write_all_at(&high.to_le_bytes(), 48).unwrap();
    file.write_all_at(&low.to_le_bytes(), 56).unwrap();
    if name == "live" {
        file.write_all_at(&[0x11; 16], 64).unwrap();
    }
}

#[test]
fn a_sad_of_every_release_is_opened() {
    let (_temp, dir) = runtime();
    restore(&dir, "sad", 0x4020_0000, &SAD_RANGES, &std::fs::read_to_string(golden("sad-1.0.txt")).unwrap());
    let reader = SadReader::attach(&dir).unwrap();
    assert_eq!(reader.generation(), Generation(2));
    for slot in 1..6 {
        let found = reader.sa(Slot::new(slot).unwrap()).unwrap();
        assert_eq!(found.occupant, Occupant::Sa(Box::new(sa(slot, u64::from(slot) + 1))));
        assert_eq!(found.generation, Generation(1));
        let expected = policy(slot, u64::from(slot) + 1);
        assert_eq!(reader.policy(expected.slot).unwrap(), Some(expected));
    }
    let gone = reader.sa(Slot::new(0).unwrap()).unwrap();
    assert_eq!((gone.occupant, gone.history.freed_ns), (Occupant::Empty, 60));
    assert_eq!(reader.sa(larval().slot).unwrap().occupant, Occupant::Larval(larval()));
    let mut changes = Vec::new();
    assert!(matches!(reader.changes(&mut Default::default(), &mut changes), Changes::List { .. }));
    assert_eq!((changes.len(), changes[0]), (15, Change::Sa(Slot::new(0).unwrap())));
    // And written to.
    let mut writer = SadWriter::open(&dir, 1000, DEADLINE).unwrap();
    assert_eq!(writer.commit(Transaction::new().put_sa(&sa(0, 9)), DEADLINE).unwrap(), Generation(3));
}

#[test]
fn a_live_of_every_release_is_opened() {
    let (_temp, dir) = runtime();
    restore(
        &dir,
        "live",
        0xa020_0000,
        &LIVE_RANGES,
        &std::fs::read_to_string(golden("live-1.0.txt")).unwrap(),
    );
    let reader = LiveReader::attach(&dir).unwrap();
    assert_eq!(reader.adopted_generation(), Generation(2));
    let live = Live::attach_or_create(&dir).unwrap();
    assert_eq!(live.instance().0, [0x1111_1111_1111_1111; 2]);
    for (slot, window_pkts) in [(0, 32), (1, 1024), (2, 4096)] {
        let new = record(slot, window_pkts);
        let (outcome, ring) = live.init(&new, &mut |_, _| panic!("reset")).unwrap();
        let window = live.window(ring);
        assert_eq!((outcome, window.size_pkts), (InitOutcome::Kept, window_pkts));
        assert!(window.ring.iter().all(|word| word.load(Ordering::Relaxed) == 20));
        let usage = reader.usage(new.slot, new.uid, Direction::Out).unwrap();
        assert_eq!((usage.oseq, usage.packets), (10, u64::from(slot) + 5));
    }
    assert_eq!(live.retired_totals(IfId(7)).out_packets, 8);
    let mut events = Vec::new();
    assert_eq!(reader.events(&mut Default::default(), &mut events), Events::All);
    assert_eq!(events, [event()]);
}

#[test]
fn this_release_writes_the_octets_of_its_golden_files() {
    let (_temp, dir) = runtime();
    write_sad(&dir);
    write_live(&dir);
    let sad = dump(&dir.path().join("sad"), &SAD_RANGES, &SAD_PRIVATE);
    let live = dump(&dir.path().join("live"), &LIVE_RANGES, &LIVE_PRIVATE);
    if std::env::var_os("GOLDEN_WRITE").is_some() {
        std::fs::write(golden("sad-1.0.txt"), &sad).unwrap();
        std::fs::write(golden("live-1.0.txt"), &live).unwrap();
    }
    assert!(sad == std::fs::read_to_string(golden("sad-1.0.txt")).unwrap(), "the layout of sad has changed");
    assert!(
        live == std::fs::read_to_string(golden("live-1.0.txt")).unwrap(),
        "the layout of live has changed"
    );
}
