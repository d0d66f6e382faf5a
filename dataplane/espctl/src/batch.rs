//! `-batch FILE`: one command a line, as in `ip -batch`. Changes travel together, up to 256 as one
//! generation.
//!
//! Every line is parsed before the first is sent, so that a wrong word changes nothing. What waits for that stands
//! encoded, which takes a fifth of the memory.

use std::io::Read;

use shm_protocol::codec::{self, Datagram};
use shm_protocol::messages::control::{BridgeReply, BridgeRequest, MAX_BATCH, XfrmChange};

use crate::client::Client;
use crate::command::{self, Command};
use crate::failure::Failure;
use crate::grammar;
use crate::lines::Lines;
use crate::options::Options;
use crate::words::{Words, split};

/// Something to do, in the order of the file.
enum Step {
    /// Changes of one generation.
    Together(Together),
    /// A command by itself.
    Alone(Command),
}

struct Together {
    request: Datagram,
    /// The line of each change.
    lines: Vec<usize>,
}

/// Runs a batch. Errors: the first line that fails; what came before it in the file has been done.
pub fn run(options: &Options, file: &str) -> Result<(), Failure> {
    let steps = if file == "-" {
        plan(options, file, std::io::stdin().lock())?
    } else {
        let open = std::fs::File::open(file);
        plan(options, file, open.map_err(|error| Failure::File { file: file.to_owned(), error })?)?
    };
    let mut bridge = None;
    let mut warned = false;
    for step in steps {
        match step {
            Step::Alone(command) => command::run(options, command)?,
            Step::Together(together) => {
                let client = match &bridge {
                    Some(client) => client,
                    None => bridge.insert(Client::bridge(&options.runtime_dir)?),
                };
                send(client, file, &together, &mut warned)?;
            }
        }
    }
    Ok(())
}

/// Reads the whole file. Errors: it cannot be read; the first line with a wrong word.
fn plan(options: &Options, file: &str, from: impl Read) -> Result<Vec<Step>, Failure> {
    let mut lines = Lines::new(from);
    let mut plan = Plan::default();
    while let Some((number, line)) =
        lines.next().map_err(|error| Failure::File { file: file.to_owned(), error })?
    {
        let words = split(line);
        if words.is_empty() {
            continue;
        }
        let wrong = |wrong| Failure::WrongInBatch { file: file.to_owned(), line: number, wrong };
        plan.add(number, command::parse(&mut Words::new(&words), options).map_err(wrong)?)?;
    }
    plan.close()?;
    Ok(plan.steps)
}

/// What was read so far.
#[derive(Default)]
struct Plan {
    steps: Vec<Step>,
    /// Changes that are not a step yet, and the line of each.
    changes: Vec<XfrmChange>,
    lines: Vec<usize>,
    /// Records they may become.
    weight: usize,
}

impl Plan {
    fn add(&mut self, line: usize, command: Command) -> Result<(), Failure> {
        match command {
            Command::Xfrm(grammar::Command::Change(change)) => {
                let weight = weight_of(&change);
                if self.weight + weight > MAX_BATCH {
                    self.close()?;
                }
                self.weight += weight;
                self.changes.push(change);
                self.lines.push(line);
            }
            alone @ (Command::Xfrm(grammar::Command::Ask(_) | grammar::Command::Help(_))
            | Command::Status
            | Command::Drops { .. }
            | Command::Workers
            | Command::Reload) => {
                self.close()?;
                self.steps.push(Step::Alone(alone));
            }
        }
        Ok(())
    }

    /// Makes a step of the changes there are.
    fn close(&mut self) -> Result<(), Failure> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let request = BridgeRequest::Batch(std::mem::take(&mut self.changes));
        let request = codec::encode_to_keep(&request)
            .map_err(|error| Failure::Message { server: Client::BRIDGE, error })?;
        self.weight = 0;
        self.steps.push(Step::Together(Together { request, lines: std::mem::take(&mut self.lines) }));
        Ok(())
    }
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

fn send(client: &Client, file: &str, together: &Together, warned: &mut bool) -> Result<(), Failure> {
    let lines = together.lines.as_slice();
    let reply = client.ask_encoded(&together.request)?;
    if let BridgeReply::Refused(refusal) = reply {
        let (first, last) = (lines.first().copied().unwrap_or(0), lines.last().copied().unwrap_or(0));
        let index = refusal.change.and_then(|change| usize::try_from(change).ok());
        let line = index.and_then(|index| lines.get(index)).copied().unwrap_or(first);
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
