//! A foreign IPsec peer: seals and opens ESP straight after RFC 4303 and 4106 with `aes-gcm` alone.

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AesGcm, Nonce};

use crate::wire::{ESP, Packet, UDP};

/// One direction's keys as the peer has them.
#[derive(Clone)]
pub(crate) struct PeerSa {
    pub(crate) spi: u32,
    pub(crate) key: Vec<u8>,
    pub(crate) salt: [u8; 4],
    pub(crate) esn: bool,
    pub(crate) src: String,
    pub(crate) dst: String,
    /// UDP ports, where it is encapsulated.
    pub(crate) ports: Option<(u16, u16)>,
}

impl PeerSa {
    fn aad(&self, seq: u64) -> Vec<u8> {
        let mut aad = self.spi.to_be_bytes().to_vec();
        if self.esn {
            aad.extend(seq.to_be_bytes());
        } else {
            aad.extend(&seq.to_be_bytes()[4..]);
        }
        aad
    }

    fn gcm(&self, iv: &[u8], text: Payload<'_, '_>, seal: bool) -> Option<Vec<u8>> {
        let nonce = [&self.salt[..], iv].concat();
        let nonce = Nonce::<U12>::try_from(&nonce[..]).unwrap();
        macro_rules! with {
            ($cipher:ty) => {{
                let cipher = <$cipher>::new_from_slice(&self.key).unwrap();
                if seal { cipher.encrypt(&nonce, text) } else { cipher.decrypt(&nonce, text) }
            }};
        }
        match self.key.len() {
            16 => with!(AesGcm<Aes128, U12>),
            24 => with!(AesGcm<Aes192, U12>),
            _ => with!(AesGcm<Aes256, U12>),
        }
        .ok()
    }

    /// Seals `inner` with number `seq`.
    pub(crate) fn seal(&self, seq: u64, inner: &Packet) -> Packet {
        let next = if inner.src.is_ipv4() { 4 } else { 41 };
        let mut text = inner.emit();
        let pad = (4 - (text.len() + 2) % 4) % 4;
        text.extend((1..).take(pad));
        text.extend([u8::try_from(pad).unwrap(), next]);
        self.seal_text(seq, &text)
    }

    /// Seals any text, trailer included.
    pub(crate) fn seal_text(&self, seq: u64, text: &[u8]) -> Packet {
        // A peer may make its IVs as it likes, as long as none repeats.
        let iv = (seq ^ 0x5eed_0000_0000_0000).to_be_bytes();
        let aad = self.aad(seq);
        let sealed = self.gcm(&iv, Payload { msg: text, aad: &aad }, true).unwrap();
        let mut esp = self.spi.to_be_bytes().to_vec();
        esp.extend(&seq.to_be_bytes()[4..]);
        esp.extend(iv);
        esp.extend(sealed);
        match self.ports {
            None => Packet::new(&self.src, &self.dst, ESP, esp),
            Some((sport, dport)) => {
                let mut packet = Packet::udp(&self.src, &self.dst, sport, dport, &esp);
                if packet.src.is_ipv4() {
                    packet.payload[6..8].fill(0);
                }
                packet
            }
        }
    }

    /// Opens what the gateway sent, checking every octet that is not the cipher's.
    pub(crate) fn open(&self, seq_hi: u32, outer: &Packet) -> (u64, Packet) {
        assert_eq!((outer.src.to_string(), outer.dst.to_string()), (self.src.clone(), self.dst.clone()));
        let esp = match self.ports {
            None => {
                assert_eq!(outer.proto, ESP);
                &outer.payload[..]
            }
            Some((sport, dport)) => {
                assert_eq!(outer.proto, UDP);
                assert_eq!(outer.payload[..4], [sport.to_be_bytes(), dport.to_be_bytes()].concat());
                assert_eq!(outer.payload[4..6], u16::try_from(outer.payload.len()).unwrap().to_be_bytes());
                if outer.src.is_ipv4() {
                    assert_eq!(outer.payload[6..8], [0, 0], "RFC 3948 section 2.1");
                } else {
                    let again = Packet::udp(&self.src, &self.dst, sport, dport, outer.text());
                    assert_eq!(outer.payload[6..8], again.payload[6..8], "RFC 8200 section 8.1");
                }
                outer.text()
            }
        };
        assert_eq!(esp[..4], self.spi.to_be_bytes());
        let seq = u64::from(seq_hi) << 32 | u64::from(u32::from_be_bytes(esp[4..8].try_into().unwrap()));
        let aad = self.aad(seq);
        let text = self.gcm(&esp[8..16], Payload { msg: &esp[16..], aad: &aad }, false).expect("the ICV");
        assert_eq!((text.len()) % 4, 0);
        let [rest @ .., pad, next] = &text[..] else { panic!("no trailer") };
        let (inner, padding) = rest.split_at(rest.len() - usize::from(*pad));
        assert!(padding.iter().zip(1_u8..).all(|(octet, value)| *octet == value), "padding 1, 2, 3");
        assert_eq!(*next, if inner[0] >> 4 == 4 { 4 } else { 41 });
        (seq, Packet::read(inner))
    }
}
