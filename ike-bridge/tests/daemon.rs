//! What charon asks of the bridge through the plugin, over the real socket.
#![allow(clippy::unwrap_used, missing_docs, reason = "a failed step of a test is the test's failure")]

mod common;

use common::{Bridge, Daemon, detail, host, id_in, id_out, inbound, outbound, status};
use shm_protocol::ids::{Slot, Spi};
use shm_protocol::messages::plugin::{RESENT, Status};
use shm_protocol::sa::{Direction, EncapPorts, Occupant, Sa};

const SUCCESS: u32 = Status::Success as u32;
const FAILED: u32 = Status::Failed as u32;
const NOT_FOUND: u32 = Status::NotFound as u32;

fn installed(bridge: &Bridge) -> Vec<Sa> {
    let sad = bridge.sad();
    let slots = (0..sad.sa_slots_used()).filter_map(Slot::new);
    slots
        .filter_map(|slot| match sad.sa(slot).unwrap().occupant {
            Occupant::Sa(sa) => Some(*sa),
            Occupant::Empty | Occupant::Larval(_) => None,
        })
        .collect()
}

#[test]
fn an_sa_lives_from_its_spi_to_its_delete() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let (spi, peer) = charon.add_pair(0xc0de_0001);
    assert!(spi >> 20 != 0);
    let sas = installed(&bridge);
    let one = sas.iter().find(|sa| sa.direction == Direction::In).unwrap();
    assert_eq!((one.spi, one.slot), (Spi(spi), Slot::of(Spi(spi))));
    assert_eq!((one.keying.key().len(), one.keying.salt().expose()[3]), (32, 35 ^ spi.to_le_bytes()[0]));
    assert_eq!((one.selectors.len(), one.replay_window_pkts), (1, 32));
    assert_eq!(status(&charon.query_sa(id_in(spi))), SUCCESS);
    assert_eq!(charon.del_sa(id_in(spi)), SUCCESS);
    assert_eq!(charon.del_sa(id_in(spi)), NOT_FOUND);
    assert_eq!(status(&charon.query_sa(id_in(spi))), NOT_FOUND);
    assert_eq!(charon.del_sa(id_out(peer)), SUCCESS);
    assert_eq!(installed(&bridge), []);
}

#[test]
fn what_cannot_be_honoured_is_refused_in_one_sentence_with_the_remedy() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let mut refused = |change: &dyn Fn(&mut shm_protocol::messages::plugin::AddSa), words: &[&str]| {
        let mut message = outbound(0xc0de_0002);
        change(&mut message);
        let reply = charon.add_sa(&mut message);
        let sentence = detail(&reply);
        assert_eq!(status(&reply), FAILED, "{sentence}");
        words.iter().for_each(|word| assert!(sentence.contains(word), "{word}: {sentence}"));
    };
    refused(&|m| m.enc_alg = 12.into(), &["ENCR_AES_CBC (12)", "aes256gcm16"]);
    refused(&|m| m.enc_alg = 28.into(), &["ENCR_CHACHA20_POLY1305 (28)"]);
    refused(&|m| m.enc_alg = 18.into(), &["ENCR_AES_GCM_8 (18)", "16-octet ICV"]);
    refused(&|m| m.enc_key_octets = 21.into(), &["21 octets"]);
    refused(&|m| m.enc_key_octets = 65535.into(), &["65535 octets"]);
    refused(&|m| m.mode = 1, &["mode transport", "mode = tunnel"]);
    refused(&|m| m.ipcomp = 2.into(), &["IPComp", "ipcomp = no"]);
    refused(&|m| m.hw_offload = 1, &["hw_offload = yes", "auto"]);
    refused(&|m| m.label_present = 1, &["label"]);
    refused(&|m| m.id.proto = 51, &["protocol 51", "ESP"]);
    refused(&|m| m.copy_dscp = 9, &["copy_dscp 9"]);
    refused(&|m| m.id.dst.family = 5.into(), &["family 5"]);
    refused(&|m| m.src_ts_count = 9, &["9 traffic selectors"]);
    refused(&|m| (m.int_alg, m.int_key_octets) = (12.into(), 32.into()), &["integrity transform 12"]);
    assert_eq!(installed(&bridge), []);
    assert!(!bridge.log().contains("0001020304"), "{}", bridge.log());
}

#[test]
fn a_request_sent_again_is_answered_again_and_done_once() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let spi = charon.get_spi();
    let id = charon.next_id();
    assert_eq!(status(&charon.ask_as(id, 0, 3, &mut inbound(spi))), SUCCESS);
    let generation = bridge.sad().generation();
    let mut again = Daemon::hello(bridge.path(), 1);
    assert_eq!(status(&again.ask_as(id, RESENT, 3, &mut inbound(spi))), SUCCESS);
    assert_eq!(bridge.sad().generation(), generation);
}

