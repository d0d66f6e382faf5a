//! Killed bridges, restarted bridges, restarted daemons.
#![allow(clippy::unwrap_used, missing_docs, reason = "a failed step of a test is the test's failure")]

mod common;

use common::{Bridge, Daemon, eventually, id_in, id_out, inbound, outbound, policy, status};
use shm_protocol::messages::plugin::{RESENT, Status};

const SUCCESS: u32 = Status::Success as u32;
const NOT_FOUND: u32 = Status::NotFound as u32;

#[test]
fn a_killed_bridge_finds_sas_policies_and_reservations_again() {
    let mut bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let (spi, peer) = charon.add_pair(0xc0de_1001);
    charon.add_policy(1, peer);
    let reserved = charon.get_spi();
    bridge.kill_and_restart();
    let mut charon = bridge.daemon();
    assert_eq!(status(&charon.query_sa(id_in(spi))), SUCCESS);
    assert_eq!(status(&charon.query_policy(1)), SUCCESS);
    assert_eq!(status(&charon.add_sa(&mut inbound(reserved))), SUCCESS, "the reservation holds");
    assert_eq!(charon.del_policy(1, peer), SUCCESS);
    assert_eq!(charon.del_sa(id_in(spi)), SUCCESS);
    assert_eq!(charon.del_sa(id_out(peer)), SUCCESS);
}

#[test]
fn requests_that_the_killed_bridge_had_done_are_not_done_twice() {
    let mut bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let (spi, peer) = charon.add_pair(0xc0de_1002);
    charon.add_policy(1, peer);
    bridge.kill_and_restart();
    let mut charon = bridge.daemon();
    let generation = bridge.sad().generation();
    let id = charon.next_id();
    assert_eq!(status(&charon.ask_as(id, RESENT, 3, &mut inbound(spi))), SUCCESS);
    assert_eq!(bridge.sad().generation(), generation);
    let id = charon.next_id();
    assert_eq!(status(&charon.ask_as(id, RESENT, 8, &mut policy(1, peer))), SUCCESS);
    assert_eq!(charon.del_policy(1, peer), SUCCESS);
    assert_eq!(status(&charon.query_policy(1)), NOT_FOUND, "it was counted once");
}

#[test]
fn a_delete_sent_again_after_a_restart_spares_the_successors_policy() {
    let mut bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let (_, old) = charon.add_pair(0xc0de_1003);
    charon.add_policy(1, old);
    let (_, new) = charon.add_pair(0xc0de_1004);
    charon.add_policy(1, new);
    assert_eq!(charon.del_policy(1, old), SUCCESS);
    bridge.kill_and_restart();
    let mut charon = bridge.daemon();
    let id = charon.next_id();
    charon.ask_as(id, RESENT, 10, &mut policy(1, old));
    assert_eq!(status(&charon.query_policy(1)), SUCCESS);
}

#[test]
fn a_polite_stop_ends_with_0_and_keeps_the_sas() {
    let mut bridge = Bridge::start(&[]);
    bridge.daemon().add_pair(0xc0de_1005);
    assert_eq!(bridge.stop(), Some(0));
    assert!(!bridge.path().join("bridge.sock").exists());
    assert_eq!(bridge.sad().occupancy().sas, 2);
}

#[test]
fn a_second_bridge_says_so_in_one_line_and_harms_nothing() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let (spi, _) = charon.add_pair(0xc0de_1006);
    let (code, said) = bridge.second();
    assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
    assert!(said.contains(&format!("process {}", bridge.pid())), "{said}");
    assert_eq!(status(&charon.query_sa(id_in(spi))), SUCCESS);
    assert_eq!(status(&bridge.daemon().query_sa(id_in(spi))), SUCCESS, "the socket is the first one's");
}

#[test]
fn a_new_connection_sweeps_nothing_and_a_new_process_after_the_grace_time() {
    let bridge = Bridge::start(&["--grace", "1"]);
    let mut charon = bridge.daemon();
    let (_, peer) = charon.add_pair(0xc0de_1007);
    charon.add_policy(1, peer);
    drop(charon);
    drop(bridge.daemon());
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!(bridge.sad().occupancy().sas, 2, "the process is the same");
    let new = Daemon::hello(bridge.path(), 2);
    assert_eq!(bridge.sad().occupancy().sas, 2, "traffic goes on through the grace time");
    eventually("the sweep", || bridge.sad().occupancy().sas == 0 && bridge.sad().occupancy().policies == 0);
    drop(new);
}

#[test]
fn what_the_new_process_sets_up_outlives_the_sweep() {
    let bridge = Bridge::start(&["--grace", "1"]);
    let mut old = bridge.daemon();
    let (_, peer) = old.add_pair(0xc0de_1008);
    old.add_policy(1, peer);
    drop(old);
    let mut new = Daemon::hello(bridge.path(), 2);
    let (spi, peer) = new.add_pair(0xc0de_1009);
    new.add_policy(1, peer);
    eventually("the sweep", || bridge.sad().occupancy().sas == 2);
    assert_eq!(status(&new.query_sa(id_in(spi))), SUCCESS);
    assert_eq!(new.del_policy(1, peer), SUCCESS);
    assert_eq!(status(&new.query_policy(1)), NOT_FOUND, "the old process's user is gone too");
}

#[test]
fn an_sa_sent_twice_under_its_old_key_never_starts_anew() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    charon.add_pair(0xc0de_100a);
    let mut new = Daemon::hello(bridge.path(), 2);
    let reply = new.add_sa(&mut outbound(0xc0de_100a));
    assert_eq!(status(&reply), Status::Failed as u32, "its sequence numbers would repeat");
}
