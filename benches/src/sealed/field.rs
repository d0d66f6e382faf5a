//! A compact area with as many frames as are measured at a time, all of one length.

/// Frames of a full field.
pub const FRAMES: usize = 262_144;

/// See the module's text.
#[derive(Debug, Default)]
pub struct Field {
    area: Vec<u8>,
    frame_octets: usize,
    stride_octets: usize,
}

impl Field {
    /// Makes room for `frames` frames of that length; what was in it has no meaning any more.
    pub fn shape(&mut self, frames: usize, frame_octets: usize) {
        // Each begins a cache line, as in a packet buffer.
        self.stride_octets = frame_octets.max(1).next_multiple_of(64);
        self.frame_octets = frame_octets;
        self.area.resize(frames * self.stride_octets, 0);
    }

    /// Returns how many frames there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.area.len().checked_div(self.stride_octets).unwrap_or(0)
    }

    /// Whether there is no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.area.is_empty()
    }

    /// Returns a frame; an empty one behind the last.
    #[must_use]
    #[inline]
    pub fn frame(&self, at: usize) -> &[u8] {
        let start = at * self.stride_octets;
        self.area.get(start..start + self.frame_octets).unwrap_or_default()
    }

    /// Returns a frame for writing; `None` behind the last.
    #[must_use]
    pub fn frame_mut(&mut self, at: usize) -> Option<&mut [u8]> {
        let start = at * self.stride_octets;
        self.area.get_mut(start..start + self.frame_octets)
    }

    /// Returns the frames for writing, in order.
    pub fn frames_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let octets = self.frame_octets;
        self.area.chunks_exact_mut(self.stride_octets.max(1)).filter_map(move |place| place.get_mut(..octets))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_lie_apart_and_have_the_length_asked_for() {
        let mut field = Field::default();
        field.shape(3, 100);
        for (n, frame) in (0_u8..).zip(field.frames_mut()) {
            frame.fill(n + 1);
        }
        assert_eq!(field.len(), 3);
        assert!((0..3).all(|at| field.frame(at) == [u8::try_from(at).unwrap() + 1; 100]));
        assert!(field.frame(3).is_empty());
        field.shape(2, 50);
        assert_eq!((field.len(), field.frame(1).len()), (2, 50));
    }
}
