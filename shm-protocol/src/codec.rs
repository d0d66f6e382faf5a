//! The only place that knows how espctl's messages become octets: a prefix and bincode.
//!
//! A datagram starts with {magic u32, version u16, 0 u16}, little endian, so that a socket which serves
//! several kinds of client tells them apart by the first word.

use std::ops::Deref;

use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroize;

use crate::error::Error;

/// Version of the messages in [`crate::messages::control`].
pub const VERSION: u16 = 2;
/// Longest reply. Units: octets.
pub const MAX_REPLY_OCTETS: usize = 16 * 1024;
/// Longest request: a batch of 256 changes fits. Units: octets.
pub const MAX_REQUEST_OCTETS: usize = 128 * 1024;
/// Length of the prefix. Units: octets.
pub const PREFIX_OCTETS: usize = 8;

/// Why a message does not decode.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DecodeError(#[from] bincode::error::DecodeError);

/// A kind of message: its first word and its longest form.
pub trait Message: Serialize + DeserializeOwned {
    /// First word of the datagram.
    const MAGIC: u32;
    /// Longest datagram. Units: octets.
    const MAX_OCTETS: usize;
}

/// Returns the first word of a datagram, which says whose message it is.
pub fn magic_of(datagram: &[u8]) -> Option<u32> {
    datagram.first_chunk().map(|word| u32::from_le_bytes(*word))
}

/// An encoded message; wiped when dropped, for it may hold keys.
pub struct Datagram(Vec<u8>);

impl Deref for Datagram {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Datagram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Datagram({} octets)", self.0.len())
    }
}

impl Drop for Datagram {
    fn drop(&mut self) {
        // As far as it was ever written, which the vector's own wiping does not know: it never shrinks.
        self.0.as_mut_slice().zeroize();
    }
}

/// Encodes a message. Errors: `MessageTooLong`.
pub fn encode<M: Message>(message: &M) -> Result<Datagram, Error> {
    // Room for the longest, so that no copy of a key is left behind by a reallocation.
    let mut out = Datagram(Vec::with_capacity(M::MAX_OCTETS));
    out.0.extend_from_slice(&M::MAGIC.to_le_bytes());
    out.0.extend_from_slice(&VERSION.to_le_bytes());
    out.0.extend_from_slice(&[0, 0]);
    let mut sink = Sink { out: &mut out.0, limit: M::MAX_OCTETS, wanted: PREFIX_OCTETS };
    let encoded = bincode::serde::encode_into_writer(message, &mut sink, config());
    let wanted = sink.wanted;
    match encoded {
        Ok(()) => Ok(out),
        Err(_) => Err(Error::MessageTooLong { octets: wanted, limit: M::MAX_OCTETS }),
    }
}

/// Encodes a message that is to be kept for a while, in no more memory than it needs. Errors: `MessageTooLong`.
pub fn encode_to_keep<M: Message>(message: &M) -> Result<Datagram, Error> {
    encode(message).map(|datagram| Datagram(datagram.to_vec()))
}

/// Decodes a message. Errors: `NotAMessage`, `MessageTooLong`, `Decode`.
pub fn decode<M: Message>(datagram: &[u8]) -> Result<M, Error> {
    let octets = datagram.len();
    if octets > M::MAX_OCTETS {
        return Err(Error::MessageTooLong { octets, limit: M::MAX_OCTETS });
    }
    let Some((prefix, body)) = datagram.split_first_chunk::<PREFIX_OCTETS>() else {
        return Err(Error::NotAMessage { octets, magic: magic_of(datagram).unwrap_or(0), version: 0 });
    };
    let [m0, m1, m2, m3, v0, v1, _, _] = *prefix;
    let (magic, version) = (u32::from_le_bytes([m0, m1, m2, m3]), u16::from_le_bytes([v0, v1]));
    if magic != M::MAGIC || version != VERSION {
        return Err(Error::NotAMessage { octets, magic, version });
    }
    let (message, used) = bincode::serde::decode_from_slice(body, config()).map_err(DecodeError::from)?;
    if used != body.len() {
        return Err(Error::NotAMessage { octets, magic, version });
    }
    Ok(message)
}

/// The limit bounds what a hostile length may make the decoder allocate.
const fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_REQUEST_OCTETS>()
}

/// Writes into a buffer that never grows.
struct Sink<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
    wanted: usize,
}

impl Writer for Sink<'_> {
    #[inline]
    fn write(&mut self, octets: &[u8]) -> Result<(), EncodeError> {
        self.wanted += octets.len();
        if self.wanted > self.limit {
            return Err(EncodeError::Other("longer than the longest message"));
        }
        self.out.extend_from_slice(octets);
        Ok(())
    }
}
