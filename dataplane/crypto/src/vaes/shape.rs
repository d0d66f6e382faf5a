//! How a packet's blocks lie in 512-bit registers of four blocks each, quads.
//!
//! GHASH takes the AAD, the text and the lengths, a block each for the first and the last. They lie right-aligned: the
//! lengths are the last block of the last quad, so that every last quad is multiplied by the same powers of the hash
//! key. AES takes a counter block at the place of each block of text, and J0, whose cipher text covers the ICV, at the
//! place of the lengths.

/// Octets of a block.
pub(super) const BLOCK: usize = 16;
/// Octets of a quad.
pub(super) const QUAD: usize = 64;

/// Where the text of one packet lies in its quads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// How many quads there are.
    pub(super) quads: usize,
    /// What of the first quad comes before the text. Units: octets, 16 to 64.
    pub(super) lead: usize,
    /// The octets of the first quad that are text, one bit each, if there is another quad.
    pub(super) first: u64,
    /// The octets of the last quad that are text, one bit each, if there is another quad.
    pub(super) last: u64,
    /// `last` after the octets of each block were reversed.
    pub(super) last_reversed: u64,
}

impl Shape {
    #[inline]
    pub(super) const fn of(text_octets: usize) -> Self {
        let blocks = text_octets.div_ceil(BLOCK);
        let quads = (blocks + 2).div_ceil(4);
        let lead = QUAD * quads - BLOCK * (blocks + 1);
        let padding = BLOCK * blocks - text_octets;
        // One block more than the padding: that of the lengths.
        let last = u64::MAX >> (BLOCK + padding);
        let last_reversed = u64::MAX >> BLOCK ^ ((1 << padding) - 1) << (2 * BLOCK);
        // Twice half the distance: a shift by 64 at once is none.
        let first = u64::MAX << (lead / 2) << (lead / 2);
        Self { quads, lead, first, last, last_reversed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_masks_cover_each_octet_of_the_text_once() {
        for text_octets in 33..=4096 {
            let shape = Shape::of(text_octets);
            let between = QUAD * shape.quads.saturating_sub(2);
            let covered = shape.first.count_ones() as usize + between + shape.last.count_ones() as usize;
            assert_eq!(covered, text_octets);
            assert_eq!(shape.lead + text_octets.next_multiple_of(BLOCK) + BLOCK, QUAD * shape.quads);
            assert!((BLOCK..=QUAD).contains(&shape.lead));
        }
    }

    #[test]
    fn the_reversed_mask_is_the_mask_with_each_block_reversed() {
        for text_octets in 0..=100 {
            let Shape { last, last_reversed, .. } = Shape::of(text_octets);
            for octet in 0..QUAD {
                let mirrored = octet / BLOCK * BLOCK + BLOCK - 1 - octet % BLOCK;
                assert_eq!(last >> octet & 1, last_reversed >> mirrored & 1, "{text_octets}");
            }
        }
    }
}
