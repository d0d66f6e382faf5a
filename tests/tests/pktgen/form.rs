//! Forms of commands: what a row of words has to look like.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// One word of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// One of these words.
    OneOf(Vec<String>),
    /// A list of ports.
    Ports,
    /// An integer in a range.
    Number(RangeInclusive<u64>),
    /// Above 0, up to 100.
    Percent,
    /// An Ethernet address.
    Mac,
    /// An address.
    Ipv4,
    /// An address with its prefix length.
    Net,
    /// Anything.
    Word,
}

/// A row of words or values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Form {
    tokens: Vec<Token>,
}

impl Form {
    /// Reads a form as the table writes it. Errors: the token that is none.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self { tokens: text.split_whitespace().map(Token::parse).collect::<Result<_, _>>()? })
    }

    /// Reports whether the words have this form.
    pub(crate) fn fits(&self, words: &[&str]) -> bool {
        self.tokens.len() == words.len()
            && self.tokens.iter().zip(words).all(|(token, word)| token.accepts(word))
    }
}

impl Token {
    fn parse(text: &str) -> Result<Self, String> {
        let Some(name) = text.strip_prefix('<') else {
            return Ok(Self::OneOf(text.split('|').map(str::to_owned).collect()));
        };
        let name = name.strip_suffix('>').ok_or(text)?;
        if let Some(range) = name.strip_prefix("number:") {
            let (low, high) = range.split_once('-').ok_or(text)?;
            let bound = |digits: &str| digits.parse().map_err(|_| text.to_owned());
            return Ok(Self::Number(bound(low)?..=bound(high)?));
        }
        match name {
            "ports" => Ok(Self::Ports),
            "number" => Ok(Self::Number(0..=u64::MAX)),
            "percent" => Ok(Self::Percent),
            "mac" => Ok(Self::Mac),
            "ipv4" => Ok(Self::Ipv4),
            "net" => Ok(Self::Net),
            "word" | "path" => Ok(Self::Word),
            _ => Err(text.to_owned()),
        }
    }

    fn accepts(&self, word: &str) -> bool {
        match self {
            Self::OneOf(words) => words.iter().any(|known| known == word),
            Self::Ports => is_ports(word),
            Self::Number(range) => is_digits(word) && word.parse().is_ok_and(|value| range.contains(&value)),
            Self::Percent => word.parse().is_ok_and(|value: f64| value > 0.0 && value <= 100.0),
            Self::Mac => is_mac(word),
            Self::Ipv4 => word.parse::<Ipv4Addr>().is_ok(),
            Self::Net => word.split_once('/').is_some_and(|(address, length)| {
                address.parse::<Ipv4Addr>().is_ok() && length.parse().is_ok_and(|bits: u8| bits <= 32)
            }),
            Self::Word => !word.is_empty(),
        }
    }
}

fn is_digits(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_digit())
}

fn is_ports(word: &str) -> bool {
    let is_part = |part: &str| match part.split_once('-') {
        Some((low, high)) => is_digits(low) && is_digits(high),
        None => is_digits(part),
    };
    word == "all" || word.split(',').all(is_part)
}

fn is_mac(word: &str) -> bool {
    let parts: Vec<_> = word.split(':').collect();
    parts.len() == 6 && parts.iter().all(|part| part.len() == 2 && u8::from_str_radix(part, 16).is_ok())
}
