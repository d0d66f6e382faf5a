//! Values by slot, in the slots' order: found like those of an array, in memory for those there are.

use std::ops::RangeFrom;

/// Values of one piece.
const PIECE: usize = 256;

type Piece<T> = Box<[Option<T>]>;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Shelf<T> {
    pieces: Vec<Option<Piece<T>>>,
    len: usize,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { pieces: Vec::new(), len: 0 }
    }
}

const fn place(slot: u32) -> (usize, usize) {
    (slot as usize / PIECE, slot as usize % PIECE)
}

impl<T> Shelf<T> {
    /// Returns the value of a slot.
    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        let (piece, at) = place(slot);
        self.pieces.get(piece)?.as_ref()?.get(at)?.as_ref()
    }

    /// Returns the value of a slot, to be changed.
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (piece, at) = place(slot);
        self.pieces.get_mut(piece)?.as_mut()?.get_mut(at)?.as_mut()
    }

    /// Puts a value in a slot and returns the one before it.
    pub(crate) fn insert(&mut self, slot: u32, value: T) -> Option<T> {
        let (piece, at) = place(slot);
        if piece >= self.pieces.len() {
            self.pieces.resize_with(piece + 1, || None);
        }
        let piece = self.pieces.get_mut(piece)?;
        let piece = piece.get_or_insert_with(|| (0..PIECE).map(|_| None).collect());
        let before = piece.get_mut(at)?.replace(value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Takes the value of a slot out; a piece that has nothing left goes too.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let (piece, at) = place(slot);
        let piece = self.pieces.get_mut(piece)?;
        let values = piece.as_mut()?;
        let value = values.get_mut(at)?.take()?;
        if values.iter().all(Option::is_none) {
            *piece = None;
        }
        self.len -= 1;
        Some(value)
    }

    /// Returns the values of the slots of a range.
    pub(crate) fn range(&self, slots: RangeFrom<u32>) -> impl Iterator<Item = &T> {
        let (first, at) = place(slots.start);
        let pieces = self.pieces.iter().enumerate().skip(first);
        let values = pieces.filter_map(|(number, piece)| Some((number, piece.as_deref()?)));
        values.flat_map(move |(number, values)| {
            values.iter().skip(if number == first { at } else { 0 }).flatten()
        })
    }

    /// Returns all values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.range(0..)
    }

    /// Returns how many values there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_in_the_order_of_their_slots_from_any_slot_on() {
        let mut shelf = Shelf::default();
        for slot in [700, 3, 256, 255, 100_000] {
            assert_eq!(shelf.insert(slot, slot), None);
        }
        let from = |slot| shelf.range(slot..).copied().collect::<Vec<u32>>();
        assert_eq!(from(0), [3, 255, 256, 700, 100_000]);
        assert_eq!((from(4), from(256)), (vec![255, 256, 700, 100_000], vec![256, 700, 100_000]));
        assert_eq!((from(701), from(1 << 20)), (vec![100_000], vec![]));
    }

    #[test]
    fn what_is_taken_out_leaves_no_memory_behind() {
        let mut shelf = Shelf::default();
        assert_eq!((shelf.insert(700, "one"), shelf.insert(700, "other")), (None, Some("one")));
        assert_eq!((shelf.len(), shelf.get(700), shelf.get(701)), (1, Some(&"other"), None));
        *shelf.get_mut(700).unwrap() = "another";
        assert_eq!((shelf.remove(700), shelf.remove(700), shelf.len()), (Some("another"), None, 0));
        assert!(shelf.pieces.iter().all(Option::is_none));
    }
}
