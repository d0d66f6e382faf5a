//! The words of `ip xfrm`, as `ip xfrm state help` and `ip xfrm policy help` list them.
//!
//! A word of `ip xfrm` that the gateway cannot honour is refused by name, never ignored.

mod limits;
mod policy;
mod selector;
mod state;

pub(crate) use selector::protocol_name;
use shm_protocol::ids::IfId;
use shm_protocol::messages::control::{BridgeRequest, XfrmChange};
use shm_protocol::sa::{Mark, Mode};

use crate::words::{Words, Wrong};

/// One `xfrm` command.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// A change, which may travel with others.
    Change(XfrmChange),
    /// A question, or something that stands alone.
    Ask(BridgeRequest),
    /// `help`, with the text.
    Help(&'static str),
}

/// Parses the words after `xfrm`. Errors: the first word that does not belong.
pub fn parse(words: &mut Words<'_>, show_keys: bool) -> Result<Command, Wrong> {
    let object = words.next(OBJECTS)?;
    if is(object, "state") || is(object, "sa") {
        state::parse(words, show_keys)
    } else if is(object, "policy") {
        policy::parse(words)
    } else if object == "help" {
        Ok(Command::Help(HELP))
    } else {
        Err(words.wrong_before(OBJECTS))
    }
}

/// Returns true when `word` is `keyword` or its beginning, as `ip` lets commands be shortened.
fn is(word: &str, keyword: &str) -> bool {
    !word.is_empty() && keyword.starts_with(word)
}

/// Reads `VALUE [mask MASK]`, after `mark` or `output-mark`.
fn mark(words: &mut Words<'_>) -> Result<Mark, Wrong> {
    let value: u32 = words.number("a mark")?;
    let mask = if words.eat("mask") { words.number("a mask")? } else { u32::MAX };
    Ok(Mark { value: value & mask, mask })
}

/// Reads the number after `if_id`.
fn if_id(words: &mut Words<'_>) -> Result<IfId, Wrong> {
    words.number("an if_id").map(IfId)
}

/// Reads the mode; only tunnel mode exists here.
fn mode(words: &mut Words<'_>) -> Result<Mode, Wrong> {
    let word = words.next(MODES)?;
    if is(word, "tunnel") { Ok(Mode::Tunnel) } else { Err(words.wrong_before(MODES)) }
}

/// Reads the protocol of an SA; only ESP exists here.
fn esp(words: &mut Words<'_>) -> Result<(), Wrong> {
    match words.next(PROTOCOLS)? {
        "esp" | "50" => Ok(()),
        _ => Err(words.wrong_before(PROTOCOLS)),
    }
}

const OBJECTS: &str = "state, policy or help";
const MODES: &str = "tunnel (other modes are not supported)";
const PROTOCOLS: &str = "esp (other protocols are not supported)";
const HELP: &str = "\
Usage: espctl [ OPTIONS ] xfrm { state | policy } { COMMAND | help }

The words are those of ip xfrm. Example:
  espctl --runtime-dir /run/espalier xfrm state list
";

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Parses a line after `xfrm`.
    pub(crate) fn parsed(line: &str) -> Result<Command, Wrong> {
        let words = crate::words::split(line);
        parse(&mut Words::new(&words), false)
    }

    /// Returns the complaint about a line.
    pub(crate) fn complaint(line: &str) -> String {
        parsed(line).unwrap_err().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{complaint, parsed};
    use super::*;

    #[test]
    fn commands_may_be_shortened_as_in_ip() {
        assert_eq!(parsed("st co"), Ok(Command::Ask(BridgeRequest::StateCount)));
        assert_eq!(parsed("pol count"), Ok(Command::Ask(BridgeRequest::PolicyCount)));
        assert_eq!(parsed("sa flush"), Ok(Command::Ask(BridgeRequest::StateFlush)));
    }

    #[test]
    fn an_unknown_object_is_named_with_what_there_is() {
        assert_eq!(complaint("steak list"), "word 1 \"steak\": expected state, policy or help");
    }
}
