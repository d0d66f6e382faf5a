//! Programs that end and begin: an engine or a bridge that starts again, segments lost, writers killed. Whatever happens, no number
//! and no packet is used twice.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use esp::DropReason;
use shm_protocol::live::LiveReader;
use shm_protocol::sad::{Step, Transaction};

use crate::adoption::{ivs, open, seal};
use crate::gateway::{Gateway, MS};
use crate::plan::Plan;
use crate::records::{ANY4, Side, Tunnel};
use crate::wire::Packet;

#[test]
fn an_engine_that_starts_again_goes_on_with_the_same_numbers_and_windows() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    let mut frames = seal(&mut gateway, 9);
    assert_eq!(open(&tunnel, &mut gateway, [1, 2, 3, 9]), 4);
    for round in 1..4_u64 {
        gateway = gateway.restarted();
        frames.extend(seal(&mut gateway, 9));
        assert_eq!(open(&tunnel, &mut gateway, [1, 2, 3, 9]), 0);
        assert_eq!(gateway.dropped(DropReason::Replay), 4);
        assert_eq!(open(&tunnel, &mut gateway, [3 + round]), 1, "what was not seen is still welcome");
        assert_eq!(gateway.usage(&tunnel.sa(Side::A, Side::B)).packets, 4 + round);
    }
    assert_eq!((frames.len(), ivs(&frames).len()), (36, 36));
}

#[test]
fn sas_deleted_while_no_engine_ran_are_accounted_to_their_tunnel() {
    let (gone, stays) = (Tunnel::new(1, 1), Tunnel::new(2, 2));
    let mut gateway = Plan::new(Side::A).start(&[&gone, &stays]);
    assert_eq!(seal(&mut gateway, 6).len(), 6);
    gateway.write(|changes| gone.remove_sas(changes));
    let gateway = gateway.restarted();
    assert!(!gateway.has_record(&gone.sa(Side::A, Side::A)));
    assert!(gateway.has_record(&stays.sa(Side::A, Side::A)));
    let totals = LiveReader::attach(&gateway.runtime()).unwrap().all_retired_totals().unwrap();
    assert_eq!(totals.iter().map(|counted| counted.totals.out_packets).sum::<u64>(), 6);
}

#[test]
fn when_live_is_removed_everything_is_given_up_until_the_bridge_names_the_new_one() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    let before = seal(&mut gateway, 3);
    std::fs::remove_file(gateway.dir().join("live")).unwrap();
    // The file is looked at every 50 ms.
    gateway.pass(60 * MS);
    gateway.settle();
    assert_eq!(seal(&mut gateway, 3).len(), 0);
    assert_eq!(open(&tunnel, &mut gateway, 1..4), 0);
    assert_eq!(gateway.dropped(DropReason::UnknownSpi), 3);
    // The bridge gives the old SAs up, names the new segment and installs what was negotiated anew.
    gateway.commit(|changes| tunnel.remove_sas(changes));
    gateway.name_instance();
    gateway.settle();
    let fresh = Tunnel { reqid: 1, ..Tunnel::new(2, 1) };
    gateway.commit(|changes| fresh.install_sas(Side::A, changes));
    for policy in tunnel.policies(Side::A) {
        gateway.commit(|changes| {
            changes.put_policy(&policy);
        });
    }
    let after = seal(&mut gateway, 3);
    assert_eq!(after.len(), 3, "{:?}", gateway.drops());
    assert!(ivs(&before).is_disjoint(&ivs(&after)));
    assert_eq!(open(&fresh, &mut gateway, 1..4), 3);
}

#[test]
fn sas_that_run_on_another_live_are_not_used_and_their_policies_protect_nothing_in_clear() {
    let tunnel = Tunnel { nets: vec![ANY4], ..Tunnel::new(1, 1) };
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    assert_eq!(seal(&mut gateway, 1).len(), 1);
    std::fs::remove_file(gateway.dir().join("live")).unwrap();
    let mut gateway = gateway.restarted();
    assert_eq!(seal(&mut gateway, 2).len(), 0);
    assert_eq!(open(&tunnel, &mut gateway, 1..3), 0);
    gateway.pass(60 * MS);
    assert_eq!(seal(&mut gateway, 2).len(), 0);
}

