//! What is measured with one worker and with several.

use clap::ValueEnum;

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Case {
    /// The AEAD alone, 68 octets of text
    Aead,
    /// The AEAD alone, 1 404 octets of text
    AeadLong,
    /// A gateway for each worker: no word is shared
    Apart,
    /// One gateway, each worker with SAs of its own, another one each packet
    ManySas,
    /// One SA that its owner seals for; packets arrive at all workers
    Owner,
    /// One SA that its owner seals for; packets arrive at the others only
    Handed,
    /// One SA with `spread`: all workers seal
    Spread,
    /// One SA inbound: all workers open, one window
    Inbound,
}

impl Case {
    /// Every case, in the order of the table.
    pub const ALL: [Self; 8] = [
        Self::Aead,
        Self::AeadLong,
        Self::Apart,
        Self::ManySas,
        Self::Owner,
        Self::Handed,
        Self::Spread,
        Self::Inbound,
    ];

    /// Returns the word of the command line and of result files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aead => "aead",
            Self::AeadLong => "aead-long",
            Self::Apart => "apart",
            Self::ManySas => "many-sas",
            Self::Owner => "owner",
            Self::Handed => "handed",
            Self::Spread => "spread",
            Self::Inbound => "inbound",
        }
    }

    /// Returns those of `wanted`, each once, in the order of [`Self::ALL`]; all of them if none is wanted.
    #[must_use]
    pub fn chosen(wanted: &[Self]) -> Vec<Self> {
        Self::ALL.into_iter().filter(|case| wanted.is_empty() || wanted.contains(case)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_takes_every_case_by_the_name_it_is_shown_by() {
        for case in Case::ALL {
            assert_eq!(Case::from_str(case.name(), false), Ok(case));
        }
    }
}
