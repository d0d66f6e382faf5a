//! The options in front of a command, or behind it: `-s`, `-batch FILE` and the like, as `ip` writes them.

use std::path::PathBuf;

use crate::failure::Failure;

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where the sockets are.
    pub runtime_dir: PathBuf,
    /// Answer in JSON.
    pub json: bool,
    /// How often `-s` was given.
    pub statistics: u8,
    /// Show what `ip` does not know: slot, owner, direction.
    pub details: bool,
    /// Show keys.
    pub show_keys: bool,
    /// Read commands from this file.
    pub batch: Option<String>,
    /// Show the help.
    pub help: bool,
    /// Show the version.
    pub version: bool,
    /// The words that are left: the command.
    pub words: Vec<String>,
}

impl Options {
    /// Takes the options out of the words of a command line. Errors: an unknown option, a missing value.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, Failure> {
        let mut options = Self {
            runtime_dir: PathBuf::from("/run/espalier"),
            json: false,
            statistics: 0,
            details: false,
            show_keys: false,
            batch: None,
            help: false,
            version: false,
            words: Vec::new(),
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let Some(option) = argument.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                options.words.push(argument);
                continue;
            };
            let option = option.strip_prefix('-').unwrap_or(option);
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (option, None),
            };
            let mut value = |expected| {
                value
                    .clone()
                    .or_else(|| arguments.next())
                    .ok_or(Failure::Option { option: argument.clone(), expected })
            };
            match name {
                "runtime-dir" => options.runtime_dir = value("a directory must follow")?.into(),
                "b" | "batch" => options.batch = Some(value("a file or - must follow")?),
                "j" | "json" => options.json = true,
                "s" | "stats" | "statistics" => options.statistics = options.statistics.saturating_add(1),
                "d" | "details" => options.details = true,
                "show-keys" => options.show_keys = true,
                "h" | "help" => options.help = true,
                "V" | "version" => options.version = true,
                // Words of single commands.
                "all" | "format" => {
                    options.words.push(format!("--{name}"));
                    if name == "format" {
                        options.words.push(value("xfrm_stat must follow")?);
                    }
                }
                _ => return Err(Failure::Option { option: argument, expected: "no such option" }),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Options {
        Options::parse(line.split_whitespace().map(str::to_owned)).unwrap()
    }

    #[test]
    fn options_stand_before_or_behind_the_command() {
        let options = parsed("--runtime-dir /tmp/x -s xfrm state list --json -d");
        assert_eq!(options.runtime_dir, PathBuf::from("/tmp/x"));
        assert!(options.json && options.details && options.statistics == 1);
        assert_eq!(options.words, ["xfrm", "state", "list"]);
    }

    #[test]
    fn a_batch_is_named_as_in_ip() {
        assert_eq!(parsed("-batch -").batch.as_deref(), Some("-"));
        assert_eq!(parsed("-b file").batch.as_deref(), Some("file"));
        assert_eq!(parsed("--batch=file").batch.as_deref(), Some("file"));
    }

    #[test]
    fn an_unknown_option_and_a_missing_value_are_named() {
        let complaint =
            |line: &str| Options::parse(line.split_whitespace().map(str::to_owned)).unwrap_err().to_string();
        assert!(complaint("--frobnicate").starts_with("--frobnicate: no such option"));
        assert!(complaint("-batch").starts_with("-batch: a file or - must follow"));
    }
}
