//! What ipsec-secgw seals, frame by frame: each must be the ESP packet that its peer's SA makes of the packet that was put in.

use std::collections::VecDeque;

use anyhow::{Context as _, bail, ensure};
use crypto::{Crypto, Engine, Key, Method};
use esp::aead::{Aad, Aead as _, Algorithm, ICV_OCTETS, Job, KeySchedule as _, SALT_OCTETS};

use crate::Result;
use crate::floor::text_octets;
use crate::peers::OWN;
use crate::toml::Keys;
use crate::traffic::{ETHERNET_OCTETS, checksum, outbound};

/// The SAs, and the packets that were put in, once.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) algorithm: Algorithm,
    /// The peer of each packet.
    pub(crate) order: &'a [u32],
    /// Units: octets of the inner IP packet.
    pub(crate) inner_octets: u16,
}

/// One SA, with the packets that it has yet to send.
struct Association {
    key: Key,
    salt: [u8; SALT_OCTETS],
    seq: u32,
    /// Numbers of packets.
    due: VecDeque<u32>,
}

impl Expected<'_> {
    /// Opens every frame of a capture. Errors: the first that is not what it should be; one is missing, or there are more.
    pub(crate) fn check(&self, capture: &[u8]) -> Result<()> {
        let crypto = Crypto::with_method(Method::RustCrypto)?;
        let (mut engine, mut all) = (crypto.engine()?, self.associations(&crypto)?);
        let frames = frames(capture)?;
        ensure!(frames.len() == self.order.len(), "{} frames of {} packets", frames.len(), self.order.len());
        for (number, frame) in frames.into_iter().enumerate() {
            self.open(&mut engine, &mut all, &mut frame.to_vec())
                .with_context(|| format!("frame {number} of what ipsec-secgw has sent"))?;
        }
        Ok(())
    }

    fn associations(&self, crypto: &Crypto) -> Result<Vec<Association>> {
        let mut all = Vec::new();
        for hex in &self.keys.hex {
            let octets = octets(hex).context("a key")?;
            let (key, salt) = octets.split_last_chunk().context("a salt")?;
            let key = crypto.expand(self.algorithm, key)?;
            all.push(Association { key, salt: *salt, seq: 0, due: VecDeque::new() });
        }
        for (number, peer) in (0..).zip(self.order) {
            all.get_mut(*peer as usize).context("a peer without a key")?.due.push_back(number);
        }
        Ok(all)
    }

    /// Holds one frame against the next packet of the SA that its SPI names.
    fn open(&self, engine: &mut Engine, all: &mut [Association], frame: &mut [u8]) -> Result<()> {
        let text = text_octets(self.inner_octets);
        let wanted = HEADERS_OCTETS + text + ICV_OCTETS;
        ensure!(frame.len() == wanted, "{} octets, not {wanted}", frame.len());
        let (headers, sealed) = frame.split_at_mut(HEADERS_OCTETS);
        let (ethernet, outer) = headers.split_at(ETHERNET_OCTETS);
        let (outer, esp) = outer.split_at(IPV4_OCTETS);
        ensure!(
            ethernet[..6] == [2, 0, 0, 0, 0, 2] && ethernet[12..] == [8, 0],
            "not to the neighbor by IPv4"
        );
        ensure!(outer[0] == 0x45 && outer[9] == ESP, "protocol {}, not ESP", outer[9]);
        ensure!(
            usize::from(u16::from_be_bytes([outer[2], outer[3]])) == wanted - ETHERNET_OCTETS,
            "outer length"
        );
        ensure!(checksum(outer) == 0, "outer checksum");
        let spi = u32::from_be_bytes(array(&esp[..4]));
        let peers = self.keys.peers;
        let peer =
            (0..peers.count).find(|peer| peers.spi(*peer) == spi).with_context(|| format!("SPI {spi:#x}"))?;
        let ends = [OWN.octets(), peers.outer(peer).octets()].concat();
        ensure!(outer[12..] == ends, "outer addresses of SPI {spi:#x}");
        let of = all.get_mut(peer as usize).context("no SA")?;
        of.seq += 1;
        ensure!(esp[4..8] == of.seq.to_be_bytes(), "number {:02x?}, not {}", &esp[4..8], of.seq);
        // The upper half of the number is authenticated and not sent. RFC: 4106 section 5.
        let aad = Aad::Esn(array(&[&esp[..4], &[0; 4], &esp[4..8]].concat()));
        let nonce = array(&[&of.salt[..], &esp[8..]].concat());
        let (sealed, icv) = sealed.split_last_chunk_mut().context("no ICV")?;
        let mut jobs = [Job::new(&of.key, nonce, aad, sealed, icv)];
        engine.open(&mut jobs);
        ensure!(jobs[0].verified, "the ICV does not fit the SA's key and a number of 64 bits");
        let number = of.due.pop_front().context("one packet more than was put in")?;
        same(sealed, outbound(number, peer, peers, self.inner_octets))
    }
}

