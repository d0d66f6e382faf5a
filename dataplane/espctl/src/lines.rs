//! The lines of a batch file, read a piece at a time: 100 000 SAs are a hundred million octets of text.
//!
//! Lines may hold keys, so every buffer is wiped when it goes.

use std::io::{self, BufRead as _, Read};
use std::ops::Range;

use zeroize::Zeroizing;

/// See the module's text.
pub(crate) struct Lines<R> {
    from: R,
    buffer: Zeroizing<Vec<u8>>,
    /// What is read and not taken yet.
    unread: Range<usize>,
    /// Lines taken.
    number: usize,
    /// A line that went on behind a backslash.
    joined: Zeroizing<Vec<u8>>,
}

impl<R: Read> Lines<R> {
    /// Reads lines from `from`, which should not have a buffer of its own.
    pub(crate) fn new(from: R) -> Self {
        let buffer = Zeroizing::new(vec![0; BUFFER_OCTETS]);
        Self { from, buffer, unread: 0..0, number: 0, joined: Zeroizing::default() }
    }

    /// Returns the next line with its number, from 1; one that ends in a backslash with the lines it goes on in.
    ///
    /// Errors: it cannot be read, or is not UTF-8.
    pub(crate) fn next(&mut self) -> io::Result<Option<(usize, &str)>> {
        let Some(mut line) = self.physical()? else { return Ok(None) };
        let number = self.number;
        if self.octets(&line).last() != Some(&b'\\') {
            return Ok(Some((number, text(self.octets(&line))?)));
        }
        let mut joined = Zeroizing::new(Vec::new());
        while let Some((b'\\', part)) = self.octets(&line).split_last() {
            append(&mut joined, part);
            line = self.physical()?.unwrap_or_default();
        }
        append(&mut joined, self.octets(&line));
        self.joined = joined;
        Ok(Some((number, text(&self.joined)?)))
    }

    fn octets(&self, line: &Range<usize>) -> &[u8] {
        self.buffer.get(line.clone()).unwrap_or_default()
    }

    /// Returns where the next line stands in the buffer, without its end.
    fn physical(&mut self) -> io::Result<Option<Range<usize>>> {
        let mut searched = 0;
        loop {
            let unread = self.octets(&self.unread);
            let mut rest = unread.get(searched..).unwrap_or_default();
            let octets = searched + rest.skip_until(b'\n')?;
            let is_whole = octets > searched && unread.get(octets - 1) == Some(&b'\n');
            if !is_whole && self.fill()? {
                searched = octets;
                continue;
            }
            if octets == 0 {
                return Ok(None);
            }
            let start = self.unread.start;
            self.unread.start += octets;
            self.number += 1;
            let mut line = start..start + octets - usize::from(is_whole);
            if is_whole && self.octets(&line).last() == Some(&b'\r') {
                line.end -= 1;
            }
            return Ok(Some(line));
        }
    }

    /// Reads more, and makes room for it first; false at the end of the file.
    fn fill(&mut self) -> io::Result<bool> {
        if self.unread.end == self.buffer.len() {
            let left = self.unread.len();
            if self.unread.start > 0 {
                self.buffer.copy_within(self.unread.clone(), 0);
            } else {
                // A vector that grew by itself would leave a copy behind.
                let mut larger = Zeroizing::new(vec![0; self.buffer.len() * 2]);
                larger.iter_mut().zip(self.buffer.iter()).for_each(|(to, from)| *to = *from);
                self.buffer = larger;
            }
            self.unread = 0..left;
        }
        loop {
            match self.from.read(self.buffer.get_mut(self.unread.end..).unwrap_or_default()) {
                Ok(octets) => {
                    self.unread.end += octets;
                    return Ok(octets > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn text(line: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(line)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a line that is not valid UTF-8"))
}

/// Appends to a vector that may hold a key, in another place if it has to grow.
fn append(to: &mut Zeroizing<Vec<u8>>, more: &[u8]) {
    let mut longer = Zeroizing::new(Vec::with_capacity(to.len() + more.len()));
    longer.extend_from_slice(to);
    longer.extend_from_slice(more);
    *to = longer;
}

/// More than standard input keeps by itself, so that it hands lines through without a copy. Units: octets.
const BUFFER_OCTETS: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few octets at a time.
    struct Slowly<'a>(&'a [u8]);

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let octets = self.0.len().min(buffer.len()).min(3);
            let (some, rest) = self.0.split_at(octets);
            self.0 = rest;
            io::Read::read(&mut &*some, buffer)
        }
    }

    fn all(from: impl Read) -> Vec<(usize, String)> {
        let (mut lines, mut all) = (Lines::new(from), Vec::new());
        while let Some((number, line)) = lines.next().unwrap() {
            all.push((number, line.to_owned()));
        }
        all
    }

    #[test]
    fn lines_are_those_of_a_text_however_they_arrive() {
        let long = "x".repeat(3 * BUFFER_OCTETS);
        for text in ["", "\n", "a", "a\r\nb\n", "one\n\ntwo\r", &format!("a\n{long}\nb{long}")] {
            let expected: Vec<_> =
                text.lines().enumerate().map(|(at, line)| (at + 1, line.to_owned())).collect();
            assert_eq!(all(text.as_bytes()), expected);
            assert_eq!(all(Slowly(text.as_bytes())), expected);
        }
    }

    #[test]
    fn a_backslash_continues_a_line_and_keeps_its_number() {
        assert_eq!(all(&b"a \\\nb\nc"[..]), [(1, "a b".to_owned()), (3, "c".to_owned())]);
        assert_eq!(all(&b"a\\\n\\\nb\\"[..]), [(1, "ab".to_owned())]);
    }

    #[test]
    fn a_line_that_is_no_text_is_refused() {
        assert_eq!(Lines::new(&b"\xff\n"[..]).next().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
