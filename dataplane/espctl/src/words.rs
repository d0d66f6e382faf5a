//! The words of one command line, read left to right; every complaint names the word's position.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::str::FromStr;

use shm_protocol::selector::AddressRange;
use zeroize::Zeroize;

/// One command line as words, with the place of the next one.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    words: &'a [Cow<'a, str>],
    at: usize,
}

/// A word that does not belong where it stands, or is missing there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct Wrong {
    /// The position in the line, from 1.
    pub position: usize,
    /// The word, or `None` where the line ends too early.
    pub word: Option<Box<str>>,
    /// What would have been right.
    pub expected: Box<str>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.word {
            Some(word) => write!(f, "word {} \"{word}\": expected {}", self.position, self.expected),
            None => write!(f, "the line ends before word {}: expected {}", self.position, self.expected),
        }
    }
}

impl<'a> Words<'a> {
    /// Returns the words of a line, none read yet.
    pub fn new(words: &'a [Cow<'a, str>]) -> Self {
        Self { words, at: 0 }
    }

    /// Returns the next word without reading it.
    pub fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).map(Cow::as_ref)
    }

    /// Reads the next word if it is `keyword`.
    pub fn eat(&mut self, keyword: &str) -> bool {
        let hit = self.peek() == Some(keyword);
        self.at += usize::from(hit);
        hit
    }

    /// Reads the next word.
    ///
    /// Errors: the line ends here; `expected` says what is missing.
    pub fn next(&mut self, expected: &str) -> Result<&'a str, Wrong> {
        let word = self.peek().ok_or_else(|| self.wrong_here(expected))?;
        self.at += 1;
        Ok(word)
    }

    /// Reads the next word as a number: decimal, `0x` hexadecimal or `0` octal, as `ip` reads it.
    pub fn number<T: TryFrom<u64>>(&mut self, expected: &str) -> Result<T, Wrong> {
        let word = self.next(expected)?;
        number(word).and_then(|n| T::try_from(n).ok()).ok_or_else(|| self.wrong_before(expected))
    }

    /// Reads the next word as an address.
    pub fn address(&mut self, expected: &str) -> Result<IpAddr, Wrong> {
        let word = self.next(expected)?;
        word.parse().map_err(|_| self.wrong_before(expected))
    }

    /// Reads the next word as an address with an optional prefix length.
    pub fn prefix(&mut self, expected: &str) -> Result<Prefix, Wrong> {
        let word = self.next(expected)?;
        word.parse().map_err(|()| self.wrong_before(expected))
    }

    /// Returns the complaint about the word that stands next.
    pub fn wrong_here(&self, expected: &str) -> Wrong {
        Wrong {
            position: self.at + 1,
            word: self.words.get(self.at).map(|word| clip(word)),
            expected: expected.into(),
        }
    }

    /// Returns the complaint about the word that was read last.
    pub fn wrong_before(&self, expected: &str) -> Wrong {
        let at = self.at.saturating_sub(1);
        Wrong { position: at + 1, word: self.words.get(at).map(|word| clip(word)), expected: expected.into() }
    }

    /// Returns the complaint about the word that was read last, without the word: it may be a key.
    pub fn wrong_before_hidden(&self, expected: &str) -> Wrong {
        Wrong { word: Some("...".into()), ..self.wrong_before(expected) }
    }

    /// Checks that nothing is left.
    ///
    /// Errors: the first word left; `expected` lists what might have followed.
    pub fn end(&self, expected: &str) -> Result<(), Wrong> {
        if self.at < self.words.len() { Err(self.wrong_here(expected)) } else { Ok(()) }
    }
}

/// A word may be key material that slipped into a wrong place: never echo what looks like one.
fn clip(word: &str) -> Box<str> {
    if word.len() > 24 && word.starts_with("0x") { "0x...".into() } else { word.into() }
}

fn number(word: &str) -> Option<u64> {
    let (digits, radix) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => match word.strip_prefix('0') {
            Some(octal) if !octal.is_empty() => (octal, 8),
            _ => (word, 10),
        },
    };
    if digits.starts_with('+') { None } else { u64::from_str_radix(digits, radix).ok() }
}

/// An address with a prefix length that fits its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The address as written.
    pub address: IpAddr,
    /// Every address of the prefix.
    pub range: AddressRange,
}

impl FromStr for Prefix {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        let (address, bits) = match word.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (word, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(longest), |bits| bits.parse().map_err(|_| ()))?;
        let range = AddressRange::prefix(address, bits).ok_or(())?;
        Ok(Self { address, range })
    }
}