/// Compares a text with the packet that was put in, padding and next header. librte_ipsec leaves the inner time to live as it is.
fn same(text: &[u8], mut packet: Vec<u8>) -> Result<()> {
    let pads = u8::try_from(text.len() - packet.len() - 2)?;
    packet.extend((1..=pads).chain([pads, IPIP]));
    ensure!(text == packet, "the inner packet is another one than was put in");
    Ok(())
}

/// Returns the frames of a pcap file.
fn frames(capture: &[u8]) -> Result<Vec<&[u8]>> {
    let (magic, _) = capture.split_first_chunk::<4>().context("an empty capture")?;
    // Microseconds, or nanoseconds.
    if !matches!(u32::from_le_bytes(*magic), 0xa1b2_c3d4 | 0xa1b2_3c4d) {
        bail!("not a pcap file");
    }
    let (mut rest, mut frames) = (capture.get(24..).context("a cut capture")?, Vec::new());
    while !rest.is_empty() {
        let (head, after) = rest.split_at_checked(16).context("a cut record")?;
        let octets = u32::from_le_bytes(array(&head[8..12])) as usize;
        let (frame, after) = after.split_at_checked(octets).context("a cut frame")?;
        frames.push(frame);
        rest = after;
    }
    Ok(frames)
}

fn octets(hex: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    hex.as_bytes().chunks(2).map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

/// Copies a slice whose length is known.
fn array<const N: usize>(octets: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(octets);
    array
}

const IPV4_OCTETS: usize = 20;
/// Ethernet, outer IPv4, SPI and number, IV.
const HEADERS_OCTETS: usize = ETHERNET_OCTETS + IPV4_OCTETS + 8 + 8;
const ESP: u8 = 50;
/// Next header of a tunnelled IPv4 packet.
const IPIP: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Peers;
    use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
    use aes_gcm::{Aes128Gcm, Nonce};

    const INNER_OCTETS: u16 = 65;
    const ORDER: [u32; 5] = [0, 1, 0, 2, 0];

    fn keys() -> Keys {
        Keys::random(Peers { count: 3 }, Algorithm::Aes128Gcm16).unwrap()
    }

    fn check(keys: &Keys, frames: &[Vec<u8>]) -> Result<()> {
        let mut capture = 0xa1b2_3c4d_u32.to_le_bytes().to_vec();
        capture.resize(24, 0);
        for frame in frames {
            let octets = u32::try_from(frame.len()).unwrap().to_le_bytes();
            capture.extend([&[0; 8][..], &octets, &octets, frame].concat());
        }
        let expected =
            Expected { keys, algorithm: Algorithm::Aes128Gcm16, order: &ORDER, inner_octets: INNER_OCTETS };
        expected.check(&capture)
    }

    /// What a gateway sends, sealed by nothing of ours; `upper` is the half of the number that is authenticated only.
    fn sent(keys: &Keys, upper: &[u8]) -> Vec<Vec<u8>> {
        let mut seqs = [0_u32; 3];
        let seal = |(number, peer): (u32, &u32)| {
            let at = *peer as usize;
            seqs[at] += 1;
            let (spi, seq) = (keys.peers.spi(*peer).to_be_bytes(), seqs[at].to_be_bytes());
            let iv = [[0; 4], seq].concat();
            let secret = octets(&keys.hex[at]).unwrap();
            let (key, salt) = secret.split_at(16);
            let text = [outbound(number, *peer, keys.peers, INNER_OCTETS), vec![1, 1, IPIP]].concat();
            let nonce: [u8; 12] = array(&[salt, &iv].concat());
            let aad = [&spi, upper, &seq].concat();
            let cipher = Aes128Gcm::new_from_slice(key).unwrap();
            let sealed = cipher.encrypt(&Nonce::from(nonce), Payload { msg: &text, aad: &aad }).unwrap();
            let length = u8::try_from(IPV4_OCTETS + 16 + sealed.len()).unwrap();
            let mut outer = vec![0x45, 0, 0, length, 0, 0, 0, 0, 64, ESP, 0, 0];
            outer.extend([OWN.octets(), keys.peers.outer(*peer).octets()].concat());
            let sum = checksum(&outer).to_be_bytes();
            outer[10..12].copy_from_slice(&sum);
            [&[2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 8, 0][..], &outer, &spi, &seq, &iv, &sealed].concat()
        };
        (0..).zip(&ORDER).map(seal).collect()
    }

    #[test]
    fn what_another_gcm_seals_by_rfc_4106_is_accepted() {
        let keys = keys();
        check(&keys, &sent(&keys, &[0; 4])).unwrap();
    }

    #[test]
    fn an_octet_changed_anywhere_but_in_a_source_address_is_found() {
        let keys = keys();
        let frames = sent(&keys, &[0; 4]);
        for at in (0..frames[3].len()).filter(|at| !(6..12).contains(at)) {
            let mut frames = frames.clone();
            frames[3][at] ^= 1;
            assert!(check(&keys, &frames).is_err(), "octet {at}");
        }
    }

    #[test]
    fn numbers_of_32_bits_other_keys_and_packets_in_clear_are_refused() {
        let keys = keys();
        let why = |frames: &[Vec<u8>]| format!("{:#}", check(&keys, frames).unwrap_err());
        assert!(
            why(&sent(&keys, &[])).contains("frame 0 of what ipsec-secgw has sent: the ICV does not fit")
        );
        assert!(why(&sent(&self::keys(), &[0; 4])).contains("the ICV does not fit"));
        let mut clear = sent(&keys, &[0; 4]);
        clear[1].truncate(ETHERNET_OCTETS + usize::from(INNER_OCTETS));
        assert!(
            why(&clear).contains("frame 1 of what ipsec-secgw has sent: 79 octets, not 134"),
            "{}",
            why(&clear)
        );
    }

    #[test]
    fn a_missing_frame_and_one_sent_twice_are_refused() {
        let keys = keys();
        let frames = sent(&keys, &[0; 4]);
        let missing = check(&keys, &frames[..4]).unwrap_err().to_string();
        assert_eq!(missing, "4 frames of 5 packets");
        let mut twice = frames.clone();
        twice[2] = frames[0].clone();
        assert!(check(&keys, &twice).is_err());
    }

    #[test]
    fn a_capture_that_is_cut_is_refused() {
        assert!(frames(&[]).is_err() && frames(&[0; 24]).is_err());
        let mut capture = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
        capture.resize(24 + 16, 0);
        assert_eq!(frames(&capture).unwrap(), [&[0_u8; 0]]);
        capture[24 + 8] = 1;
        assert!(frames(&capture).unwrap_err().to_string().contains("cut frame"));
    }
}
