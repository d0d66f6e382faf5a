//! What the tests share: packets with guards round them, and an engine of each method to run them through.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]
#![allow(dead_code, reason = "every test file uses its own part")]

use crypto::{Crypto, Engine, Key, Method};
use esp::aead::{Aad, Aead, Algorithm, ICV_OCTETS, Job, KeySchedule};

const GUARD: [u8; 64] = [0xc7; 64];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) algorithm: Algorithm,
    pub(crate) key: Vec<u8>,
    pub(crate) nonce: [u8; 12],
    pub(crate) aad: Aad,
    pub(crate) text: Vec<u8>,
    pub(crate) icv: [u8; ICV_OCTETS],
}

/// One method, ready to run.
pub(crate) struct Rig {
    pub(crate) method: Method,
    crypto: Crypto,
    engine: Engine,
}

impl Rig {
    pub(crate) fn new(method: Method) -> Self {
        let crypto = Crypto::with_method(method).unwrap();
        let engine = crypto.engine().unwrap();
        Self { method, crypto, engine }
    }

    /// A rig for every method of this build.
    pub(crate) fn all() -> Vec<Self> {
        Method::built().map(Self::new).collect()
    }

    pub(crate) fn key(&self, packet: &Packet) -> Key {
        self.crypto.expand(packet.algorithm, &packet.key).unwrap()
    }

    pub(crate) fn seal(&mut self, packets: &mut [Packet]) {
        let keys: Vec<_> = packets.iter().map(|packet| self.key(packet)).collect();
        run(packets, &keys, |jobs| self.engine.seal(jobs));
    }

    /// Opens the packets and says which were verified.
    pub(crate) fn open(&mut self, packets: &mut [Packet]) -> Vec<bool> {
        let keys: Vec<_> = packets.iter().map(|packet| self.key(packet)).collect();
        run(packets, &keys, |jobs| {
            // What the caller leaves in `verified` must not matter.
            jobs.iter_mut().for_each(|job| job.verified = true);
            self.engine.open(jobs);
        })
    }
}

/// Runs packets with keys of any origin, each inside guard octets that must survive.
pub(crate) fn run(
    packets: &mut [Packet],
    keys: &[Key],
    engine: impl FnOnce(&mut [Job<'_, Key>]),
) -> Vec<bool> {
    let frame = |packet: &Packet| [&GUARD, packet.text.as_slice(), &packet.icv, &GUARD].concat();
    let mut frames: Vec<_> = packets.iter().map(frame).collect();
    let mut jobs = Vec::new();
    for ((packet, key), frame) in packets.iter().zip(keys).zip(&mut frames) {
        let inner = GUARD.len()..frame.len() - GUARD.len();
        let (text, icv) = frame[inner].split_last_chunk_mut().unwrap();
        jobs.push(Job::new(key, packet.nonce, packet.aad, text, icv));
    }
    engine(&mut jobs);
    let verified = jobs.iter().map(|job| job.verified).collect();
    for (packet, frame) in packets.iter_mut().zip(&frames) {
        let (before, rest) = frame.split_first_chunk().unwrap();
        let (rest, after) = rest.split_last_chunk().unwrap();
        assert!(*before == GUARD && *after == GUARD, "octets round a packet of {}", packet.text.len());
        let (text, icv) = rest.split_last_chunk().unwrap();
        packet.text = text.to_vec();
        packet.icv = *icv;
    }
    verified
}

pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let digit = |c: char| u8::try_from(c.to_digit(16).unwrap()).unwrap();
    let nibbles: Vec<u8> = digits.chars().filter(|c| !c.is_whitespace()).map(digit).collect();
    nibbles.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Octets that differ from place to place and from seed to seed.
pub(crate) fn pattern(seed: usize, octets: usize) -> Vec<u8> {
    let mut state = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..octets).map(|_| next()).collect()
}

/// A packet whose every part follows from the seed.
pub(crate) fn packet(seed: usize, algorithm: Algorithm, esn: bool, text_octets: usize) -> Packet {
    let octets = pattern(seed, 24);
    let aad = if esn {
        Aad::Esn(octets[12..].try_into().unwrap())
    } else {
        Aad::Short(octets[12..20].try_into().unwrap())
    };
    Packet {
        algorithm,
        key: pattern(seed ^ 0x5eed, algorithm.key_octets()),
        nonce: octets[..12].try_into().unwrap(),
        aad,
        text: pattern(seed + 1, text_octets),
        icv: [0; ICV_OCTETS],
    }
}
