//! Backend: RustCrypto's `aes-gcm`. Portable, and the oracle that the others are tested against.

use aes_gcm::aead::KeyInit;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::cipher::consts::U12;
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AeadInOut, AesGcm};
use esp::aead::{Algorithm, ICV_OCTETS, KeyError, NONCE_OCTETS};
use zeroize::Zeroize;

/// Round keys and the hash key.
pub(crate) enum Schedule {
    /// For 128-bit keys.
    Aes128(AesGcm<Aes128, U12>),
    /// For 192-bit keys.
    Aes192(AesGcm<Aes192, U12>),
    /// For 256-bit keys.
    Aes256(AesGcm<Aes256, U12>),
}

impl Schedule {
    /// Expands a cipher key. Errors: `Length`.
    pub(crate) fn expand(algorithm: Algorithm, key: &[u8]) -> Result<Self, KeyError> {
        let length = |_| KeyError::Length { algorithm, octets: key.len() };
        Ok(match algorithm {
            Algorithm::Aes128Gcm16 => Self::Aes128(AesGcm::new_from_slice(key).map_err(length)?),
            Algorithm::Aes192Gcm16 => Self::Aes192(AesGcm::new_from_slice(key).map_err(length)?),
            Algorithm::Aes256Gcm16 => Self::Aes256(AesGcm::new_from_slice(key).map_err(length)?),
        })
    }

    /// Seals one packet in place.
    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE_OCTETS],
        aad: &[u8],
        text: &mut [u8],
        icv: &mut [u8; ICV_OCTETS],
    ) {
        let buffer = InOutBuf::from(&mut *text);
        let sealed = match self {
            Self::Aes128(cipher) => cipher.encrypt_inout_detached(nonce.into(), aad, buffer),
            Self::Aes192(cipher) => cipher.encrypt_inout_detached(nonce.into(), aad, buffer),
            Self::Aes256(cipher) => cipher.encrypt_inout_detached(nonce.into(), aad, buffer),
        };
        match sealed {
            Ok(tag) => *icv = tag.into(),
            // Only a text of 2^36 octets gets here; nothing of it may leave in clear.
            Err(_) => text.zeroize(),
        }
    }

    /// Opens one packet in place and returns whether its ICV is genuine.
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE_OCTETS],
        aad: &[u8],
        text: &mut [u8],
        icv: &[u8; ICV_OCTETS],
    ) -> bool {
        let buffer = InOutBuf::from(text);
        match self {
            Self::Aes128(cipher) => cipher.decrypt_inout_detached(nonce.into(), aad, buffer, icv.into()),
            Self::Aes192(cipher) => cipher.decrypt_inout_detached(nonce.into(), aad, buffer, icv.into()),
            Self::Aes256(cipher) => cipher.decrypt_inout_detached(nonce.into(), aad, buffer, icv.into()),
        }
        .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcm_cases;

    #[test]
    fn the_cases_of_the_gcm_specification_hold() {
        for case in gcm_cases::cases() {
            let schedule = Schedule::expand(case.algorithm, &case.key).unwrap();
            let (mut text, mut icv) = (case.clear.clone(), [0; ICV_OCTETS]);
            schedule.seal(&case.nonce, &case.aad, &mut text, &mut icv);
            assert_eq!((&text, icv), (&case.cipher, case.icv), "{}", case.algorithm);
            assert!(schedule.open(&case.nonce, &case.aad, &mut text, &icv));
            assert_eq!(text, case.clear);
            icv[0] ^= 1;
            assert!(!schedule.open(&case.nonce, &case.aad, &mut text, &icv));
        }
    }
}
