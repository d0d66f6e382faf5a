//! The rows of the table: which way, and by how many SAs.

use std::fmt;

use clap::ValueEnum;
use esp::aead::Algorithm;

/// Which way the packets of a row go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Clear packets come in, ESP goes out.
    Outbound,
    /// ESP comes in, clear packets go out.
    Inbound,
}

/// A row of the table, measured at each packet length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Row {
    /// Outbound, one SA
    Out1,
    /// Outbound, one SA with AES-256
    Out1Aes256,
    /// Outbound, 1 000 SAs, another one each packet
    Out1000,
    /// Outbound, 100 000 SAs at random
    Out100000,
    /// Inbound, one SA, replay window of 1024
    In1,
    /// Inbound, one SA with AES-256
    In1Aes256,
    /// Inbound, 1 000 SAs, another one each packet
    In1000,
    /// Inbound, 100 000 SAs at random
    In100000,
}

impl Row {
    /// Every row, in the order they are measured and shown.
    pub const ALL: [Self; 8] = [
        Self::Out1,
        Self::Out1Aes256,
        Self::Out1000,
        Self::Out100000,
        Self::In1,
        Self::In1Aes256,
        Self::In1000,
        Self::In100000,
    ];

    /// Returns the word of the command line and of result files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Out1 => "out1",
            Self::Out1Aes256 => "out1-aes256",
            Self::Out1000 => "out1000",
            Self::Out100000 => "out100000",
            Self::In1 => "in1",
            Self::In1Aes256 => "in1-aes256",
            Self::In1000 => "in1000",
            Self::In100000 => "in100000",
        }
    }

    /// Returns which way its packets go.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::Out1 | Self::Out1Aes256 | Self::Out1000 | Self::Out100000 => Direction::Outbound,
            Self::In1 | Self::In1Aes256 | Self::In1000 | Self::In100000 => Direction::Inbound,
        }
    }

    /// Returns the transform of its SAs.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        match self {
            Self::Out1Aes256 | Self::In1Aes256 => Algorithm::Aes256Gcm16,
            Self::Out1 | Self::Out1000 | Self::Out100000 | Self::In1 | Self::In1000 | Self::In100000 => {
                Algorithm::Aes128Gcm16
            }
        }
    }

    /// Returns how many SAs its packets go by.
    #[must_use]
    pub const fn sas(self) -> u32 {
        match self {
            Self::Out1 | Self::Out1Aes256 | Self::In1 | Self::In1Aes256 => 1,
            Self::Out1000 | Self::In1000 => 1000,
            Self::Out100000 | Self::In100000 => 100_000,
        }
    }

    /// Returns what drives the engine and takes its packets.
    #[must_use]
    pub const fn harness(self) -> &'static str {
        match self.direction() {
            Direction::Outbound => "net_pcap infinite_rx -> espalier -> net_null",
            Direction::Inbound => "frames sealed in memory -> dataplane::path::Path::poll -> freed",
        }
    }

    /// Returns those of `wanted`, each once, in the order of [`Self::ALL`]; all of them if none is wanted.
    #[must_use]
    pub fn chosen(wanted: &[Self]) -> Vec<Self> {
        Self::ALL.into_iter().filter(|row| wanted.is_empty() || wanted.contains(row)).collect()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_takes_every_row_by_the_name_it_is_shown_by() {
        for row in Row::ALL {
            assert_eq!(Row::from_str(row.name(), false), Ok(row));
        }
        assert!(Row::from_str("out10", false).is_err());
    }

    #[test]
    fn chosen_rows_come_once_and_in_order_and_all_without_a_choice() {
        assert_eq!(Row::chosen(&[Row::In1, Row::Out1, Row::In1]), [Row::Out1, Row::In1]);
        assert_eq!(Row::chosen(&[]), Row::ALL);
    }
}
