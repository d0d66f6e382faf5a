use shm_protocol::sa::Limit;

use super::super::testing::{complaint, parsed};
use super::*;

const KEY: &str = "0x000102030405060708090a0b0c0d0e0f10111213";

fn added(more: &str) -> StateSpec {
    let line = format!(
        "state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1000 aead 'rfc4106(gcm(aes))' {KEY} 128 {more}"
    );
    let Ok(Command::Change(XfrmChange::StateAdd(spec))) = parsed(&line) else { panic!("{line}") };
    *spec
}

#[test]
fn every_word_of_a_state_is_read() {
    let spec = added(
        "mode tunnel reqid 7 replay-window 128 replay-seq 5 replay-seq-hi 1 replay-oseq 9 replay-oseq-hi 2 \
         flag esn noecn extra-flag dont-encap-dscp encap espinudp 4500 4501 0.0.0.0 if_id 0x2a mark 1 mask 3 \
         output-mark 8 sel src 10.0.0.0/8 dst 10.2.0.0/16 proto tcp dport 80 limit byte-soft 1000 limit byte-hard \
         2000 limit time-hard 60 tfcpad 1400 dir out",
    );
    assert_eq!((spec.reqid, spec.replay_window_pkts), (7, 128));
    assert_eq!((spec.replay_seq, spec.replay_oseq), (0x1_0000_0005, 0x2_0000_0009));
    assert!(spec.flags.esn && spec.flags.noecn && spec.flags.dont_encap_dscp && !spec.flags.decap_dscp);
    assert_eq!(spec.encap, Some(EncapPorts { sport: 4500, dport: 4501 }));
    assert_eq!((spec.if_id, spec.mark), (IfId(42), Mark { value: 1, mask: 3 }));
    assert_eq!(spec.set_mark, Mark { value: 8, mask: u32::MAX });
    assert_eq!(spec.selectors.len(), 1);
    assert_eq!(spec.limits.octets, Limit::new(1000, 2000));
    assert_eq!(spec.limits.time_seconds, Limit::new(0, 60));
    assert_eq!((spec.tfc_pad_octets, spec.dir), (1400, Some(Direction::Out)));
    assert_eq!(spec.aead.key_and_salt.unwrap().len(), 20);
}

#[test]
fn the_order_of_words_does_not_matter_and_dir_may_be_left_out() {
    assert_eq!(added("if_id 1 flag esn reqid 3").reqid, 3);
    assert_eq!(added("").dir, None);
}

#[test]
fn a_wrong_word_is_named_with_its_position() {
    assert!(
        complaint("state add src 192.0.2.1 dst nowhere")
            .starts_with("word 6 \"nowhere\": expected an address")
    );
    assert!(
        complaint("state add src 10.0.0.1 dst 10.0.0.2 proto ah").starts_with("word 8 \"ah\": expected esp")
    );
    assert!(complaint("state add foo").starts_with("word 3 \"foo\": expected src, dst"));
    assert!(complaint("state fold").starts_with("word 2 \"fold\": expected add, update"));
    assert!(complaint("state add mode transport").contains("expected tunnel"));
    assert!(complaint("state add flag wildrecv").contains("expected noecn"));
    assert!(complaint("state add auth hmac(sha1) 0x01").contains("the only algorithm"));
    assert!(complaint("state add src 10.0.0.1 dst ::1").contains("one family"));
    assert!(complaint("state count now").starts_with("word 3 \"now\": expected nothing"));
}

#[test]
fn what_a_state_lacks_is_named() {
    assert!(complaint("state add").contains("expected src ADDRESS"));
    assert!(complaint("state add src 10.0.0.1 dst 10.0.0.2 spi 5").contains("expected proto esp"));
    assert!(complaint("state delete proto esp spi 5").contains("expected dst ADDRESS"));
}

#[test]
fn no_part_of_a_malformed_key_is_echoed() {
    for key in ["0x0011223344556677889", "0xsecret00", &format!("0x{}", "ab".repeat(70))] {
        let complaint = complaint(&format!(
            "state add src 10.0.0.1 dst 10.0.0.2 proto esp spi 1 aead 'rfc4106(gcm(aes))' {key} 128"
        ));
        assert!(!complaint.contains(&key[2..8]), "{complaint}");
        assert!(complaint.starts_with("word 13"), "{complaint}");
    }
}

#[test]
fn a_state_is_named_by_destination_and_spi() {
    let id =
        StateId { src: None, dst: "192.0.2.2".parse().unwrap(), spi: Spi(0x1000), mark: Mark::default() };
    let deleted = parsed("state delete dst 192.0.2.2 proto esp spi 0x1000").unwrap();
    assert_eq!(deleted, Command::Change(XfrmChange::StateDelete(id)));
    let got = parsed("state get dst 192.0.2.2 proto esp spi 0x1000").unwrap();
    assert_eq!(got, Command::Ask(BridgeRequest::StateGet { id, show_keys: false }));
}

#[test]
fn a_list_may_be_narrowed() {
    let filter = StateFilter { reqid: Some(3), if_id: Some(IfId(1)), ..StateFilter::default() };
    let listed = parsed("state list reqid 3 if_id 0x1").unwrap();
    let cursor = Cursor::default();
    assert_eq!(listed, Command::Ask(BridgeRequest::StateList { filter, cursor, show_keys: false }));
    assert!(parsed("state").is_ok());
}
