//! The far ends of the tunnels: seals inner packets into frames with genuine ICVs and numbers that advance.

use std::net::Ipv4Addr;

use anyhow::{Context as _, bail};
use crypto::{Crypto, Engine, Key};
use esp::aead::{Aad, Aead as _, ICV_OCTETS, Job, KeySchedule as _, MAX_BURST};

use super::field::Field;
use super::records::{FIRST_SEQ, Records};
use crate::Result;
use crate::floor::text_octets;
use crate::peers::{OWN, Peers};
use crate::traffic::{self, ETHERNET_OCTETS, HEADERS_OCTETS, Random, checksum};

/// The Ethernet address of the gateway on all its ports.
pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// The Ethernet address of everybody else.
pub const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

const IP_OCTETS: usize = 20;
/// ESP header and IV.
const ESP_OCTETS: usize = 16;
const FRONT_OCTETS: usize = ETHERNET_OCTETS + IP_OCTETS + ESP_OCTETS;

/// See the module's text.
pub struct Sealer {
    engine: Engine,
    senders: Vec<Sender>,
    peers: Peers,
    /// The peer of each packet; from the last it goes on with the first.
    order: Vec<u32>,
    /// Where payloads are cut from.
    noise: Vec<u8>,
    shape: Shape,
}

struct Sender {
    key: Key,
    salt: [u8; 4],
    spi: u32,
    seq: u64,
}

/// What only depends on the length of the packets.
#[derive(Default)]
struct Shape {
    inner_octets: u16,
    /// Ethernet and IP header, by peer.
    outer: Vec<[u8; ETHERNET_OCTETS + IP_OCTETS]>,
    /// IP and UDP header, by position in `order`.
    inner: Vec<Vec<u8>>,
}

impl Sealer {
    /// Makes the senders of inbound SAs, with keys expanded by `crypto`.
    ///
    /// # Errors
    /// Those of the AEAD.
    pub fn new(crypto: &Crypto, records: &Records) -> Result<Self> {
        let mut senders = Vec::with_capacity(records.secrets().len());
        for (peer, secret) in (0..).zip(records.secrets()) {
            let key = crypto.expand(secret.algorithm(), secret.key())?;
            senders.push(Sender { key, salt: secret.salt, spi: Records::spi(peer)?.0, seq: FIRST_SEQ });
        }
        let mut random = Random(1);
        let noise = (0..NOISE_OCTETS / 8).flat_map(|_| random.next_u64().to_be_bytes()).collect();
        let peers = records.peers();
        let (order, shape) = (traffic::order(peers), Shape::default());
        Ok(Self { engine: crypto.engine()?, senders, peers, order, noise, shape })
    }

    /// Takes another length of inner packets.
    ///
    /// # Errors
    /// Too short for headers and the number of the packet, or too long.
    pub fn set_octets(&mut self, inner_octets: u16) -> Result<()> {
        traffic::check(inner_octets)?;
        if inner_octets < HEADERS_OCTETS + 8 {
            bail!("{inner_octets} octets: an inbound packet has {} at least", HEADERS_OCTETS + 8);
        }
        let (peers, total) = (self.peers, self.frame_octets(inner_octets) - ETHERNET_OCTETS);
        let outer = (0..peers.count).map(|peer| front(peers.outer(peer), total)).collect::<Result<_>>()?;
        let inner = (0..).zip(&self.order);
        let inner = inner.map(|(n, peer)| traffic::inbound_headers(n, *peer, peers, inner_octets)).collect();
        self.shape = Shape { inner_octets, outer, inner };
        Ok(())
    }

    fn frame_octets(&self, inner_octets: u16) -> usize {
        FRONT_OCTETS + text_octets(inner_octets) + ICV_OCTETS
    }

    /// Fills a field with `frames` frames that were never sent before.
    ///
    /// # Errors
    /// No length was set.
    pub fn fill(&mut self, field: &mut Field, frames: usize) -> Result<()> {
        field.shape(frames, self.frame_octets(self.shape.inner_octets));
        let Self { engine, senders, order, noise, shape, .. } = self;
        let mut frames = field.frames_mut().enumerate();
        loop {
            let mut jobs: Vec<Job<'_, Key>> = Vec::with_capacity(MAX_BURST);
            let mut due = Vec::with_capacity(MAX_BURST);
            for (at, frame) in frames.by_ref().take(MAX_BURST) {
                let turn = at % order.len();
                let peer = *order.get(turn).context("an order")? as usize;
                let sender = senders.get_mut(peer).context("a sender")?;
                sender.seq += 1;
                due.push((frame, peer, turn, at, sender.seq));
            }
            for (frame, peer, turn, at, seq) in due {
                let sender = senders.get(peer).context("a sender")?;
                jobs.push(shape.build(frame, sender, seq, (peer, turn, at), noise)?);
            }
            if jobs.is_empty() {
                return Ok(());
            }
            engine.seal(&mut jobs);
        }
    }

    /// Returns the inner packet at a position of the field, as it was before it was sealed.
    ///
    /// # Errors
    /// No length was set.
    pub fn inner(&self, at: usize) -> Result<Vec<u8>> {
        let mut packet = vec![0; usize::from(self.shape.inner_octets)];
        self.shape.inner(&mut packet, at % self.order.len(), at, &self.noise)?;
        Ok(packet)
    }
}

