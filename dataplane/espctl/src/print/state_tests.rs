use shm_protocol::messages::control::{StateUsage, XfrmChange};

use super::*;
use crate::grammar::{Command, testing::parsed};

fn info(more: &str) -> StateInfo {
    let line = format!(
        "state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 0x1000 reqid 1 mode tunnel aead 'rfc4106(gcm(aes))' \
         0x000102030405060708090a0b0c0d0e0f10111213 128 {more}"
    );
    let Ok(Command::Change(XfrmChange::StateAdd(spec))) = parsed(&line) else { panic!("{line}") };
    let mut spec = *spec;
    spec.aead.key_and_salt = None;
    StateInfo { spec, larval: false, slot: 5, owner: "manual".to_owned(), usage: None }
}

fn shown(info: &StateInfo) -> String {
    state(info, Detail::default()).to_string()
}

#[test]
fn a_state_has_the_form_of_iproute2() {
    let text = shown(&info(
        "replay-window 32 flag af-unspec encap espinudp 4500 4501 0.0.0.0 if_id 1 mark 3 mask 7 sel src 10.0.0.0/8 dst 0.0.0.0/0",
    ));
    assert_eq!(
        text,
        "src 10.0.0.1 dst 10.0.0.2\n\
         \tproto esp spi 0x00001000 reqid 1 mode tunnel\n\
         \treplay-window 32 flag af-unspec\n\
         \tmark 0x3/0x7 \n\
         \taead rfc4106(gcm(aes)) <<Keys hidden>> 128\n\
         \tencap type espinudp sport 4500 dport 4501 addr 0.0.0.0\n\
         \tanti-replay context: seq 0x0, oseq 0x0, bitmap 0x00000000\n\
         \tif_id 0x1 (1)\n\
         \tsel src 10.0.0.0/8 dst 0.0.0.0/0 \n"
    );
}

#[test]
fn a_state_with_esn_has_the_other_context() {
    let text = shown(&info("replay-window 64 flag esn replay-oseq 5 replay-oseq-hi 1"));
    assert!(
        text.contains(
            "\treplay-window 0 flag esn\n\
         \taead rfc4106(gcm(aes)) <<Keys hidden>> 128\n\
         \tanti-replay esn context:\n\
         \t seq-hi 0x0, seq 0x0, oseq-hi 0x1, oseq 0x5\n\
         \t replay_window 64, bitmap-length 2\n"
        ),
        "{text}"
    );
}

#[test]
fn a_key_is_shown_only_when_it_was_asked_for() {
    let mut info = info("");
    assert!(!shown(&info).contains("0001020304"));
    info.spec.aead.key_and_salt = shm_protocol::secret::SecretKey::new(&[0xa5; 20]);
    assert!(shown(&info).contains(&format!("aead rfc4106(gcm(aes)) 0x{} 128", "a5".repeat(20))));
}

#[test]
fn statistics_have_the_form_of_ip_s() {
    let mut info = info("limit byte-soft 1000 limit byte-hard 2000 limit time-hard 60");
    info.usage = Some(StateUsage {
        octets: 84,
        packets: 1,
        installed_ago_seconds: 10,
        err_replay: 3,
        ..StateUsage::default()
    });
    let detail = Detail { statistics: true, details: true, now_seconds: 1_795_252_880 };
    let text = state(&info, detail).to_string();
    assert!(text.contains("proto esp spi 0x00001000(4096) reqid 1(0x00000001) mode tunnel\n"), "{text}");
    assert!(text.contains("\treplay-window 0 seq 0x00000000 flag  (0x00000000)\n"), "{text}");
    assert!(
        text.contains(
            "\tlifetime config:\n\
         \t  limit: soft 1000(bytes), hard 2000(bytes)\n\
         \t  limit: soft (INF)(packets), hard (INF)(packets)\n\
         \t  expire add: soft 0(sec), hard 60(sec)\n\
         \t  expire use: soft 0(sec), hard 0(sec)\n\
         \tlifetime current:\n\
         \t  84(bytes), 1(packets)\n\
         \t  add 2026-11-21 09:21:10 use -\n\
         \tstats:\n\
         \t  replay-window 0 replay 3 failed 0\n\
         \tdir in and out slot 5 owner manual\n"
        ),
        "{text}"
    );
}
