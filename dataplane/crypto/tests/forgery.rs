//! What is not genuine is never verified: ICV, AAD, text, nonce or key changed, in every method.

mod support;

use esp::aead::{Aad, Algorithm};
use support::{Packet, Rig, packet};

/// Seals one packet, changes it, and says whether it still opens.
fn opens_after(rig: &mut Rig, sealed: &Packet, change: impl FnOnce(&mut Packet)) -> bool {
    let mut forged = [sealed.clone()];
    change(&mut forged[0]);
    assert_ne!(&forged[0], sealed, "a change that changes nothing proves nothing");
    rig.open(&mut forged) == [true]
}

fn sealed(rig: &mut Rig, algorithm: Algorithm, esn: bool, text_octets: usize) -> Packet {
    let mut packets = [packet(text_octets + 1, algorithm, esn, text_octets)];
    rig.seal(&mut packets);
    assert_eq!(rig.open(&mut packets.clone()), [true]);
    let [packet] = packets;
    packet
}

#[test]
fn each_flipped_bit_of_the_icv_is_found() {
    for mut rig in Rig::all() {
        for algorithm in Algorithm::ALL {
            let sealed = sealed(&mut rig, algorithm, false, 64);
            for bit in 0..128 {
                assert!(!opens_after(&mut rig, &sealed, |packet| packet.icv[bit / 8] ^= 1 << (bit % 8)));
            }
        }
    }
}

#[test]
fn icvs_that_sloppy_comparisons_accept_are_found() {
    for mut rig in Rig::all() {
        let sealed = sealed(&mut rig, Algorithm::Aes128Gcm16, true, 100);
        let all_but =
            |kept: usize| move |packet: &mut Packet| packet.icv[kept..].iter_mut().for_each(|o| *o ^= 0x80);
        for kept in 0..16 {
            assert!(!opens_after(&mut rig, &sealed, all_but(kept)), "first {kept} octets right");
        }
        assert!(!opens_after(&mut rig, &sealed, |packet| packet.icv = [0; 16]));
        assert!(!opens_after(&mut rig, &sealed, |packet| packet.icv = [0xff; 16]));
        assert!(!opens_after(&mut rig, &sealed, |packet| packet
            .icv
            .iter_mut()
            .for_each(|octet| *octet = !*octet)));
        assert!(!opens_after(&mut rig, &sealed, |packet| packet.icv.reverse()));
        // The two halves XOR to what they did before.
        assert!(!opens_after(&mut rig, &sealed, |packet| {
            packet.icv[0] ^= 0x55;
            packet.icv[8] ^= 0x55;
        }));
        // Octets keep their sum.
        assert!(!opens_after(&mut rig, &sealed, |packet| packet.icv.rotate_left(8)));
    }
}

#[test]
fn each_changed_octet_of_text_aad_and_nonce_is_found() {
    for mut rig in Rig::all() {
        for (algorithm, esn) in Algorithm::ALL.into_iter().flat_map(|a| [(a, false), (a, true)]) {
            let sealed = sealed(&mut rig, algorithm, esn, 300);
            for octet in 0..sealed.text.len() {
                assert!(!opens_after(&mut rig, &sealed, |packet| packet.text[octet] ^= 1));
            }
            for octet in 0..sealed.nonce.len() {
                assert!(!opens_after(&mut rig, &sealed, |packet| packet.nonce[octet] ^= 0x10));
            }
            for octet in 0..sealed.aad.as_slice().len() {
                assert!(!opens_after(&mut rig, &sealed, |packet| match &mut packet.aad {
                    Aad::Short(octets) => octets[octet] ^= 1,
                    Aad::Esn(octets) => octets[octet] ^= 1,
                }));
            }
        }
    }
}

#[test]
fn a_lengthened_or_shortened_packet_is_found() {
    for mut rig in Rig::all() {
        let sealed = sealed(&mut rig, Algorithm::Aes256Gcm16, false, 80);
        assert!(!opens_after(&mut rig, &sealed, |packet| packet.text.push(0)));
        assert!(!opens_after(&mut rig, &sealed, |packet| packet.text.truncate(79)));
        assert!(!opens_after(&mut rig, &sealed, |packet| packet.text.truncate(64)));
        assert!(!opens_after(&mut rig, &sealed, |packet| packet.text.clear()));
    }
}

#[test]
fn the_aad_of_the_other_length_is_found() {
    for mut rig in Rig::all() {
        let esn = sealed(&mut rig, Algorithm::Aes128Gcm16, true, 40);
        let Aad::Esn(octets) = esn.aad else { panic!("asked for ESN") };
        let short = Aad::Short(octets[..8].try_into().unwrap());
        assert!(!opens_after(&mut rig, &esn, |packet| packet.aad = short));
    }
}

#[test]
fn a_packet_of_another_key_is_found() {
    for mut rig in Rig::all() {
        for algorithm in Algorithm::ALL {
            let sealed = sealed(&mut rig, algorithm, false, 200);
            assert!(!opens_after(&mut rig, &sealed, |packet| packet.key[0] ^= 1));
            let last = algorithm.key_octets() - 1;
            assert!(!opens_after(&mut rig, &sealed, |packet| packet.key[last] ^= 0x80));
        }
    }
}

#[test]
fn a_forged_packet_in_a_burst_spoils_no_other() {
    for mut rig in Rig::all() {
        for forged in 0..64 {
            let genuine: Vec<_> =
                (0..64).map(|n| packet(n, Algorithm::ALL[n % 3], n % 2 == 0, 20 * n)).collect();
            let mut packets = genuine.clone();
            rig.seal(&mut packets);
            packets[forged].icv[15] ^= 1;
            let verified = rig.open(&mut packets);
            for (n, ((verified, packet), genuine)) in verified.iter().zip(&packets).zip(&genuine).enumerate()
            {
                assert_eq!(*verified, n != forged, "{} packet {n}, forged {forged}", rig.method);
                assert!(n == forged || packet.text == genuine.text);
            }
        }
    }
}

#[test]
fn each_flipped_bit_is_found_and_spoils_no_other_packet_of_the_burst() {
    for mut rig in Rig::all() {
        for (text_octets, esn) in [(29, true), (44, false), (68, true), (100, false), (300, true)] {
            let genuine: Vec<_> =
                (0..3).map(|n| packet(n, Algorithm::Aes128Gcm16, esn, text_octets)).collect();
            let mut sealed = genuine.clone();
            rig.seal(&mut sealed);
            let aad_octets = sealed[0].aad.as_slice().len();
            for bit in 0..8 * (text_octets + 16 + 12 + aad_octets) {
                let (mut at, flip) = (bit / 8, 1 << (bit % 8));
                let mut packets = sealed.clone();
                let forged = bit % 3;
                let Packet { text, icv, nonce, aad, .. } = &mut packets[forged];
                let parts: [&mut [u8]; 4] = [
                    text,
                    icv,
                    nonce,
                    match aad {
                        Aad::Short(octets) => octets,
                        Aad::Esn(octets) => octets,
                    },
                ];
                for part in parts {
                    if let Some(octet) = part.get_mut(at) {
                        *octet ^= flip;
                        break;
                    }
                    at -= part.len();
                }
                let verified = rig.open(&mut packets);
                for n in 0..3 {
                    assert_eq!(verified[n], n != forged, "{} {text_octets} bit {bit}", rig.method);
                    assert!(n == forged || packets[n].text == genuine[n].text);
                }
            }
        }
    }
}
