//! Messages that are none, too short, too long, too many: one line in the log, and nothing is lost.
#![allow(clippy::unwrap_used, missing_docs, reason = "a failed step of a test is the test's failure")]

mod common;

use common::{Bridge, Connection, detail, id_in, inbound, outbound, policy, socket_of, status};
use shm_protocol::codec::{self, MAX_REQUEST_OCTETS, Message};
use shm_protocol::messages::control::{BridgeReply, BridgeRequest, EngineHello};
use shm_protocol::messages::plugin::{AddSa, Reply, Status};
use zerocopy::{FromBytes, IntoBytes};

const SUCCESS: u32 = Status::Success as u32;

#[test]
fn what_is_no_message_ends_its_own_connection_only() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let (spi, _) = charon.add_pair(0xc0de_3001);
    for garbage in
        [&b"x"[..], b"nonsense that is no message", &[0xff; 4096], &vec![0; MAX_REQUEST_OCTETS + 100]]
    {
        let stranger = Connection::open(&socket_of(&bridge)).unwrap();
        stranger.send(garbage);
        assert_eq!(stranger.receive(), None, "{} octets", garbage.len());
    }
    assert_eq!(status(&charon.query_sa(id_in(spi))), SUCCESS);
    assert_eq!(bridge.log().lines().filter(|line| line.contains("is disconnected")).count(), 4);
}

#[test]
fn a_truncated_request_is_refused_by_its_id_and_the_connection_goes_on() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let spi = charon.get_spi();
    let mut message = inbound(spi);
    let id = charon.next_id();
    // Fills the header in; the whole message is sent and taken.
    assert_eq!(status(&charon.ask_as(id, 0, 3, &mut message)), SUCCESS);
    let whole = message.as_bytes();
    for length in [24, 100, whole.len() - 1] {
        charon.connection.send(&whole[..length]);
        let reply = charon.reply(id);
        assert_eq!(status(&reply), Status::Failed as u32);
        assert!(detail(&reply).contains(&format!("message of {length} octets")), "{}", detail(&reply));
    }
    assert_eq!(status(&charon.query_sa(id_in(spi))), SUCCESS);
}

#[test]
fn a_longer_tail_is_ignored() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let mut message = outbound(0xc0de_3002);
    let id = charon.next_id();
    *common::Wire::header(&mut message) = shm_protocol::messages::plugin::Header {
        magic: shm_protocol::messages::plugin::MAGIC.into(),
        version: 1.into(),
        kind: 3.into(),
        length: 1088.into(),
        flags: 0.into(),
        request_id: id.into(),
    };
    let mut longer = message.as_bytes().to_vec();
    longer.extend_from_slice(&[7; 64]);
    charon.connection.send(&longer);
    assert_eq!(status(&charon.reply(id)), SUCCESS);
}

#[test]
fn another_version_and_a_missing_hello_are_told_in_a_reply() {
    let bridge = Bridge::start(&[]);
    let stranger = Connection::open(&socket_of(&bridge)).unwrap();
    let mut message = policy(1, 5);
    message.header.magic = shm_protocol::messages::plugin::MAGIC.into();
    message.header.version = 1.into();
    message.header.kind = 8.into();
    message.header.length = u32::try_from(size_of_val(&message)).unwrap().into();
    stranger.send(message.as_bytes());
    let told = stranger.receive().unwrap();
    let (reply, _) = Reply::ref_from_prefix(&told).unwrap();
    assert!(detail(reply).contains("hello"), "{}", detail(reply));
    message.header.version = 9.into();
    stranger.send(message.as_bytes());
    let told = stranger.receive().unwrap();
    let (reply, _) = Reply::ref_from_prefix(&told).unwrap();
    assert!(detail(reply).contains("version 9"), "{}", detail(reply));
}

#[test]
fn a_malformed_operator_message_is_refused() {
    let bridge = Bridge::start(&[]);
    let operator = Connection::open(&socket_of(&bridge)).unwrap();
    let mut message = codec::encode(&BridgeRequest::StateCount).unwrap().to_vec();
    message.extend_from_slice(&[1, 2, 3]);
    operator.send(&message);
    let reply: BridgeReply = codec::decode(&operator.receive().unwrap()).unwrap();
    assert!(matches!(reply, BridgeReply::Refused(_)), "{reply:?}");
    assert!(matches!(operator.operate(&BridgeRequest::StateCount), BridgeReply::Count { count: 0, .. }));
}

#[test]
fn an_engine_without_its_eventfds_is_turned_away() {
    let bridge = Bridge::start(&[]);
    let engine = Connection::open(&socket_of(&bridge)).unwrap();
    let hello = EngineHello { pid: 1, instance: [1, 2], version: String::new() };
    engine.send(&codec::encode(&hello).unwrap());
    assert_eq!(engine.receive(), None);
    let _ = EngineHello::MAGIC;
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_blocks_nobody() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let deaf = Connection::open(&socket_of(&bridge)).unwrap();
    let question = codec::encode(&BridgeRequest::StateCount).unwrap();
    let began = std::time::Instant::now();
    // Its socket fills up and then its queue in the bridge; sending fails once it is dropped.
    let mut sent = 0_u32;
    while sent < 200_000
        && nix::sys::socket::send(
            std::os::fd::AsRawFd::as_raw_fd(deaf.fd()),
            &question,
            nix::sys::socket::MsgFlags::MSG_NOSIGNAL | nix::sys::socket::MsgFlags::MSG_DONTWAIT,
        ) != Err(nix::errno::Errno::EPIPE)
        && began.elapsed() < std::time::Duration::from_secs(5)
    {
        sent += 1;
    }
    let began = std::time::Instant::now();
    charon.get_spi();
    assert!(began.elapsed() < std::time::Duration::from_millis(500), "{:?}", began.elapsed());
}

#[test]
fn no_key_is_ever_logged() {
    let bridge = Bridge::start(&[]);
    let mut charon = bridge.daemon();
    let mut message: AddSa = outbound(0xc0de_3003);
    message.enc_key[..36].fill(0xa5);
    charon.add_sa(&mut message);
    message.enc_alg = 99.into();
    charon.add_sa(&mut message);
    let log = bridge.log().to_lowercase();
    assert!(!log.contains("a5a5") && !log.contains("165, 165"), "{log}");
}

#[test]
fn the_socket_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let bridge = Bridge::start(&[]);
    let mode = std::fs::metadata(socket_of(&bridge)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}
