//! Published AES-GCM vectors for ESP, through every method, alone and as one burst.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod support;

use esp::aead::{Aad, Algorithm};
use support::{Packet, Rig, hex};

struct Vector {
    clear: Packet,
    sealed: Packet,
}

fn vectors() -> Vec<Vector> {
    let text = include_str!("esp_gcm_vectors.txt");
    let mut fields = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(|line| {
        let (name, value) = line.split_once('=').unwrap();
        (name.trim(), hex(value))
    });
    let mut vectors = Vec::new();
    while let Some((name, key)) = fields.next() {
        assert_eq!(name, "key");
        let mut field = |wanted: &str| {
            let (name, value) = fields.next().unwrap();
            assert_eq!(name, wanted);
            value
        };
        let nonce = field("nonce").try_into().unwrap();
        let aad = field("aad");
        let aad = match aad.len() {
            8 => Aad::Short(aad.try_into().unwrap()),
            _ => Aad::Esn(aad.try_into().unwrap()),
        };
        let algorithm = Algorithm::aes_gcm_16(key.len()).unwrap();
        let clear = Packet { algorithm, key, nonce, aad, text: field("clear"), icv: [0; 16] };
        let (text, icv) = (field("cipher"), field("icv").try_into().unwrap());
        vectors.push(Vector { sealed: Packet { text, icv, ..clear.clone() }, clear });
    }
    vectors
}

#[test]
fn every_published_vector_seals_to_its_cipher_text_and_opens_again() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 16);
    for mut rig in Rig::all() {
        for Vector { clear, sealed } in &vectors {
            let mut packet = [clear.clone()];
            rig.seal(&mut packet);
            assert_eq!(&packet[0], sealed, "{}", rig.method);
            assert_eq!(rig.open(&mut packet), [true], "{}", rig.method);
            assert_eq!(packet[0].text, clear.text, "{}", rig.method);
        }
    }
}

#[test]
fn the_vectors_hold_in_one_burst_of_mixed_keys_and_algorithms() {
    let vectors = vectors();
    for mut rig in Rig::all() {
        let mut packets: Vec<_> = vectors.iter().map(|vector| vector.clear.clone()).collect();
        rig.seal(&mut packets);
        assert!(
            packets.iter().zip(&vectors).all(|(packet, vector)| *packet == vector.sealed),
            "{}",
            rig.method
        );
        assert_eq!(rig.open(&mut packets), vec![true; vectors.len()], "{}", rig.method);
        assert!(packets.iter().zip(&vectors).all(|(packet, vector)| packet.text == vector.clear.text));
    }
}
