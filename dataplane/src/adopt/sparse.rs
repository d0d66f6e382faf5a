//! Values by slot, where most slots up to the highest are in use: as quick as an array, and never moved as a whole.

/// Values in a piece.
const PIECE: usize = 256;

/// See the module's text.
pub(super) struct Sparse<T>(Vec<Option<Box<[Option<T>]>>>);

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

const fn place(slot: u32) -> (usize, usize) {
    (slot as usize / PIECE, slot as usize % PIECE)
}

impl<T> Sparse<T> {
    /// Returns the value of a slot.
    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        let (piece, at) = place(slot);
        self.0.get(piece)?.as_ref()?.get(at)?.as_ref()
    }

    /// Returns the value of a slot, to be changed.
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (piece, at) = place(slot);
        self.0.get_mut(piece)?.as_mut()?.get_mut(at)?.as_mut()
    }

    /// Puts a value in a slot.
    pub(super) fn insert(&mut self, slot: u32, value: T) {
        let (piece, at) = place(slot);
        if piece >= self.0.len() {
            self.0.resize_with(piece + 1, || None);
        }
        let Some(piece) = self.0.get_mut(piece) else { return };
        let piece = piece.get_or_insert_with(|| (0..PIECE).map(|_| None).collect());
        if let Some(place) = piece.get_mut(at) {
            *place = Some(value);
        }
    }

    /// Takes the value of a slot out; a piece that has nothing left goes too.
    pub(super) fn remove(&mut self, slot: u32) -> Option<T> {
        let (piece, at) = place(slot);
        let piece = self.0.get_mut(piece)?;
        let values = piece.as_mut()?;
        let value = values.get_mut(at)?.take();
        if value.is_some() && values.iter().all(Option::is_none) {
            *piece = None;
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_slot_alone_and_leaves_nothing_behind() {
        let mut sparse = Sparse::default();
        sparse.insert(700, "one");
        sparse.insert(701, "other");
        assert_eq!((sparse.get(700), sparse.get(699), sparse.get(1 << 20)), (Some(&"one"), None, None));
        *sparse.get_mut(701).unwrap() = "another";
        assert_eq!((sparse.remove(700), sparse.remove(700)), (Some("one"), None));
        assert_eq!(sparse.remove(701), Some("another"));
        assert!(sparse.0.iter().all(Option::is_none));
    }
}
