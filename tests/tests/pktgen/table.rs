//! `benches/pktgen/commands.toml`: what Pktgen-DPDK understands.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::files;
use crate::form::Form;

/// The documented commands and Lua functions.
#[derive(Debug)]
pub(crate) struct Commands {
    /// The release they were checked for.
    pub(crate) version: String,
    forms: Vec<Form>,
    functions: BTreeMap<String, Vec<Form>>,
}

fn text<'a>(entry: &'a Value, key: &str) -> &'a str {
    entry.get(key).and_then(Value::as_str).unwrap_or_else(|| panic!("no {key} in {entry}"))
}

fn form(text: &str) -> Form {
    Form::parse(text).unwrap_or_else(|token| panic!("{token} in the form {text}"))
}

impl Commands {
    /// Reads the table; every entry says what it does.
    pub(crate) fn read() -> Self {
        let path = files::folder().join("commands.toml");
        let table: Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        let entries = |key: &str| table[key].as_array().unwrap().clone();
        for entry in entries("command").iter().chain(&entries("function")) {
            assert!(text(entry, "does").ends_with('.'), "{entry}");
        }
        let forms = entries("command").iter().map(|entry| form(text(entry, "form"))).collect();
        let mut functions = BTreeMap::new();
        for entry in entries("function") {
            let of_this: Vec<_> =
                entry["forms"].as_array().unwrap().iter().map(|one| form(one.as_str().unwrap())).collect();
            let twice = functions.insert(text(&entry, "name").to_owned(), of_this);
            assert!(twice.is_none(), "{entry}");
        }
        Self { version: text(&table["checked"], "pktgen").to_owned(), forms, functions }
    }

    /// Checks a line of a file of commands. Errors: no form fits.
    pub(crate) fn check_line(&self, line: &str) -> Result<(), String> {
        let words: Vec<_> = line.split_whitespace().collect();
        let known = self.forms.iter().any(|form| form.fits(&words));
        known.then_some(()).ok_or_else(|| format!("pktgen {} has no command `{line}`", self.version))
    }

    /// Checks a call in Lua, its arguments as text. Errors: no such function, or none of its forms fits.
    pub(crate) fn check_call(&self, name: &str, arguments: &[String]) -> Result<(), String> {
        let words: Vec<_> = arguments.iter().map(String::as_str).collect();
        let forms = self.forms_of(name)?;
        let known = forms.iter().any(|form| form.fits(&words));
        known.then_some(()).ok_or_else(|| format!("{name} does not take ({})", words.join(", ")))
    }

    /// Checks a function's name. Errors: it is not in the table.
    pub(crate) fn forms_of(&self, name: &str) -> Result<&[Form], String> {
        self.functions
            .get(name)
            .map(Vec::as_slice)
            .ok_or_else(|| format!("pktgen {} has no {name}", self.version))
    }

    /// Returns the names of the functions.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.functions.keys().map(String::as_str)
    }
}
