//! The plugin's messages, byte for byte: a C program, the committed lines and the Rust types must agree.

#![allow(clippy::unwrap_used, reason = "a test")]

use shm_protocol::messages::plugin::{
    AddSa, Event, Host, Malformed, Policy, Ports, RESENT, Range, Reply, Request, SaId, Status,
    TrafficSelector, parse, text,
};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use zerocopy::IntoBytes;
use zerocopy::little_endian::{U32, U64};

const GOLDEN: &str = include_str!("plugin_golden.txt");

fn golden(name: &str) -> Vec<u8> {
    let line = GOLDEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).unwrap();
    (0..line.len()).step_by(2).map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap()).collect()
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

fn peer() -> Host {
    Host::new(ip("192.0.2.1"), 4500)
}

fn gateway() -> Host {
    Host::new(ip("2001:db8::2"), 500)
}

fn inside() -> Range {
    Range { from: ip("10.1.0.0"), to: ip("10.1.0.255"), proto: 0, ports: Ports::Range(0, 65535) }
}

fn ping() -> Range {
    Range { from: ip("fd00::1"), to: ip("fd00::9"), proto: 58, ports: Ports::Range(0x8000, 0x80ff) }
}

fn assert_sa(id: &SaId) {
    assert_eq!((id.src, id.dst, id.spi.get(), id.if_id.get()), (peer(), gateway(), 0xabc0_0001, 42));
    assert_eq!((id.mark.value.get(), id.mark.mask.get(), id.proto), (7, 0xff, 50));
}

fn assert_limits(sa: &AddSa) {
    let limits = [&sa.time, &sa.octets, &sa.packets].map(|l| (l.life.get(), l.rekey.get(), l.jitter.get()));
    assert_eq!(limits, [(3600, 3240, 360), (0x1_0000_0000, 0xf000_0000, 1), (1000, 900, 10)]);
}

#[test]
fn the_c_program_prints_the_committed_lines() {
    let plugin = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../ike-bridge/charon-plugin");
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("golden");
    let mut compiler = Command::new("cc");
    compiler.args(["-std=gnu17", "-Wall", "-Wextra", "-Werror", "-o"]);
    let compiled = compiler.arg(&program).arg(plugin.join("golden.c")).status().unwrap();
    assert!(compiled.success());
    let printed = Command::new(&program).output().unwrap().stdout;
    assert_eq!(String::from_utf8(printed).unwrap(), GOLDEN);
}

#[test]
fn a_hello_is_read_with_its_names() {
    let datagram = golden("HELLO");
    let Ok((header, Request::Hello(hello))) = parse(&datagram) else { panic!("no hello") };
    assert_eq!((header.request_id.get(), header.flags.get()), (1, RESENT));
    assert_eq!((hello.pid.get(), hello.pending_deletes.get()), (1234, 3));
    assert_eq!(hello.start_ticks.get(), 0x12_3456_789a);
    assert_eq!(text(&hello.daemon), "charon-systemd");
    assert_eq!((text(&hello.strongswan), text(&hello.plugin)), ("5.9.8".into(), "0.1.0".into()));
}

#[test]
fn get_spi_is_read() {
    let datagram = golden("GET_SPI");
    let Ok((_, Request::GetSpi(get))) = parse(&datagram) else { panic!("no get_spi") };
    assert_eq!((get.src, get.dst, get.proto), (peer(), gateway(), 50));
}

#[test]
fn every_field_of_add_sa_is_read() {
    let datagram = golden("ADD_SA");
    let Ok((header, Request::AddSa(sa))) = parse(&datagram) else { panic!("no add_sa") };
    assert_eq!(header.request_id.get(), 0x1122_3344_5566_7788);
    assert_sa(&sa.id);
    assert_limits(sa);
    assert_eq!((sa.reqid.get(), sa.replay_window_pkts.get(), sa.tfc.get()), (5, 128, u32::MAX));
    assert_eq!((sa.set_mark.value.get(), sa.set_mark.mask.get()), (8, 0xf));
    assert_eq!((sa.cpu.get(), sa.acquire_seq.get()), (3, 9));
    assert_eq!((sa.enc_alg.get(), sa.int_alg.get(), sa.int_key_octets.get()), (20, 1024, 4));
    assert_eq!((sa.ipcomp.get(), sa.cpi.get()), (2, 0x1234));
    assert_eq!((sa.mode, sa.encap, sa.hw_offload, sa.copy_dscp), (2, 1, 2, 3));
    assert_eq!((sa.label_present, sa.esn, sa.copy_df, sa.copy_ecn), (1, 1, 1, 1));
    assert_eq!((sa.initiator, sa.inbound, sa.update), (1, 1, 1));
    assert_eq!((sa.ts_truncated, sa.interface_truncated), (1, 1));
    assert_eq!(text(&sa.interface), "wan0");
    let mut key = [0; 20];
    (key[0], key[1], key[19]) = (1, 2, 20);
    assert_eq!(sa.enc_key(), Some(&key[..]));
    assert_eq!(sa.int_key[..5], [0xa, 0xb, 0xc, 0xd, 0]);
    let (src, dst) = sa.selectors().unwrap();
    let read = |side: &[TrafficSelector]| side.iter().map(|ts| ts.range().unwrap()).collect::<Vec<_>>();
    assert_eq!((read(src), read(dst)), (vec![inside()], vec![ping(), inside()]));
}