#[test]
fn a_bridge_that_starts_a_new_sad_takes_every_sa_away_and_gives_its_own() {
    let (old, new) = (Tunnel::new(1, 1), Tunnel::new(2, 1));
    let mut gateway = Plan::new(Side::A).start(&[&old]);
    let before = seal(&mut gateway, 3);
    std::fs::remove_file(gateway.dir().join("sad")).unwrap();
    gateway.pass(60 * MS);
    gateway.settle();
    assert_eq!(seal(&mut gateway, 1).len(), 0);
    gateway.restart_bridge();
    gateway.name_instance();
    gateway.write(|changes| new.install(Side::A, changes));
    gateway.pass(60 * MS);
    gateway.settle();
    let after = seal(&mut gateway, 3);
    assert_eq!(after.len(), 3, "{:?}", gateway.drops());
    assert!(ivs(&before).is_disjoint(&ivs(&after)));
    let totals = LiveReader::attach(&gateway.runtime()).unwrap().all_retired_totals().unwrap();
    assert_eq!(totals[0].totals.out_packets, 3);
}

#[test]
fn an_sa_that_comes_back_after_its_retirement_goes_on_with_its_numbers() {
    let tunnel = Tunnel::new(1, 1);
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    let mut frames = seal(&mut gateway, 5);
    assert_eq!(open(&tunnel, &mut gateway, 1..4), 3);
    gateway.commit(|changes| tunnel.remove_sas(changes));
    gateway.settle();
    gateway.settle();
    gateway.commit(|changes| tunnel.install_sas(Side::A, changes));
    gateway.settle();
    frames.extend(seal(&mut gateway, 5));
    assert_eq!((frames.len(), ivs(&frames).len()), (10, 10));
    assert_eq!(open(&tunnel, &mut gateway, 1..4), 0);
    assert_eq!(open(&tunnel, &mut gateway, [32]), 1);
}

/// A writer that dies at `step` of the transaction.
fn die(gateway: &mut Gateway, step: Step, changes: impl FnOnce(&mut Transaction)) {
    let mut transaction = Transaction::new();
    changes(&mut transaction);
    let writer = gateway.bridge();
    writer.set_step_hook(Some(Box::new(move |at| {
        if at == step {
            std::panic::resume_unwind(Box::new("killed"));
        }
    })));
    assert!(catch_unwind(AssertUnwindSafe(|| writer.commit(&transaction, Duration::from_secs(20)))).is_err());
}

#[test]
fn while_a_record_is_torn_workers_keep_what_they_had_and_then_get_the_whole() {
    let tunnel = Tunnel::new(1, 1);
    let moved = Tunnel { encap: Some((4500, 41_000)), ..tunnel.clone() };
    for step in
        [Step::SlotOdd, Step::SlotHalf, Step::SlotBody, Step::SlotEven, Step::RingEntry, Step::RingHead]
    {
        let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
        die(&mut gateway, step, |changes| moved.install_sas(Side::A, changes));
        gateway.settle();
        gateway.pass(60 * MS);
        assert_eq!(seal(&mut gateway, 2).len(), 2, "{step:?}");
        assert_eq!(gateway.workers[0].path.poll(gateway.now_ns), 0);
        // The next writer finishes what was begun.
        gateway.restart_bridge();
        gateway.settle();
        let frames = seal(&mut gateway, 1);
        assert_eq!(Packet::of_frame(&frames[0]).payload[..4], [0x11, 0x94, 0xa0, 0x28], "{step:?}");
        gateway.no_drops();
    }
}

#[test]
fn an_engine_that_starts_while_a_record_is_torn_takes_it_up_when_it_is_whole() {
    let tunnel = Tunnel::new(1, 1);
    let moved = Tunnel { encap: Some((4500, 41_000)), ..tunnel.clone() };
    let mut gateway = Plan::new(Side::A).start(&[&tunnel]);
    let mut frames = seal(&mut gateway, 4);
    die(&mut gateway, Step::SlotHalf, |changes| moved.install_sas(Side::A, changes));
    // A killed bridge is replaced before or after the engine; here after.
    let mut gateway = gateway.restarted();
    assert!(gateway.has_record(&tunnel.sa(Side::A, Side::A)), "its numbers are not given back meanwhile");
    gateway.restart_bridge();
    gateway.settle();
    frames.extend(seal(&mut gateway, 4));
    assert_eq!((frames.len(), ivs(&frames).len()), (8, 8), "{:?}", gateway.drops());
}
