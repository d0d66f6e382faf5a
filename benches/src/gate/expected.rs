//! The counts that are written down, by compiler: `instructions.toml`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;

use super::Counts;
use crate::Result;

/// Counts by scenario.
pub type Table = BTreeMap<String, Counts>;

/// Counts by release of the compiler, then by scenario.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(transparent)]
pub struct Expected(BTreeMap<String, Table>);

/// What the counts are held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<'a> {
    /// Release of the compiler that they are of.
    pub release: &'a str,
    /// The counts.
    pub table: &'a Table,
}

impl Expected {
    /// Reads the file; nothing is expected where there is none.
    ///
    /// # Errors
    /// The file cannot be read or is not of this form.
    pub fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => ::toml::from_str(&text).with_context(|| path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Returns the counts of this release of the compiler, else of the newest before it, else of the oldest there is.
    #[must_use]
    pub fn of(&self, release: &str) -> Option<Found<'_>> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|(name, _)| numbers(name));
        let before = sorted.iter().rev().find(|(name, _)| numbers(name) <= numbers(release));
        let (release, table) = before.or(sorted.first())?;
        Some(Found { release, table })
    }

    /// Replaces the counts of a release.
    pub fn accept(&mut self, release: &str, table: Table) {
        self.0.insert(release.to_owned(), table);
    }

    /// Returns the text of the file.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = HEAD.to_owned();
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|(name, _)| numbers(name));
        for (release, table) in sorted {
            let _ = writeln!(text, "\n[\"{release}\"]");
            for (scenario, Counts { instructions, locked }) in table {
                let _ = writeln!(
                    text,
                    "{scenario} = {{ instructions = {instructions:.1}, locked = {locked:.4} }}"
                );
            }
        }
        text
    }
}

const HEAD: &str = "# Instructions per packet, and how many of them lock the bus, by release of rustc.
# `make instructions` counts anew and rewrites the part of the rustc that is there; `make test` compares.
";

fn numbers(release: &str) -> Vec<u32> {
    release.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(instructions: f64) -> Table {
        Table::from([("outbound-known".to_owned(), Counts { instructions, locked: 0.0625 })])
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut expected = Expected::default();
        expected.accept("1.95", table(500.5));
        expected.accept("1.100", table(400.0));
        let text = expected.render();
        assert_eq!(::toml::from_str::<Expected>(&text).unwrap(), expected);
        assert!(text.find("1.95") < text.find("1.100"), "{text}");
    }

    #[test]
    fn an_unknown_release_is_held_against_the_one_before_it() {
        let mut expected = Expected::default();
        assert_eq!(expected.of("1.95"), None);
        for (release, count) in [("1.95", 1.0), ("1.97", 2.0), ("1.101", 3.0)] {
            expected.accept(release, table(count));
        }
        let found = |release: &str| expected.of(release).map(|found| found.release);
        assert_eq!(found("1.95"), Some("1.95"));
        assert_eq!(found("1.96"), Some("1.95"));
        assert_eq!(found("1.100"), Some("1.97"));
        assert_eq!(found("1.88"), Some("1.95"));
    }

    #[test]
    fn a_file_with_an_unknown_key_is_refused() {
        let refused =
            ::toml::from_str::<Expected>("[\"1.95\"]\na = { instructions = 1.0, locked = 0.0, ns = 3.0 }");
        assert!(refused.is_err());
    }
}
