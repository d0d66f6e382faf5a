//! The AEAD as the packet path sees it: a burst of jobs, each with its own key, nonce and AAD, sealed or
//! opened in place.
//!
//! Implementations live in the crate `crypto`; nothing here allocates, and an implementation's `seal` and
//! `open` must not allocate, lock, make a system call or panic either.

use core::fmt;

/// The most jobs a caller hands over in one call; an implementation accepts more and splits them.
pub const MAX_BURST: usize = 64;
/// Length of the integrity check value of every algorithm here. Units: octets. RFC: 4106 section 6.
pub const ICV_OCTETS: usize = 16;
/// Length of a nonce: 4 octets of salt, then the 8-octet IV of the packet.
/// Units: octets. RFC: 4106 section 4.
pub const NONCE_OCTETS: usize = 12;
/// Length of the salt that an SA keeps beside its cipher key. Units: octets. RFC: 4106 section 8.1.
pub const SALT_OCTETS: usize = 4;

/// An AEAD transform with a 16-octet ICV and an 8-octet IV on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// AES-GCM with a 128-bit key. RFC: 4106.
    Aes128Gcm16,
    /// AES-GCM with a 192-bit key. RFC: 4106.
    Aes192Gcm16,
    /// AES-GCM with a 256-bit key. RFC: 4106.
    Aes256Gcm16,
}

impl Algorithm {
    /// Every algorithm, by growing key length.
    pub const ALL: [Self; 3] = [Self::Aes128Gcm16, Self::Aes192Gcm16, Self::Aes256Gcm16];

    /// Returns the AES-GCM-16 transform whose cipher key has this length, if there is one.
    /// Units: octets, without salt.
    #[must_use]
    pub const fn aes_gcm_16(key_octets: usize) -> Option<Self> {
        match key_octets {
            16 => Some(Self::Aes128Gcm16),
            24 => Some(Self::Aes192Gcm16),
            32 => Some(Self::Aes256Gcm16),
            _ => None,
        }
    }

    /// Returns the length of the cipher key. Units: octets, without salt.
    #[must_use]
    pub const fn key_octets(self) -> usize {
        match self {
            Self::Aes128Gcm16 => 16,
            Self::Aes192Gcm16 => 24,
            Self::Aes256Gcm16 => 32,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aes128Gcm16 => "AES-128-GCM-16",
            Self::Aes192Gcm16 => "AES-192-GCM-16",
            Self::Aes256Gcm16 => "AES-256-GCM-16",
        })
    }
}

/// The additional authenticated data of one ESP packet, as it goes into the AEAD.
/// Byte order: network. RFC: 4106 section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aad {
    /// SPI and the 32-bit sequence number.
    Short([u8; 8]),
    /// SPI and the 64-bit extended sequence number.
    Esn([u8; 12]),
}

impl Aad {
    /// Returns the octets that are authenticated.
    #[must_use]
    #[inline]
    pub const fn as_slice(&self) -> &[u8] {
        match self {
            Self::Short(octets) => octets,
            Self::Esn(octets) => octets,
        }
    }
}

/// One packet's share of a burst. `text` and `icv` are adjacent parts of one packet buffer
/// (`split_last_chunk_mut` makes the two).
pub struct Job<'a, K> {
    /// The expanded key of the packet's SA.
    pub key: &'a K,
    /// Salt of the SA, then the IV of the packet.
    pub nonce: [u8; NONCE_OCTETS],
    /// What is authenticated and not encrypted.
    pub aad: Aad,
    /// Clear text before `seal` and after a verified `open`, cipher text otherwise.
    pub text: &'a mut [u8],
    /// Written by `seal`, compared by `open`; `open` may overwrite it.
    pub icv: &'a mut [u8; ICV_OCTETS],
    /// Whether `open` found `icv` genuine. False until then; while it is false `text` is not to be used.
    pub verified: bool,
}

impl<'a, K> Job<'a, K> {
    /// Makes a job that is not verified.
    #[inline]
    pub fn new(
        key: &'a K,
        nonce: [u8; NONCE_OCTETS],
        aad: Aad,
        text: &'a mut [u8],
        icv: &'a mut [u8; ICV_OCTETS],
    ) -> Self {
        Self { key, nonce, aad, text, icv, verified: false }
    }
}

impl<K> fmt::Debug for Job<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut job = f.debug_struct("Job");
        job.field("aad", &self.aad).field("text_octets", &self.text.len()).field("verified", &self.verified);
        job.finish_non_exhaustive()
    }
}

/// A worker's own AEAD. Its state belongs to one thread at a time.
pub trait Aead: Send {
    /// An expanded key, made by a [`KeySchedule`] and shared by all workers.
    type Key: Send + Sync;

    /// Encrypts every `text` in place and writes every `icv`.
    fn seal(&mut self, jobs: &mut [Job<'_, Self::Key>]);

    /// Decrypts every `text` in place and sets `verified` for those, and only those, whose `icv` is genuine.
    /// The text of a job that is not verified has no meaning afterwards: the packet is dropped.
    fn open(&mut self, jobs: &mut [Job<'_, Self::Key>]);
}

/// Expands keys, on the control thread.
pub trait KeySchedule {
    /// The expanded key.
    type Key;

    /// Expands a cipher key (without salt).
    /// Errors: `Length` if `key` is not of the algorithm's length, `Memory` if the system gives none for it.
    fn expand(&self, algorithm: Algorithm, key: &[u8]) -> Result<Self::Key, KeyError>;
}

/// Why a key could not be expanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// The key is not of the algorithm's length.
    Length {
        /// The algorithm asked for.
        algorithm: Algorithm,
        /// The length given. Units: octets.
        octets: usize,
    },
    /// The system gave no memory for expanded keys.
    Memory {
        /// How much was asked for. Units: octets.
        octets: usize,
        /// The system's error number.
        errno: i32,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { algorithm, octets } => {
                write!(
                    f,
                    "a key of {octets} octets does not fit {algorithm} ({} octets)",
                    algorithm.key_octets()
                )
            }
            Self::Memory { octets, errno } => {
                write!(f, "no memory for expanded keys: {octets} octets asked, error number {errno}")
            }
        }
    }
}

impl core::error::Error for KeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_length_names_the_algorithm_and_back() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::aes_gcm_16(algorithm.key_octets()), Some(algorithm));
        }
        for octets in [0, 8, 12, 20, 28, 36] {
            assert_eq!(Algorithm::aes_gcm_16(octets), None);
        }
    }

    #[test]
    fn a_new_job_is_not_verified() {
        let (mut text, mut icv) = ([0; 4], [0; ICV_OCTETS]);
        let job = Job::new(&(), [0; NONCE_OCTETS], Aad::Short([0; 8]), &mut text, &mut icv);
        assert!(!job.verified);
    }

    #[test]
    fn a_job_never_prints_its_key() {
        let secret = String::from("secret");
        let (mut text, mut icv) = ([0; 4], [0; ICV_OCTETS]);
        let job = Job::new(&secret, [0; NONCE_OCTETS], Aad::Short([0; 8]), &mut text, &mut icv);
        assert!(!format!("{job:?}").contains("secret"));
    }
}
