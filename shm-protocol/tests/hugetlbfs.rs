//! Both segments on hugetlbfs, where the machine has huge pages to give; elsewhere there is nothing to show.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;

use common::{DEADLINE, sa};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use shm_protocol::ids::{IfId, SaUid, Slot};
use shm_protocol::live::{Live, LiveReader, NewRecord};
use shm_protocol::place::RuntimeDir;
use shm_protocol::sa::{Direction, Initial, Occupant};
use shm_protocol::sad::{SadReader, SadWriter, Transaction};

/// Unmounts however the test ends.
struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

fn free_huge_pages() -> usize {
    let count = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    count.ok().and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[test]
fn both_segments_work_on_huge_pages() {
    let temp = tempfile::tempdir().unwrap();
    let options = Some("pagesize=2M,mode=0700");
    let kind = Some("hugetlbfs");
    if free_huge_pages() < 8 || mount(kind, temp.path(), kind, MsFlags::empty(), options).is_err() {
        return;
    }
    let _mounted = Mounted(temp.path());
    let dir = RuntimeDir::open(temp.path()).unwrap();
    let mut writer = SadWriter::open(&dir, 10, DEADLINE).unwrap();
    writer.commit(Transaction::new().put_sa(&sa(3, 1)), DEADLINE).unwrap();
    let reader = SadReader::attach(&dir).unwrap();
    assert_eq!(reader.sa(Slot::new(3).unwrap()).unwrap().occupant, Occupant::Sa(Box::new(sa(3, 1))));
    let live = Live::attach_or_create(&dir).unwrap();
    let (slot, uid) = (Slot::new(3).unwrap(), SaUid::new(5).unwrap());
    let new =
        NewRecord { slot, uid, if_id: IfId(1), initial: Initial { oseq: 7, iseq_top: 0 }, window_pkts: 4096 };
    live.init(&new, &mut |_, _| {}).unwrap();
    let usage = LiveReader::attach(&dir).unwrap().usage(slot, uid, Direction::Out).unwrap();
    assert_eq!(usage.oseq, 7);
}