#[test]
fn update_query_and_delete_of_an_sa_are_read() {
    let datagram = golden("UPDATE_SA");
    let Ok((_, Request::UpdateSa(update))) = parse(&datagram) else { panic!("no update_sa") };
    assert_sa(&update.id);
    assert_eq!((update.new_src, update.new_dst, update.new_reqid.get()), (gateway(), peer(), 6));
    assert_eq!((update.cpi.get(), update.encap, update.new_encap), (0x1234, 1, 1));
    let datagram = golden("QUERY_SA");
    let Ok((_, Request::QuerySa(query))) = parse(&datagram) else { panic!("no query_sa") };
    assert_sa(&query.id);
    let datagram = golden("DEL_SA");
    let Ok((_, Request::DelSa(delete))) = parse(&datagram) else { panic!("no del_sa") };
    assert_sa(&delete.id);
    assert_eq!(delete.cpi.get(), 0x1234);
}

#[test]
fn every_field_of_a_policy_is_read() {
    let datagram = golden("ADD_POLICY");
    let Ok((_, Request::AddPolicy(policy))) = parse(&datagram) else { panic!("no add_policy") };
    let id = &policy.id;
    assert_eq!((id.dir, id.label_present, id.interface_truncated, id.if_id.get()), (2, 1, 1, 42));
    assert_eq!((id.mark.value.get(), id.mark.mask.get(), text(&id.interface)), (7, 0xff, "wan0".into()));
    assert_eq!((id.src_ts.range(), id.dst_ts.range()), (Ok(inside()), Ok(ping())));
    assert_template(policy);
    let datagram = golden("QUERY_POLICY");
    let Ok((_, Request::QueryPolicy(query))) = parse(&datagram) else { panic!("no query_policy") };
    assert_eq!(query.id, policy.id);
}

fn assert_template(policy: &Policy) {
    assert_eq!((policy.kind, policy.prio, policy.mode, policy.esp_use, policy.ah_use), (1, 2, 2, 1, 1));
    assert_eq!((policy.manual_prio.get(), policy.reqid.get(), policy.policy_count.get()), (77, 5, 4));
    assert_eq!((policy.src, policy.dst), (peer(), gateway()));
    assert_eq!((policy.esp_spi.get(), policy.ah_spi.get()), (0xabc0_0001, 0xabc0_0002));
    assert_eq!((policy.ipcomp.get(), policy.cpi.get()), (2, 0x1234));
}

#[test]
fn replies_and_events_are_what_the_plugin_reads() {
    let mut reply = Reply::new(9, Status::NotSupported).with_detail("no.");
    (reply.spi, reply.octets) = (U32::new(0xabc0_0001), U64::new(0x1_0000_0001));
    (reply.packets, reply.last_use_ago_ns) = (U64::new(0x2_0000_0002), U64::new(0x3_0000_0003));
    assert_eq!(reply.as_bytes(), golden("REPLY"));
    let expire = Event::expire(0xabc0_0001, gateway(), true);
    assert_eq!(expire.as_bytes(), golden("EXPIRE"));
    let acquire = Event::acquire(5, TrafficSelector::new(&inside()), TrafficSelector::new(&ping()));
    assert_eq!(acquire.as_bytes(), golden("ACQUIRE"));
    assert_eq!(Event::mapping(0xabc0_0001, gateway(), peer()).as_bytes(), golden("MAPPING"));
}

#[test]
fn a_shorter_message_is_refused_and_a_longer_tail_ignored() {
    for line in GOLDEN.lines().filter(|line| !line.starts_with("REPLY")) {
        let name = line.split(' ').next().unwrap();
        let whole = golden(name);
        if u16::from_le_bytes([whole[6], whole[7]]) >= 64 {
            continue;
        }
        for cut in 0..whole.len() {
            assert!(matches!(parse(&whole[..cut]), Err(Malformed::Short { .. })), "{name} cut to {cut}");
            let mut liar = whole[..cut].to_vec();
            if let Some(length) = liar.get_mut(8..12) {
                length.copy_from_slice(&u32::try_from(cut).unwrap().to_le_bytes());
            }
            assert!(matches!(parse(&liar), Err(Malformed::Short { .. })), "{name} of {cut} octets");
        }
        let mut longer = [&whole[..], &[0xee; 8]].concat();
        let length = u32::try_from(longer.len()).unwrap().to_le_bytes();
        longer[8..12].copy_from_slice(&length);
        assert!(parse(&longer).is_ok(), "{name} with a tail");
    }
}

#[test]
fn another_magic_version_or_type_is_refused_by_name() {
    let whole = golden("GET_SPI");
    let change = |at: usize, to: u8| {
        let mut datagram = whole.clone();
        datagram[at] = to;
        parse(&datagram).map(|_| ()).unwrap_err()
    };
    assert_eq!(change(0, 0), Malformed::Magic(0x4b50_5300));
    assert_eq!(change(4, 2), Malformed::Version(2));
    assert_eq!(change(6, 99), Malformed::Kind(99));
}

#[test]
fn a_long_sentence_is_cut_at_a_character() {
    let reply = Reply::new(1, Status::Failed).with_detail(&"ä".repeat(150));
    assert_eq!(reply.detail_octets.get(), 200);
    let reply = Reply::new(1, Status::Failed).with_detail(&format!("x{}", "ä".repeat(150)));
    assert_eq!(reply.detail_octets.get(), 199);
}

#[test]
fn a_debug_print_of_add_sa_shows_no_key() {
    let datagram = golden("ADD_SA");
    let (_, request) = parse(&datagram).unwrap();
    let printed = format!("{request:?}");
    assert!(!printed.contains("key"), "{printed}");
}