/// The words of a line, most of them where they stand in it; those that are not are wiped when dropped, for one may be
/// a key.
#[derive(Debug, Default)]
pub struct Split<'a>(Vec<Cow<'a, str>>);

impl<'a> Deref for Split<'a> {
    type Target = [Cow<'a, str>];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Split<'_> {
    fn drop(&mut self) {
        for word in &mut self.0 {
            if let Cow::Owned(word) = word {
                word.zeroize();
            }
        }
    }
}

/// Splits a line of a batch file into words as `ip -batch` does: blanks separate, quotes hold together,
/// `#` begins a comment.
pub fn split(line: &str) -> Split<'_> {
    let mut words = Vec::with_capacity(USUAL_WORDS);
    let mut rest = line;
    loop {
        let end = rest.as_bytes().iter().position(|octet| is_special(*octet));
        let (word, behind) = rest.split_at(end.unwrap_or(rest.len()));
        if !word.is_empty() {
            words.push(Cow::Borrowed(word));
        }
        match behind.as_bytes().first() {
            None => return Split(words),
            Some(octet) if octet.is_ascii_whitespace() => rest = behind.get(1..).unwrap_or_default(),
            Some(_) => return Split(split_slowly(line).into_iter().map(Cow::Owned).collect()),
        }
    }
}

/// Whether an octet ends a word, or is none of those that stand for themselves and nothing else. The vertical tab is a
/// blank too, but none of ASCII's.
const fn is_special(octet: u8) -> bool {
    matches!(octet, 0..=b' ' | b'\'' | b'"' | b'#' | 0x80..)
}

fn split_slowly(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = None::<String>;
    // No word is longer than the line: none is moved while it grows, which would leave a copy behind.
    let begin = || String::with_capacity(line.len());
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), c) => word.get_or_insert_with(begin).push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_with(begin);
            }
            (None, '#') => break,
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, c) => word.get_or_insert_with(begin).push(c),
        }
    }
    words.extend(word);
    words
}

/// A state with all that is usually said of it.
const USUAL_WORDS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Split<'_> {
        split(text)
    }

    #[test]
    fn quotes_hold_words_together_and_a_hash_ends_the_line() {
        assert_eq!(
            *line("aead 'rfc4106(gcm(aes))' 0x00 128 # note"),
            ["aead", "rfc4106(gcm(aes))", "0x00", "128"]
        );
        assert_eq!(*line("enc x '' y"), ["enc", "x", "", "y"]);
        assert!(line("   # nothing").is_empty());
    }

    #[test]
    fn any_blank_separates_and_only_what_is_quoted_is_copied() {
        let words = line(" a\tb\r c ");
        assert_eq!(*words, ["a", "b", "c"]);
        assert!(words.iter().all(|word| matches!(word, Cow::Borrowed(_))));
        assert_eq!(*line("a\u{b}b\u{a0}c"), ["a", "b", "c"]);
    }

    #[test]
    fn numbers_are_read_in_the_three_bases_of_ip() {
        let words = line("10 0x10 010 0 -1 +1 0x 4294967296");
        let mut w = Words::new(&words);
        assert_eq!(w.number::<u32>("n"), Ok(10));
        assert_eq!(w.number::<u32>("n"), Ok(16));
        assert_eq!(w.number::<u32>("n"), Ok(8));
        assert_eq!(w.number::<u32>("n"), Ok(0));
        for _ in 0..4 {
            assert!(w.number::<u32>("n").is_err());
        }
    }

    #[test]
    fn a_complaint_names_the_position_and_what_was_expected() {
        let words = line("src nowhere");
        let mut w = Words::new(&words);
        assert!(w.eat("src"));
        assert_eq!(
            w.address("an address").unwrap_err().to_string(),
            "word 2 \"nowhere\": expected an address"
        );
        assert_eq!(w.next("dst").unwrap_err().to_string(), "the line ends before word 3: expected dst");
    }

    #[test]
    fn a_misplaced_key_is_not_echoed() {
        let words = line("0x00112233445566778899aabbccddeeff00112233");
        assert!(!Words::new(&words).wrong_here("src").to_string().contains("0011"));
    }

    #[test]
    fn a_prefix_gives_its_first_and_last_address() {
        let p: Prefix = "10.1.2.3/8".parse().unwrap();
        assert_eq!(p.range.lo(), "10.0.0.0".parse::<IpAddr>().unwrap());
        assert_eq!(p.range.hi(), "10.255.255.255".parse::<IpAddr>().unwrap());
        let p: Prefix = "::1".parse().unwrap();
        assert_eq!(p.range.prefix_bits(), Some(128));
        assert!("10.0.0.0/33".parse::<Prefix>().is_err());
    }
}
