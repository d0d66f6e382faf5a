//! Key material in memory: never shown, never compared in variable time, wiped when dropped.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zerocopy::IntoBytes;
use zeroize::Zeroize;

/// Longest key, with its salt where a message joins them.
/// Units: octets.
pub const MAX_KEY_OCTETS: usize = 64;

/// A cipher key of up to 64 octets; `Debug` shows its length only, dropping it wipes it.
#[derive(Clone)]
pub struct SecretKey {
    /// The octets as words: wiping, which no compiler may shorten, takes a store for each.
    words: [u64; MAX_KEY_OCTETS / 8],
    octets: usize,
}

impl SecretKey {
    /// Copies `octets`; `None` when there are more than [`MAX_KEY_OCTETS`].
    pub fn new(octets: &[u8]) -> Option<Self> {
        let mut key = Self { words: [0; MAX_KEY_OCTETS / 8], octets: octets.len() };
        key.words.as_mut_bytes().get_mut(..octets.len())?.copy_from_slice(octets);
        Some(key)
    }

    /// Returns the octets; whoever reads them must not keep them.
    pub fn expose(&self) -> &[u8] {
        self.words.as_bytes().get(..self.octets).unwrap_or_default()
    }

    /// Returns the length. Units: octets.
    pub const fn len(&self) -> usize {
        self.octets
    }

    /// Tells whether there is no key.
    pub const fn is_empty(&self) -> bool {
        self.octets == 0
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.words.zeroize();
    }
}

impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.words.iter().zip(&other.words).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl Eq for SecretKey {}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey({} octets)", self.len())
    }
}

impl Serialize for SecretKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.expose())
    }
}

impl<'de> Deserialize<'de> for SecretKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Octets;
        impl serde::de::Visitor<'_> for Octets {
            type Value = SecretKey;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_KEY_OCTETS} octets")
            }
            fn visit_bytes<E: serde::de::Error>(self, v: &[u8]) -> Result<SecretKey, E> {
                SecretKey::new(v).ok_or_else(|| E::invalid_length(v.len(), &self))
            }
            fn visit_byte_buf<E: serde::de::Error>(self, mut v: Vec<u8>) -> Result<SecretKey, E> {
                let key = self.visit_bytes(&v);
                v.zeroize();
                key
            }
        }
        deserializer.deserialize_bytes(Octets)
    }
}

/// The 4-octet salt in front of the IV in a GCM nonce. RFC: 4106 section 4.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt([u8; 4]);

impl Salt {
    /// Wraps the octets.
    pub const fn new(octets: [u8; 4]) -> Self {
        Self(octets)
    }

    /// Returns the octets.
    pub const fn expose(&self) -> [u8; 4] {
        self.0
    }
}

impl Drop for Salt {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let key = SecretKey::new(&[0xa5; 16]).unwrap();
        let salt = Salt::new([0xa5; 4]);
        let shown = format!("{key:?} {salt:?}");
        assert!(!shown.contains("a5") && !shown.contains("165"), "{shown}");
    }

    #[test]
    fn a_key_longer_than_its_field_is_refused() {
        assert!(SecretKey::new(&[0; 65]).is_none());
    }
}
