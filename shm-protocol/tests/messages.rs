//! espctl's messages: they survive their octets, fit their datagrams, and no octets can hurt a reader.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::net::IpAddr;

use proptest::prelude::*;
use shm_protocol::Error;
use shm_protocol::codec::{MAX_REPLY_OCTETS, MAX_REQUEST_OCTETS, VERSION, decode, encode, magic_of};
use shm_protocol::ids::{IfId, Spi};
use shm_protocol::messages::control::{
    AeadSpec, BridgeReply, BridgeRequest, EngineHello, EngineReply, EngineRequest, LifetimeSpec, MAX_BATCH,
    PolicyId, PolicySpec, StateFlags, StateSpec, XfrmChange,
};
use shm_protocol::policy::{Action, PolicyDirection, Template};
use shm_protocol::sa::{CopyDscp, Direction, EncapPorts, Limit, Mark, Mode};
use shm_protocol::secret::SecretKey;
use shm_protocol::selector::{AddressRange, Family, PortRange, SelectorRecord};

const KEY: [u8; 36] = [0xa5; 36];

fn state() -> StateSpec {
    let six = "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap();
    StateSpec {
        src: six,
        dst: six,
        spi: Spi(u32::MAX),
        dir: Some(Direction::In),
        mode: Mode::Tunnel,
        reqid: u32::MAX,
        aead: AeadSpec {
            name: "rfc4106(gcm(aes))".into(),
            key_and_salt: SecretKey::new(&KEY),
            icv_bits: 128,
        },
        flags: StateFlags { esn: true, ..StateFlags::default() },
        copy_dscp: CopyDscp::No,
        replay_window_pkts: 1 << 20,
        replay_seq: u64::MAX,
        replay_oseq: u64::MAX,
        encap: Some(EncapPorts { sport: 4500, dport: 4500 }),
        if_id: IfId(u32::MAX),
        mark: Mark { value: u32::MAX, mask: u32::MAX },
        set_mark: Mark { value: u32::MAX, mask: u32::MAX },
        selectors: vec![selector()],
        limits: LifetimeSpec {
            time_seconds: Limit::new(u64::MAX - 1, u64::MAX - 1),
            use_seconds: Limit::new(u64::MAX - 1, u64::MAX - 1),
            octets: Limit::new(u64::MAX - 1, u64::MAX - 1),
            packets: Limit::new(u64::MAX - 1, u64::MAX - 1),
        },
        tfc_pad_octets: u32::MAX,
    }
}

fn selector() -> SelectorRecord {
    let any = AddressRange::any(Family::V6);
    SelectorRecord::new(any, any, 255, PortRange::ANY, PortRange::ANY).unwrap()
}

fn policy() -> PolicySpec {
    let six = "2001:db8:1111:2222:3333:4444:5555:6666".parse().unwrap();
    PolicySpec {
        id: PolicyId {
            direction: PolicyDirection::Fwd,
            selector: selector(),
            if_id: IfId(u32::MAX),
            mark: Mark { value: 1, mask: u32::MAX },
        },
        priority: u32::MAX,
        action: Action::Protect(Template {
            src: six,
            dst: six,
            reqid: u32::MAX,
            mode: Mode::Tunnel,
            spi: Some(Spi(u32::MAX)),
        }),
    }
}

