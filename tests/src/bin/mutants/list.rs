//! The list of mutants: which text of which file is replaced, and which test must notice.

use std::fmt;
use std::path::Path;

use anyhow::{Context, bail};
use espalier_tests::Result;
use toml::Value;

use crate::tree::Tree;

/// A test, as cargo names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    pub(crate) package: String,
    /// `lib`, or the file under the package's `tests/`.
    pub(crate) target: String,
    pub(crate) name: String,
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.target == "lib" {
            return write!(f, "{} {}", self.package, self.name);
        }
        write!(f, "{} {}::{}", self.package, self.target, self.name)
    }
}

/// One text and what takes its place.
#[derive(Clone, Debug)]
struct Edit {
    file: String,
    remove: String,
    with: String,
}

/// A safety property without its guard.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    pub(crate) property: String,
    edits: Vec<Edit>,
    pub(crate) test: Test,
}

impl Mutant {
    /// Checks that every text is there, once.
    pub(crate) fn check(&self, tree: &Tree) -> Result<()> {
        for edit in &self.edits {
            let found = tree.original(&edit.file)?.matches(&edit.remove).count();
            if found != 1 {
                bail!(
                    "{}: this text is found {found} times in {}; mend tests/mutants.toml:\n{}",
                    self.property,
                    edit.file,
                    edit.remove
                );
            }
        }
        Ok(())
    }

    /// Returns file and line of the first text.
    pub(crate) fn place(&self, tree: &Tree) -> Result<String> {
        let edit = self.edits.first().context("a mutant without a text")?;
        let text = tree.original(&edit.file)?;
        let at = text.find(&edit.remove).context("a text that is gone")?;
        Ok(format!(
            "{}:{}",
            edit.file,
            text[..at].lines().count().max(1) + usize::from(text[..at].ends_with('\n'))
        ))
    }

    /// Puts the replacements into the copy.
    pub(crate) fn apply(&self, tree: &Tree) -> Result<()> {
        for edit in &self.edits {
            let text = tree.current(&edit.file)?;
            tree.write(&edit.file, &text.replacen(&edit.remove, &edit.with, 1))?;
        }
        Ok(())
    }

    /// Puts the files back.
    pub(crate) fn undo(&self, tree: &Tree) -> Result<()> {
        for edit in &self.edits {
            tree.write(&edit.file, &tree.original(&edit.file)?)?;
        }
        Ok(())
    }
}

/// Reads the list.
///
/// Errors: a missing word, with the mutant it is missing of.
pub(crate) fn read(path: &Path) -> Result<Vec<Mutant>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let list: toml::Table = text.parse().with_context(|| path.display().to_string())?;
    let mutants = list.get("mutant").and_then(Value::as_array).context("no [[mutant]]")?;
    mutants
        .iter()
        .enumerate()
        .map(|(at, value)| mutant(value).with_context(|| format!("mutant {at}")))
        .collect()
}

fn mutant(value: &Value) -> Result<Mutant> {
    let property = word(value, "property")?;
    let edits =
        value.get("edit").and_then(Value::as_array).with_context(|| format!("{property}: no edit"))?;
    let edit = |edit: &Value| {
        Ok(Edit { file: word(edit, "file")?, remove: word(edit, "remove")?, with: word(edit, "with")? })
    };
    let edits: Result<Vec<Edit>> = edits.iter().map(edit).collect();
    let edits = edits.with_context(|| property.clone())?;
    let test = value.get("test").with_context(|| format!("{property}: no test"))?;
    let test =
        Test { package: word(test, "package")?, target: word(test, "target")?, name: word(test, "name")? };
    Ok(Mutant { property, edits, test })
}

fn word(value: &Value, key: &str) -> Result<String> {
    Ok(value.get(key).and_then(Value::as_str).with_context(|| format!("no {key}"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutant_of_the_list_finds_its_text_once() {
        let repository = espalier_tests::binaries::repository();
        for mutant in read(&repository.join("tests/mutants.toml")).unwrap() {
            for edit in &mutant.edits {
                let text = std::fs::read_to_string(repository.join(&edit.file)).unwrap();
                assert_eq!(text.matches(&edit.remove).count(), 1, "{}: {}", mutant.property, edit.remove);
                assert!(!edit.with.contains(&edit.remove), "{}: nothing is taken away", mutant.property);
            }
        }
    }
}
