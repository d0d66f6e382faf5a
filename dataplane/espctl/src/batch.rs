//! `-batch FILE`: one command a line, as in `ip -batch`. Changes travel together, up to 256 as one
//! generation.
//!
//! Every line is parsed before the first is sent, so that a wrong word changes nothing.

use std::io::Read;

use shm_protocol::messages::control::{BridgeReply, BridgeRequest, MAX_BATCH, XfrmChange};
use zeroize::Zeroizing;

use crate::client::Client;
use crate::command::{self, Command};
use crate::failure::Failure;
use crate::grammar;
use crate::options::Options;
use crate::words::{Words, split};

/// A command with its place in the file.
struct Line {
    number: usize,
    command: Command,
}

/// Runs a batch. Errors: the first line that fails; what came before it in the file has been done.
pub fn run(options: &Options, file: &str) -> Result<(), Failure> {
    let text = read(file)?;
    let mut lines = Vec::new();
    for (number, line) in logical_lines(&text) {
        let words = Zeroizing::new(split(&line));
        if words.is_empty() {
            continue;
        }
        let wrong = |wrong| Failure::WrongInBatch { file: file.to_owned(), line: number, wrong };
        let command = command::parse(&mut Words::new(&words), options).map_err(wrong)?;
        lines.push(Line { number, command });
    }
    let mut bridge = None;
    let mut together: Vec<(usize, XfrmChange)> = Vec::new();
    let mut warned = false;
    for line in lines {
        match line.command {
            Command::Xfrm(grammar::Command::Change(change)) => {
                if weight(&together) + weight_of(&change) > MAX_BATCH {
                    send(options, &mut bridge, file, &mut together, &mut warned)?;
                }
                together.push((line.number, change));
            }
            alone @ (Command::Xfrm(grammar::Command::Ask(_) | grammar::Command::Help(_))
            | Command::Status
            | Command::Drops { .. }
            | Command::Workers
            | Command::Reload) => {
                send(options, &mut bridge, file, &mut together, &mut warned)?;
                command::run(options, alone)?;
            }
        }
    }
    send(options, &mut bridge, file, &mut together, &mut warned)
}

fn read(file: &str) -> Result<Zeroizing<String>, Failure> {
    let failure = |error| Failure::File { file: file.to_owned(), error };
    let mut text = Zeroizing::new(String::new());
    if file == "-" {
        std::io::stdin().read_to_string(&mut text).map_err(failure)?;
    } else {
        text = Zeroizing::new(std::fs::read_to_string(file).map_err(failure)?);
    }
    Ok(text)
}

/// Joins lines that end in a backslash; the number is that of the first one.
fn logical_lines(text: &str) -> impl Iterator<Item = (usize, Zeroizing<String>)> {
    let mut lines = text.lines().enumerate();
    std::iter::from_fn(move || {
        let (index, first) = lines.next()?;
        let mut whole = Zeroizing::new(first.to_owned());
        while whole.ends_with('\\') {
            whole.pop();
            match lines.next() {
                Some((_, more)) => whole.push_str(more),
                None => break,
            }
        }
        Some((index + 1, whole))
    })
}

/// A state without a direction may become two records.
fn weight_of(change: &XfrmChange) -> usize {
    match change {
        XfrmChange::StateAdd(spec) | XfrmChange::StateUpdate(spec) if spec.dir.is_none() => 2,
        XfrmChange::StateDelete(_) => 2,
        XfrmChange::StateAdd(_)
        | XfrmChange::StateUpdate(_)
        | XfrmChange::PolicyAdd(_)
        | XfrmChange::PolicyUpdate(_)
        | XfrmChange::PolicyDelete(_) => 1,
    }
}

fn weight(changes: &[(usize, XfrmChange)]) -> usize {
    changes.iter().map(|(_, change)| weight_of(change)).sum()
}

fn send(
    options: &Options,
    bridge: &mut Option<Client>,
    file: &str,
    together: &mut Vec<(usize, XfrmChange)>,
    warned: &mut bool,
) -> Result<(), Failure> {
    let (Some(&(first, _)), Some(&(last, _))) = (together.first(), together.last()) else { return Ok(()) };
    let client = match bridge {
        Some(client) => client,
        None => bridge.insert(Client::bridge(&options.runtime_dir)?),
    };
    let (numbers, changes): (Vec<usize>, Vec<XfrmChange>) = together.drain(..).unzip();
    let reply = client.ask(&BridgeRequest::Batch(changes))?;
    if let BridgeReply::Refused(refusal) = reply {
        let index = refusal.change.and_then(|change| usize::try_from(change).ok());
        let line = index.and_then(|index| numbers.get(index)).copied().unwrap_or(first);
        let sentence = refusal.sentence;
        return Err(Failure::RefusedInBatch { file: file.to_owned(), line, sentence, first, last });
    }
    let BridgeReply::Done { warnings, .. } = reply else { return Err(client.surprise()) };
    // A warning holds for the whole batch; it is said once.
    if !std::mem::replace(warned, *warned || !warnings.is_empty()) {
        warnings.iter().for_each(|warning| eprintln!("espctl: {warning}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_continues_a_line_and_keeps_its_number() {
        let lines: Vec<(usize, String)> =
            logical_lines("a \\\nb\nc").map(|(number, line)| (number, line.to_string())).collect();
        assert_eq!(lines, [(1, "a b".to_owned()), (3, "c".to_owned())]);
    }
}