impl Shape {
    /// Writes everything but the ICV; nothing is encrypted yet.
    fn build<'a>(
        &self,
        frame: &'a mut [u8],
        sender: &'a Sender,
        seq: u64,
        (peer, turn, at): (usize, usize, usize),
        noise: &[u8],
    ) -> Result<Job<'a, Key>> {
        let (front, rest) = frame.split_at_mut_checked(FRONT_OCTETS).context("a frame")?;
        let (outer, esp) = front.split_at_mut_checked(ETHERNET_OCTETS + IP_OCTETS).context("a frame")?;
        outer.copy_from_slice(self.outer.get(peer).context("a header")?);
        let [.., a, b, c, d] = seq.to_be_bytes();
        esp.copy_from_slice(&[&sender.spi.to_be_bytes()[..], &[a, b, c, d], &seq.to_be_bytes()].concat());
        let (text, icv) = rest.split_last_chunk_mut::<ICV_OCTETS>().context("a frame")?;
        let inner_octets = usize::from(self.inner_octets);
        self.inner(text.get_mut(..inner_octets).context("a frame")?, turn, at, noise)?;
        // RFC 4303 section 2.4: 1, 2, 3, …, then their number, then IPv4.
        let trailer = text.get_mut(inner_octets..).context("a frame")?;
        let padding = trailer.len() - 2;
        for (octet, value) in trailer.iter_mut().zip(1..) {
            *octet = value;
        }
        trailer[padding..].copy_from_slice(&[u8::try_from(padding)?, IPV4_IN_ESP]);
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&sender.salt);
        nonce[4..].copy_from_slice(&seq.to_be_bytes());
        let mut aad = [0; 12];
        aad[..4].copy_from_slice(&sender.spi.to_be_bytes());
        aad[4..].copy_from_slice(&seq.to_be_bytes());
        Ok(Job::new(&sender.key, nonce, Aad::Esn(aad), text, icv))
    }

    fn inner(&self, packet: &mut [u8], turn: usize, at: usize, noise: &[u8]) -> Result<()> {
        let (headers, payload) =
            packet.split_at_mut_checked(usize::from(HEADERS_OCTETS)).context("no length")?;
        headers.copy_from_slice(self.inner.get(turn).context("a header")?);
        let from = at * 8 % (noise.len() - payload.len());
        payload.copy_from_slice(noise.get(from..from + payload.len()).context("noise")?);
        payload[..8].copy_from_slice(&(at as u64).to_be_bytes());
        Ok(())
    }
}

/// Returns Ethernet and outer IPv4 header of what comes from `src`. RFC: 791.
fn front(src: Ipv4Addr, total_octets: usize) -> Result<[u8; ETHERNET_OCTETS + IP_OCTETS]> {
    let mut ip =
        [&[0x45, 0][..], &u16::try_from(total_octets)?.to_be_bytes(), &[0, 0, 0, 0, 64, 50, 0, 0]].concat();
    ip.extend([src.octets(), OWN.octets()].concat());
    let sum = checksum(&ip).to_be_bytes();
    ip[10..12].copy_from_slice(&sum);
    let frame = [&OWN_MAC[..], &FAR_MAC, &[8, 0], &ip].concat();
    frame.try_into().ok().context("a header")
}

const NOISE_OCTETS: usize = 1 << 16;
/// Next header of an inner IPv4 packet. RFC: 4303 section 2.6.
const IPV4_IN_ESP: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Direction;
    use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
    use aes_gcm::{Aes128Gcm, Nonce};
    use crypto::Choice;

    /// Opens a frame as RFC 4106 says, by nothing of ours: text and 64-bit number.
    fn opened(frame: &[u8], records: &Records, peer: usize, seq: u64) -> Vec<u8> {
        let secret = &records.secrets()[peer];
        let [spi, iv] = [&frame[34..38], &frame[42..50]];
        assert_eq!((&frame[38..42], iv), (&seq.to_be_bytes()[4..], &seq.to_be_bytes()[..]));
        let nonce: [u8; 12] = [&secret.salt[..], iv].concat().try_into().unwrap();
        let aad = [spi, &seq.to_be_bytes()].concat();
        let cipher = Aes128Gcm::new_from_slice(secret.key()).unwrap();
        cipher.decrypt(&Nonce::from(nonce), Payload { msg: &frame[50..], aad: &aad }).unwrap()
    }

    #[test]
    fn frames_are_opened_by_an_independent_gcm_and_numbers_advance_by_sa() {
        let crypto = Crypto::new(Choice::Auto).unwrap();
        let records = Records::new(Peers { count: 3 }, Direction::Inbound, 7);
        let mut sealer = Sealer::new(&crypto, &records).unwrap();
        let mut field = Field::default();
        for octets in [64, 65, 512, 1400] {
            sealer.set_octets(octets).unwrap();
            let before: Vec<u64> = sealer.senders.iter().map(|sender| sender.seq).collect();
            sealer.fill(&mut field, 150).unwrap();
            for at in 0..150 {
                let (peer, turn) = (at % 3, u64::try_from(at / 3).unwrap());
                let text = opened(field.frame(at), &records, peer, before[peer] + 1 + turn);
                let inner = sealer.inner(at).unwrap();
                assert_eq!(inner.len(), usize::from(octets));
                assert_eq!(text[..inner.len()], inner);
                let trailer = &text[inner.len()..];
                let padding = trailer.len() - 2;
                assert!(
                    text.len().is_multiple_of(4)
                        && trailer[..padding].iter().copied().eq(1..=trailer[padding])
                );
                assert_eq!((usize::from(trailer[padding]), trailer[padding + 1]), (padding, 4));
            }
        }
    }

    #[test]
    fn outer_headers_have_their_length_their_sender_and_a_checksum() {
        let header = front([198, 18, 1, 2].into(), 120).unwrap();
        let ip = &header[ETHERNET_OCTETS..];
        assert_eq!((&ip[2..4], ip[9], &ip[12..16]), (&[0, 120][..], 50, &[198, 18, 1, 2][..]));
        assert_eq!(checksum(ip), 0);
    }
}
