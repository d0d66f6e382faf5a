//! The packets that provoke: of odd content, changed on their way, sealed by hand.

use esp::aead::{Aad, Aead, Algorithm, Job, KeySchedule};
use esp::wire::Proto;
use shm_protocol::sa::Direction;

use crate::gateway::{MAC, clear, sa};
use crate::{A_HOST, A_WAN, B_HOST, B_WAN, ETHERNET};

/// A frame with an IP packet.
pub(crate) fn packet(proto: Proto, src: [u8; 4], dst: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let header = esp::wire::ipv4::Repr {
        src: src.into(),
        dst: dst.into(),
        proto,
        tos: 0,
        ttl: 64,
        ident: 1,
        dont_fragment: false,
        total_octets: u16::try_from(20 + payload.len()).unwrap(),
    };
    [&clear(src, dst)[..ETHERNET], &header.emit(), payload].concat()
}

/// A UDP datagram between the ports that IKE and ESP share.
pub(crate) fn nat_t(payload: &[u8]) -> Vec<u8> {
    let octets = u16::try_from(8 + payload.len()).unwrap();
    [&[0x11, 0x94, 0x11, 0x94][..], &octets.to_be_bytes(), &[0, 0], payload].concat()
}

/// An ARP request for the gateway's address on the LAN.
pub(crate) fn arp() -> Vec<u8> {
    let request = esp::wire::arp::Arp::request(esp::wire::eth::Mac(MAC), A_HOST.into(), [10, 1, 0, 1].into());
    [&[0xff; 6][..], &MAC, &[8, 6], &request.emit()].concat()
}

pub(crate) fn altered(mut frame: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    frame[at] = value;
    frame
}

/// Changes an octet of the IPv4 header and makes its checksum right again.
pub(crate) fn patched(frame: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    let mut frame = altered(frame, ETHERNET + at, value);
    let header = &mut frame[ETHERNET..ETHERNET + 20];
    header[10..12].fill(0);
    let words = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// An IP packet to B's LAN.
pub(crate) fn inner(src: [u8; 4]) -> Vec<u8> {
    clear(src, B_HOST)[ETHERNET..].to_vec()
}

/// The first packet of the SA with whatever content, genuine by its ICV.
pub(crate) fn resealed(payload: &[u8], pad: &[u8], next: u8) -> Vec<u8> {
    let crypto = crypto::Crypto::new(crypto::Choice::RustCrypto).unwrap();
    let key = crypto.expand(Algorithm::Aes128Gcm16, &[0x5a; 16]).unwrap();
    let spi = sa(Direction::In, 1).spi.0.to_be_bytes();
    let mut text = [payload, pad, &[u8::try_from(pad.len()).unwrap(), next]].concat();
    let mut icv = [0; 16];
    let aad: [u8; 12] = [&spi[..], &1u64.to_be_bytes()].concat().try_into().unwrap();
    let nonce: [u8; 12] = [&[1, 2, 3, 4][..], &1u64.to_be_bytes()].concat().try_into().unwrap();
    let job = Job::new(&key, nonce, Aad::Esn(aad), &mut text, &mut icv);
    crypto.engine().unwrap().seal(&mut [job]);
    let esp = [&spi[..], &1u32.to_be_bytes(), &1u64.to_be_bytes(), &text, &icv].concat();
    packet(Proto::ESP, A_WAN, B_WAN, &esp)
}
