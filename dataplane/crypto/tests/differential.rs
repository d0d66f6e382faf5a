//! Every other method against RustCrypto: same octets, same verdicts.

mod support;

use crypto::{Crypto, Method};
use esp::aead::{Aead as _, Algorithm, KeySchedule as _};
use proptest::prelude::*;
use support::{Packet, Rig, packet, run};

fn oracle() -> Rig {
    Rig::new(Method::RustCrypto)
}

fn candidates() -> Vec<Rig> {
    Method::built().filter(|method| *method != Method::RustCrypto).map(Rig::new).collect()
}

#[test]
fn every_length_up_to_2048_agrees_with_the_oracle() {
    let mut oracle = oracle();
    let mut candidates = candidates();
    let kinds: Vec<_> = Algorithm::ALL.into_iter().flat_map(|a| [(a, false), (a, true)]).collect();
    for text_octets in 0..=2048 {
        let clear: Vec<_> =
            kinds.iter().map(|(algorithm, esn)| packet(text_octets, *algorithm, *esn, text_octets)).collect();
        let mut expected = clear.clone();
        oracle.seal(&mut expected);
        for rig in &mut candidates {
            let mut packets = clear.clone();
            rig.seal(&mut packets);
            assert!(packets == expected, "{} seals {text_octets} octets", rig.method);
            assert_eq!(rig.open(&mut packets), vec![true; kinds.len()], "{}", rig.method);
            assert!(
                packets.iter().zip(&clear).all(|(a, b)| a.text == b.text),
                "{} opens {text_octets}",
                rig.method
            );
        }
    }
}

#[test]
fn the_longest_packets_agree_with_the_oracle() {
    let mut oracle = oracle();
    for text_octets in [4095, 4096, 8972, 9216, 16383, 65_471, 65_535] {
        let clear = [packet(text_octets, Algorithm::Aes256Gcm16, true, text_octets)];
        let mut expected = clear.clone();
        oracle.seal(&mut expected);
        for mut rig in candidates() {
            let mut packets = clear.clone();
            rig.seal(&mut packets);
            assert!(packets == expected, "{} seals {text_octets} octets", rig.method);
            assert_eq!(rig.open(&mut packets), [true]);
        }
    }
}

#[test]
fn every_burst_size_past_the_bound_agrees_with_the_oracle() {
    let mut oracle = oracle();
    let mut candidates = candidates();
    for pkts in 0..=200 {
        let clear: Vec<_> = (0..pkts).map(|n| packet(n, Algorithm::ALL[n % 3], n % 2 == 1, 7 * n)).collect();
        let mut expected = clear.clone();
        oracle.seal(&mut expected);
        for rig in &mut candidates {
            let mut packets = clear.clone();
            rig.seal(&mut packets);
            assert!(packets == expected, "{} seals {pkts} packets", rig.method);
            assert_eq!(rig.open(&mut packets), vec![true; pkts]);
        }
    }
}

#[test]
fn keys_of_several_backends_share_a_burst_in_every_engine() {
    let cryptos: Vec<_> = Method::built().map(|method| Crypto::with_method(method).unwrap()).collect();
    let clear: Vec<_> = (0..64).map(|n| packet(n, Algorithm::ALL[n % 3], false, 11 * n)).collect();
    let mut expected = clear.clone();
    oracle().seal(&mut expected);
    let expand = |(n, packet): (usize, &Packet)| {
        cryptos[n / 2 % cryptos.len()].expand(packet.algorithm, &packet.key).unwrap()
    };
    let keys: Vec<_> = clear.iter().enumerate().map(expand).collect();
    for crypto in &cryptos {
        let mut engine = crypto.engine().unwrap();
        let mut packets = clear.clone();
        run(&mut packets, &keys, |jobs| engine.seal(jobs));
        assert!(packets == expected, "{}", crypto.method());
        assert_eq!(run(&mut packets, &keys, |jobs| engine.open(jobs)), vec![true; 64], "{}", crypto.method());
        assert!(packets.iter().zip(&clear).all(|(a, b)| a.text == b.text));
    }
}

/// What a test changes in a sealed packet.
#[derive(Clone, Copy, Debug)]
enum Change {
    None,
    Icv(usize),
    Text(usize),
    Nonce(usize),
}

fn change(packet: &mut Packet, change: Change) -> bool {
    let octet = match change {
        Change::None => None,
        Change::Icv(at) => packet.icv.get_mut(at % 16),
        Change::Text(at) => {
            let octets = packet.text.len().max(1);
            packet.text.get_mut(at % octets)
        }
        Change::Nonce(at) => packet.nonce.get_mut(at % 12),
    };
    octet.map(|octet| *octet ^= 0x20).is_none()
}

fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => Just(Change::None),
        1 => (0_usize..16).prop_map(Change::Icv),
        1 => (0_usize..2048).prop_map(Change::Text),
        1 => (0_usize..12).prop_map(Change::Nonce),
    ]
}

fn packets() -> impl Strategy<Value = Vec<(Packet, Change)>> {
    let one = (any::<u16>(), 0_usize..3, any::<bool>(), 0_usize..=2048, changes());
    let one = one.prop_map(|(seed, algorithm, esn, text_octets, change)| {
        (packet(usize::from(seed), Algorithm::ALL[algorithm], esn, text_octets), change)
    });
    prop::collection::vec(one, 1..=64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mixed_bursts_agree_with_the_oracle_and_only_unchanged_packets_open(drawn in packets()) {
        let clear: Vec<_> = drawn.iter().map(|(packet, _)| packet.clone()).collect();
        let mut sealed = clear.clone();
        oracle().seal(&mut sealed);
        let mut changed = sealed.clone();
        let genuine: Vec<_> =
            changed.iter_mut().zip(&drawn).map(|(packet, (_, drawn))| change(packet, *drawn)).collect();
        for mut rig in Rig::all() {
            let mut packets = clear.clone();
            rig.seal(&mut packets);
            prop_assert!(packets == sealed, "{} seals differently", rig.method);
            let mut packets = changed.clone();
            prop_assert_eq!(&rig.open(&mut packets), &genuine, "{}", rig.method);
            for ((packet, clear), genuine) in packets.iter().zip(&clear).zip(&genuine) {
                prop_assert!(!genuine || packet.text == clear.text);
            }
        }
    }
}