#[test]
fn a_batch_of_the_largest_changes_fits_one_datagram_and_survives_it() {
    for change in [XfrmChange::StateAdd(Box::new(state())), XfrmChange::PolicyAdd(policy())] {
        let request = BridgeRequest::Batch(vec![change; MAX_BATCH]);
        let datagram = encode(&request).unwrap();
        assert!(datagram.len() <= MAX_REQUEST_OCTETS, "{}", datagram.len());
        assert_eq!(decode::<BridgeRequest>(&datagram).unwrap(), request);
        assert_eq!(magic_of(&datagram), Some(u32::from_le_bytes(*b"ESPC")));
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
}

fn any_selector() -> impl Strategy<Value = SelectorRecord> {
    let ports = (any::<u16>(), any::<u16>()).prop_map(|(a, b)| PortRange::new(a.min(b), a.max(b)).unwrap());
    let range = |v6| {
        let one = move || address().prop_filter("of one family", move |address| address.is_ipv6() == v6);
        (one(), one()).prop_map(|(a, b)| AddressRange::new(a.min(b), a.max(b)).unwrap())
    };
    let all = any::<bool>()
        .prop_flat_map(move |v6| (range(v6), range(v6), any::<u8>(), ports.clone(), ports.clone()));
    all.prop_map(|(src, dst, proto, sport, dport)| {
        SelectorRecord::new(src, dst, proto, sport, dport).unwrap()
    })
}

proptest! {
    #[test]
    fn every_number_of_a_state_arrives_as_it_was_sent(
        ends in (address(), address()),
        words in any::<[u32; 9]>(),
        long in any::<[u64; 10]>(),
        bits in any::<[bool; 7]>(),
        ports in any::<(u16, u16)>(),
        dir in prop_oneof![Just(None), Just(Some(Direction::In)), Just(Some(Direction::Out))],
        copy_dscp in prop_oneof![Just(CopyDscp::OutOnly), Just(CopyDscp::InOnly), Just(CopyDscp::Yes), Just(CopyDscp::No)],
        selectors in proptest::collection::vec(any_selector(), 0..3),
    ) {
        let [spi, reqid, window, if_id, mark, mask, set_mark, set_mask, tfc] = words;
        let [seq, oseq, a, b, c, d, e, f, g, h] = long;
        let [esn, noecn, decap_dscp, nopmtudisc, af_unspec, dont_encap_dscp, encap] = bits;
        let spec = StateSpec {
            src: ends.0,
            dst: ends.1,
            spi: Spi(spi),
            dir,
            reqid,
            flags: StateFlags { esn, noecn, decap_dscp, nopmtudisc, af_unspec, dont_encap_dscp },
            copy_dscp,
            replay_window_pkts: window,
            replay_seq: seq,
            replay_oseq: oseq,
            encap: encap.then_some(EncapPorts { sport: ports.0, dport: ports.1 }),
            if_id: IfId(if_id),
            mark: Mark { value: mark, mask },
            set_mark: Mark { value: set_mark, mask: set_mask },
            selectors,
            limits: LifetimeSpec {
                time_seconds: Limit::new(a, b),
                use_seconds: Limit::new(c, d),
                octets: Limit::new(e, f),
                packets: Limit::new(g, h),
            },
            tfc_pad_octets: tfc,
            ..state()
        };
        let request = BridgeRequest::Batch(vec![XfrmChange::StateUpdate(Box::new(spec))]);
        prop_assert_eq!(decode::<BridgeRequest>(&encode(&request).unwrap()).unwrap(), request);
    }

    #[test]
    fn every_number_of_a_policy_arrives_as_it_was_sent(
        selector in any_selector(),
        ends in (address(), address()),
        words in any::<[u32; 5]>(),
        spi in any::<Option<u32>>(),
        kind in 0..3,
        direction in prop_oneof![Just(PolicyDirection::In), Just(PolicyDirection::Out), Just(PolicyDirection::Fwd)],
    ) {
        let [if_id, value, mask, priority, reqid] = words;
        let template = Template { src: ends.0, dst: ends.1, reqid, mode: Mode::Tunnel, spi: spi.map(Spi) };
        let id = PolicyId { direction, selector, if_id: IfId(if_id), mark: Mark { value, mask } };
        let action = match kind {
            0 => Action::Protect(template),
            1 => Action::Pass,
            _ => Action::Discard,
        };
        let request = BridgeRequest::Batch(vec![XfrmChange::PolicyAdd(PolicySpec { id, priority, action })]);
        prop_assert_eq!(decode::<BridgeRequest>(&encode(&request).unwrap()).unwrap(), request);
    }
}

#[test]
fn a_key_in_a_message_is_never_shown() {
    let request = BridgeRequest::Batch(vec![XfrmChange::StateAdd(Box::new(state()))]);
    let shown = format!("{request:?}");
    assert!(!shown.contains("a5") && !shown.contains("165"), "{shown}");
}

#[test]
fn a_reply_too_long_for_a_datagram_is_refused_by_its_length() {
    let reply = EngineReply::Failed { sentence: "x".repeat(MAX_REPLY_OCTETS) };
    let error = encode(&reply).unwrap_err();
    assert!(
        matches!(error, Error::MessageTooLong { octets, limit: MAX_REPLY_OCTETS } if octets > limit_of())
    );
}

const fn limit_of() -> usize {
    MAX_REPLY_OCTETS
}

#[test]
fn a_message_of_another_kind_or_version_or_with_a_tail_is_refused() {
    let hello = EngineHello { pid: 1, instance: [2, 3], version: "0.1.0".into() };
    let datagram = encode(&hello).unwrap();
    assert_eq!(decode::<EngineHello>(&datagram).unwrap(), hello);
    assert!(matches!(decode::<EngineRequest>(&datagram), Err(Error::NotAMessage { .. })));
    let mut other = datagram.to_vec();
    other[4] = 9;
    assert!(matches!(decode::<EngineHello>(&other), Err(Error::NotAMessage { version: 9, .. })));
    let mut long = datagram.to_vec();
    long.push(0);
    assert!(matches!(decode::<EngineHello>(&long), Err(Error::NotAMessage { version: VERSION, .. })));
    for length in 0..datagram.len() {
        assert!(decode::<EngineHello>(&datagram[..length]).is_err());
    }
    assert!(matches!(
        decode::<EngineReply>(&vec![0; MAX_REPLY_OCTETS + 1]),
        Err(Error::MessageTooLong { .. })
    ));
}

/// A selector upside down, as a hostile sender could encode it: protocol, then the ports in network order.
#[test]
fn a_range_upside_down_does_not_decode() {
    let datagram = encode(&BridgeRequest::Batch(vec![XfrmChange::PolicyDelete(policy().id)])).unwrap();
    let any = [255, 0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff];
    let at = datagram.windows(any.len()).position(|window| window == any).unwrap();
    let mut hostile = datagram.to_vec();
    // The range 0 to 65535 becomes 65535 to 0.
    hostile[at + 1..at + 5].copy_from_slice(&[0xff, 0xff, 0, 0]);
    assert!(matches!(decode::<BridgeRequest>(&hostile), Err(Error::Decode(_))));
}

proptest! {
    #[test]
    fn any_octets_are_decoded_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..4) {
        let mut datagram = octets;
        let magic = [*b"ESPC", *b"ESPc", *b"ESPS", *b"ESPs"][usize::from(kind)];
        datagram.splice(0..0, magic.into_iter().chain([1, 0, 0, 0]));
        match kind {
            0 => _ = decode::<BridgeRequest>(&datagram).map(drop),
            1 => _ = decode::<BridgeReply>(&datagram).map(drop),
            2 => _ = decode::<EngineRequest>(&datagram).map(drop),
            _ => _ = decode::<EngineReply>(&datagram).map(drop),
        }
    }
}
