//! The ESP header and trailer of transforms with an 8-octet IV. RFC: 4303 section 2, 4106 section 3.

use core::ops::Range;

use crate::aead::ICV_OCTETS;
use crate::{DropReason, Spi};

/// Length of SPI and sequence number. Units: octets.
pub const HEADER_OCTETS: usize = 8;
/// Length of the IV. Units: octets. RFC: 4106 section 3.1.
pub const IV_OCTETS: usize = 8;
/// Length of pad length and next header. Units: octets.
pub const TRAILER_OCTETS: usize = 2;
/// Pad length and next header end on a multiple of this. Units: octets. RFC: 4303 section 2.4.
pub const ALIGN_OCTETS: usize = 4;
/// Length of the shortest ESP packet. Units: octets, SPI through ICV.
pub const MIN_OCTETS: usize = HEADER_OCTETS + IV_OCTETS + ALIGN_OCTETS + ICV_OCTETS;

/// An ESP packet long enough to be one.
#[derive(Clone, Copy, Debug)]
pub struct Esp<'a> {
    octets: &'a [u8],
    spi: Spi,
    seq_lo: u32,
    iv: [u8; IV_OCTETS],
}

impl<'a> Esp<'a> {
    /// Checks a packet from its SPI on. Errors: `MalformedEsp`.
    #[inline]
    pub fn parse(octets: &'a [u8]) -> Result<Self, DropReason> {
        if octets.len() < MIN_OCTETS {
            return Err(DropReason::MalformedEsp);
        }
        let (spi, rest) = octets.split_first_chunk().ok_or(DropReason::MalformedEsp)?;
        let (seq_lo, rest) = rest.split_first_chunk().ok_or(DropReason::MalformedEsp)?;
        let iv = rest.first_chunk().ok_or(DropReason::MalformedEsp)?;
        Ok(Self { octets, spi: Spi(u32::from_be_bytes(*spi)), seq_lo: u32::from_be_bytes(*seq_lo), iv: *iv })
    }

    /// Returns the SPI.
    #[must_use]
    #[inline]
    pub const fn spi(&self) -> Spi {
        self.spi
    }

    /// Returns the low half of the sequence number.
    #[must_use]
    #[inline]
    pub const fn seq_lo(&self) -> u32 {
        self.seq_lo
    }

    /// Returns the IV.
    #[must_use]
    #[inline]
    pub const fn iv(&self) -> [u8; IV_OCTETS] {
        self.iv
    }

    /// Returns where the cipher text stands, counted from the SPI; the ICV follows it.
    #[must_use]
    #[inline]
    pub const fn text(&self) -> Range<usize> {
        HEADER_OCTETS + IV_OCTETS..self.octets.len() - ICV_OCTETS
    }
}

/// Returns SPI, low half of the sequence number, and the IV, which is the whole number. Byte order: network.
#[must_use]
#[inline]
pub fn header(spi: Spi, seq: u64) -> [u8; HEADER_OCTETS + IV_OCTETS] {
    let [a, b, c, d] = spi.get().to_be_bytes();
    let iv @ [_, _, _, _, e, f, g, h] = seq.to_be_bytes();
    let [i, j, k, l, m, n, o, p] = iv;
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_carries_spi_low_half_and_the_whole_number_as_iv() {
        let mut octets = [0u8; MIN_OCTETS];
        octets[..16].copy_from_slice(&header(Spi(0xc001_cafe), 0x0102_0304_0506_0708));
        let esp = Esp::parse(&octets).unwrap();
        assert_eq!((esp.spi(), esp.seq_lo()), (Spi(0xc001_cafe), 0x0506_0708));
        assert_eq!(esp.iv(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(esp.text(), 16..20);
    }

    #[test]
    fn less_than_header_iv_trailer_and_icv_is_malformed() {
        assert_eq!(Esp::parse(&[0; MIN_OCTETS - 1]).unwrap_err(), DropReason::MalformedEsp);
    }

    proptest! {
        #[test]
        fn the_text_of_any_packet_leaves_room_for_the_icv(octets in prop::collection::vec(any::<u8>(), 0..96)) {
            if let Ok(esp) = Esp::parse(&octets) {
                prop_assert!(octets.get(esp.text()).is_some_and(|text| text.len() >= ALIGN_OCTETS));
                prop_assert_eq!(esp.text().end + ICV_OCTETS, octets.len());
            }
        }
    }
}
