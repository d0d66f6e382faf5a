//! Torn writes with real processes: a hot writer is killed and stopped at every named step while a reader
//! adopts SAs without a pause. Every field of an SA follows from one number, so a mixed one gives itself away.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{DEADLINE, is_whole, runtime, sa};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use shm_protocol::Error;
use shm_protocol::ids::Slot;
use shm_protocol::place::RuntimeDir;
use shm_protocol::sa::{Occupant, Sa};
use shm_protocol::sad::{SadReader, SadWriter, Step, Transaction};

/// Slots that each transaction writes, all with the same number.
const SLOTS: u32 = 4;
const ADOPTIONS: u64 = 1_000_000;
const DIRECTORY: &str = "TORN_DIRECTORY";
const STEP: &str = "TORN_STEP";
const SIGNAL: &str = "TORN_SIGNAL";

/// Transactions a writer makes at full speed before it meets its step.
const HOT: u64 = 300;

fn transaction(number: u64) -> Transaction {
    let mut changes = Transaction::new();
    for slot in 0..SLOTS {
        changes.put_sa(&sa(slot, number));
    }
    changes
}

/// The writer process: not a test of its own, it ends at once when started as one.
#[test]
fn writer_process() {
    let (Ok(directory), Ok(step)) = (std::env::var(DIRECTORY), std::env::var(STEP)) else { return };
    let stop = std::env::var(SIGNAL).as_deref() == Ok("stop");
    let step = Step::ALL[step.parse::<usize>().unwrap()];
    // Stopped or asleep, it must not outlive a test that failed.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
    let dir = RuntimeDir::open(Path::new(&directory)).unwrap();
    let mut writer = SadWriter::open(&dir, 1000, DEADLINE).unwrap();
    let start = writer.reader().generation().0;
    let (mut number, mut meet) = (start * 1_000_003, 0);
    loop {
        if number - start * 1_000_003 == HOT {
            // Another slot of the transaction each time, so that the step is met in the middle too.
            let nth = std::process::id() % 2 + 1;
            writer.set_step_hook(Some(Box::new(move |at| {
                meet += u32::from(at == step);
                let repeated = matches!(
                    at,
                    Step::RedoEntryHalf
                        | Step::SlotOdd
                        | Step::SlotHalf
                        | Step::SlotBody
                        | Step::SlotEven
                        | Step::RingEntry
                        | Step::RedoWipedHalf
                );
                if at == step && (meet == nth || !repeated) {
                    println!("\nat step");
                    std::io::stdout().flush().unwrap();
                    if stop {
                        raise(Signal::SIGSTOP).unwrap();
                    }
                    loop {
                        std::thread::sleep(Duration::from_secs(1));
                    }
                }
            })));
        }
        writer.commit(&transaction(number), DEADLINE).unwrap();
        number += 1;
    }
}

/// Starts a writer and waits until it stands at `step`.
fn writer_at(dir: &RuntimeDir, step: usize, signal: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer_process", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, dir.path())
        .env(STEP, step.to_string())
        .env(SIGNAL, signal)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "at step"), "the writer ended early");
    if signal == "stop" {
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let state = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert!(matches!(state, WaitStatus::Stopped(_, Signal::SIGSTOP)), "{state:?}");
    }
    child
}

fn end(mut child: Child) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap();
}

#[derive(Default)]
struct Adopted {
    whole: AtomicU64,
    mixed: AtomicU64,
    kept: AtomicU64,
    done: AtomicBool,
}

/// Reads slots without a pause, as the engine does when it adopts.
fn adopt(reader: &SadReader, adopted: &Adopted) {
    while !adopted.done.load(Ordering::Relaxed) {
        for slot in (0..SLOTS).filter_map(Slot::new) {
            let count = match reader.sa(slot) {
                Ok(contents) => match contents.occupant {
                    Occupant::Sa(sa) if is_whole(&sa) => &adopted.whole,
                    Occupant::Sa(_) | Occupant::Empty | Occupant::Larval(_) => &adopted.mixed,
                },
                Err(Error::Torn { .. }) => &adopted.kept,
                // A field that no write ever had: mixed as well.
                Err(_) => &adopted.mixed,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn found(reader: &SadReader) -> Vec<Sa> {
    (0..SLOTS)
        .map(|slot| match reader.sa(Slot::new(slot).unwrap()).unwrap().occupant {
            Occupant::Sa(sa) => *sa,
            Occupant::Empty | Occupant::Larval(_) => panic!("the SA is gone"),
        })
        .collect()
}

/// Every step, killed and stopped; then the next writer takes over. Returns what a reader adopted meanwhile.
fn run(checked: bool, adoptions: u64) -> Adopted {
    let (_temp, dir) = runtime();
    let mut first = SadWriter::open(&dir, 1000, DEADLINE).unwrap();
    first.commit(&transaction(1), DEADLINE).unwrap();
    drop(first);
    let mut reader = SadReader::attach(&dir).unwrap();
    if !checked {
        reader.ignore_sequence_words();
    }
    let adopted = Adopted::default();
    std::thread::scope(|scope| {
        // Ends the reader also when an assertion below fails.
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _done = Done(&adopted.done);
        scope.spawn(|| adopt(&reader, &adopted));
        let mut rounds = 0;
        while rounds == 0 || adopted.whole.load(Ordering::Relaxed) < adoptions {
            for step in 0..Step::ALL.len() {
                for signal in ["kill", "stop"] {
                    writer_ends_at(&dir, step, signal);
                }
            }
            rounds += 1;
        }
    });
    adopted
}

fn writer_ends_at(dir: &RuntimeDir, step: usize, signal: &str) {
    let child = writer_at(dir, step, signal);
    if signal == "stop" {
        // A stopped writer keeps its lock: the next one says whose it is and goes away.
        match SadWriter::open(dir, 1000, Duration::from_millis(2)).err() {
            Some(Error::Locked { holder, .. }) => assert_eq!(holder, Some(child.id())),
            other => panic!("{other:?}"),
        }
        assert!(SadReader::attach(dir).unwrap().try_scan_guard().is_none());
    }
    let before = SadReader::attach(dir).unwrap().generation();
    end(child);
    let next = SadWriter::open(dir, 1000, DEADLINE).unwrap();
    let sas = found(next.reader());
    let name = Step::ALL[step];
    assert!(sas.iter().all(is_whole), "{name:?} {signal}: a torn SA after recovery");
    let number = sas[0].installed_ns;
    assert!(sas.iter().all(|sa| sa.installed_ns == number), "{name:?} {signal}: half a transaction");
    assert!(next.reader().generation() >= before, "{name:?} {signal}");
}

#[test]
fn a_reader_never_adopts_a_torn_sa_whatever_happens_to_the_writer() {
    let adopted = run(true, ADOPTIONS);
    let [whole, mixed, kept] =
        [&adopted.whole, &adopted.mixed, &adopted.kept].map(|n| n.load(Ordering::Relaxed));
    println!("adopted {whole} whole, {mixed} torn; kept the old one {kept} times");
    assert!(whole >= ADOPTIONS && mixed == 0 && kept > 0);
}

#[test]
fn without_the_sequence_check_torn_sas_are_adopted() {
    let adopted = run(false, 1);
    let [whole, mixed] = [&adopted.whole, &adopted.mixed].map(|n| n.load(Ordering::Relaxed));
    println!("adopted {whole} whole, {mixed} torn");
    assert!(mixed > 0);
}