#[test]
fn an_update_moves_an_sa_and_keeps_key_and_identity() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    charon.add_pair(0xc0de_0003);
    let before = installed(&bridge).into_iter().find(|sa| sa.direction == Direction::Out).unwrap();
    let moved = shm_protocol::messages::plugin::Host::new("198.51.100.7".parse().unwrap(), 1027);
    assert_eq!(status(&charon.update_sa(id_out(0xc0de_0003), host("192.0.2.1"), moved)), SUCCESS);
    let after = installed(&bridge).into_iter().find(|sa| sa.direction == Direction::Out).unwrap();
    assert_eq!(after.dst.to_string(), "198.51.100.7");
    assert_eq!(after.encap, Some(EncapPorts { sport: 4500, dport: 1027 }));
    assert_eq!((after.uid, &after.keying, after.slot), (before.uid, &before.keying, before.slot));
    let unknown = charon.update_sa(id_out(0x7777_7777), host("192.0.2.1"), moved);
    assert_eq!(status(&unknown), Status::NotSupported as u32, "charon rekeys on no other answer");
}

#[test]
fn a_rekey_keeps_the_policy_until_its_last_user_goes() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let (old_in, old_out) = charon.add_pair(0xc0de_0004);
    for (dir, spi) in [(0, old_in), (2, old_in), (1, old_out)] {
        assert_eq!(status(&charon.add_policy(dir, spi)), SUCCESS);
    }
    let (new_in, new_out) = charon.add_pair(0xc0de_0005);
    for (dir, spi) in [(0, new_in), (2, new_in), (1, new_out)] {
        assert_eq!(status(&charon.add_policy(dir, spi)), SUCCESS);
    }
    assert_eq!(installed(&bridge).len(), 4, "both pairs live side by side");
    assert_eq!(charon.del_policy(1, old_out), SUCCESS);
    assert_eq!(charon.del_sa(id_out(old_out)), SUCCESS);
    assert_eq!(status(&charon.query_sa(id_in(old_in))), SUCCESS);
    assert_eq!(status(&charon.query_policy(1)), SUCCESS);
    let out = bridge.sad().policy(shm_protocol::ids::PolicySlot::new(2).unwrap()).unwrap().unwrap();
    assert_eq!((out.users, out.priority), (1, 2 * 200_000 - 32 * 512 - 1));
    for (dir, spi) in [(0, old_in), (2, old_in), (0, new_in), (2, new_in), (1, new_out)] {
        assert_eq!(charon.del_policy(dir, spi), SUCCESS);
    }
    assert_eq!(status(&charon.query_policy(1)), NOT_FOUND);
    assert_eq!(bridge.sad().occupancy().policies, 0);
}

#[test]
fn a_delete_of_what_was_refused_leaves_the_older_twin() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let (_, peer) = charon.add_pair(0xc0de_0006);
    let mut twin = outbound(peer);
    twin.enc_key[0] ^= 0xff;
    assert_eq!(status(&charon.add_sa(&mut twin)), FAILED);
    charon.del_sa(id_out(peer));
    assert_eq!(status(&charon.query_sa(id_out(peer))), SUCCESS, "the twin is still there");
    assert_eq!(charon.del_sa(id_out(peer)), SUCCESS);
    assert_eq!(status(&charon.query_sa(id_out(peer))), NOT_FOUND);
}

#[test]
fn an_spi_that_was_never_used_is_given_back() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let spi = charon.get_spi();
    assert_eq!(bridge.sad().occupancy().sas, 1);
    assert_eq!(charon.del_sa(id_in(spi)), SUCCESS);
    assert_eq!(bridge.sad().occupancy().sas, 0);
    let mut nothing = id_in(0);
    nothing.proto = 0;
    assert_eq!(charon.del_sa(nothing), SUCCESS);
}

#[test]
fn one_owner_neither_sees_nor_deletes_what_is_anothers() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let (spi, _) = charon.add_pair(0xc0de_0007);
    let mut other = Daemon::hello(bridge.path(), 2);
    // Both claim the same process id; the second is a later process, so the first one's SAs are left behind.
    assert_eq!(status(&other.query_sa(id_in(spi))), NOT_FOUND);
    assert_eq!(other.del_sa(id_in(spi)), NOT_FOUND);
    assert_eq!(installed(&bridge).len(), 2);
}

#[test]
fn no_more_sas_than_the_capacity_are_admitted() {
    let bridge = Bridge::start(&["--capacity", "2"]);
    let mut charon = bridge.daemon();
    charon.add_pair(0xc0de_0008);
    let reply = charon.add_sa(&mut outbound(0xc0de_0009));
    assert_eq!(status(&reply), FAILED);
    assert!(detail(&reply).contains("--capacity"), "{}", detail(&reply));
}
