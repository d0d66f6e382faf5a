//! One command: parsed, asked of the bridge or the engine, printed.

use std::io::Write;

use serde_json::{Value, json};
use shm_protocol::messages::control::{
    BridgeReply, BridgeRequest, Cursor, DropLine, EngineReply, EngineRequest, Ledger, PolicyFilter,
    PolicyInfo, PortLine, StateInfo, StatusPage, TunnelLine, WorkerLine,
};

use shm_protocol::policy::PolicyDirection;

use crate::client::Client;
use crate::failure::Failure;
use crate::options::Options;
use crate::print::Detail;
use crate::words::{Words, Wrong};
use crate::{grammar, json as as_json, print};

/// A command.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `xfrm …`.
    Xfrm(grammar::Command),
    /// `status`.
    Status,
    /// `drops [--all] [--format xfrm_stat]`.
    Drops {
        /// Also reasons that never happened.
        all: bool,
        /// In the form of `/proc/net/xfrm_stat`.
        xfrm_stat: bool,
    },
    /// `workers`.
    Workers,
    /// `reload`.
    Reload,
}

/// Parses a command. Errors: the first word that does not belong.
pub fn parse(words: &mut Words<'_>, options: &Options) -> Result<Command, Wrong> {
    match words.next(COMMANDS)? {
        "xfrm" => grammar::parse(words, options.show_keys).map(Command::Xfrm),
        "status" => words.end("nothing").map(|()| Command::Status),
        "drops" => {
            let (mut all, mut xfrm_stat) = (false, false);
            while words.peek().is_some() {
                if words.eat("--all") {
                    all = true;
                } else if words.eat("--format") {
                    if words.next("xfrm_stat")? != "xfrm_stat" {
                        return Err(words.wrong_before("xfrm_stat"));
                    }
                    xfrm_stat = true;
                } else {
                    return Err(words.wrong_here("--all or --format xfrm_stat"));
                }
            }
            Ok(Command::Drops { all, xfrm_stat })
        }
        "workers" => words.end("nothing").map(|()| Command::Workers),
        "reload" => words.end("nothing").map(|()| Command::Reload),
        _ => Err(words.wrong_before(COMMANDS)),
    }
}

/// Runs a command and prints its answer. Errors: it failed, in one line.
pub fn run(options: &Options, command: Command) -> Result<(), Failure> {
    match command {
        Command::Xfrm(grammar::Command::Help(text)) => put(text),
        Command::Xfrm(grammar::Command::Change(change)) => {
            bridge(options, &BridgeRequest::Batch(vec![change]))
        }
        Command::Xfrm(grammar::Command::Ask(BridgeRequest::StateList { filter, show_keys, .. })) => {
            states(options, |cursor| BridgeRequest::StateList { filter, cursor, show_keys })
        }
        Command::Xfrm(grammar::Command::Ask(BridgeRequest::PolicyList { filter, .. })) => {
            policies(options, filter)
        }
        Command::Xfrm(grammar::Command::Ask(BridgeRequest::PolicyCount)) => count_policies(options),
        Command::Xfrm(grammar::Command::Ask(request)) => bridge(options, &request),
        Command::Status => status(options),
        Command::Drops { all, xfrm_stat } => drops(options, all, xfrm_stat),
        Command::Workers => workers(options),
        Command::Reload => reload(options),
    }
}

fn bridge(options: &Options, request: &BridgeRequest) -> Result<(), Failure> {
    let client = Client::bridge(&options.runtime_dir)?;
    match client.ask(request)? {
        BridgeReply::Refused(refusal) => Err(Failure::Refused { sentence: refusal.sentence }),
        BridgeReply::Done { generation, warnings } => {
            warnings.iter().for_each(|warning| eprintln!("espctl: {warning}"));
            show(options, || json!({"generation": generation}), String::new)
        }
        BridgeReply::Deleted { count, generation } => {
            show(options, || json!({"deleted": count, "generation": generation}), String::new)
        }
        BridgeReply::Count { count, capacity } => show(
            options,
            || json!({"count": count, "capacity": capacity}),
            || format!("\t SAD count {count}\n"),
        ),
        BridgeReply::Spi(spi) => show(options, || json!({"spi": spi.to_string()}), || format!("spi {spi}\n")),
        BridgeReply::State(info) => state(options, &info),
        BridgeReply::Policy(info) => {
            show(options, || as_json::policy(&info), || print::policy(&info, detail(options)))
        }
        BridgeReply::States { .. } | BridgeReply::Policies { .. } => Err(client.surprise()),
    }
}

fn state(options: &Options, info: &StateInfo) -> Result<(), Failure> {
    if options.json {
        return put(&line(&as_json::state(info)));
    }
    put(&print::state(info, detail(options)))
}

fn states(options: &Options, page_at: impl Fn(Cursor) -> BridgeRequest) -> Result<(), Failure> {
    let client = Client::bridge(&options.runtime_dir)?;
    let (mut cursor, mut all) = (Some(Cursor::default()), Vec::new());
    while let Some(at) = cursor {
        let BridgeReply::States { page, next } = ask_bridge(&client, &page_at(at))? else {
            return Err(client.surprise());
        };
        if options.json {
            all.extend(page.iter().map(as_json::state));
        } else {
            page.iter().try_for_each(|info| put(&print::state(info, detail(options))))?;
        }
        cursor = next;
    }
    if options.json { put(&line(&json!({"states": all}))) } else { Ok(()) }
}

fn policies(options: &Options, filter: PolicyFilter) -> Result<(), Failure> {
    let mut all = Vec::new();
    each_policy(options, filter, |info| {
        if options.json {
            all.push(as_json::policy(info));
            return Ok(());
        }
        put(&print::policy(info, detail(options)))
    })?;
    if options.json { put(&line(&json!({"policies": all}))) } else { Ok(()) }
}

fn count_policies(options: &Options) -> Result<(), Failure> {
    let (mut inbound, mut outbound, mut forward) = (0_u32, 0_u32, 0_u32);
    each_policy(options, PolicyFilter::default(), |info| {
        match info.spec.id.direction {
            PolicyDirection::In => inbound += 1,
            PolicyDirection::Out => outbound += 1,
            PolicyDirection::Fwd => forward += 1,
        }
        Ok(())
    })?;
    let value = json!({
        "count": inbound + outbound + forward, "in": inbound, "out": outbound, "fwd": forward,
    });
    show(options, || value, || format!("\t SPD IN  {inbound} OUT {outbound} FWD {forward}\n"))
}

fn each_policy(
    options: &Options,
    filter: PolicyFilter,
    mut with: impl FnMut(&PolicyInfo) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let client = Client::bridge(&options.runtime_dir)?;
    let mut cursor = Some(Cursor::default());
    while let Some(at) = cursor {
        let request = BridgeRequest::PolicyList { filter, cursor: at };
        let BridgeReply::Policies { page, next } = ask_bridge(&client, &request)? else {
            return Err(client.surprise());
        };
        page.iter().try_for_each(&mut with)?;
        cursor = next;
    }
    Ok(())
}

fn ask_bridge(client: &Client, request: &BridgeRequest) -> Result<BridgeReply, Failure> {
    let reply = client.ask(request)?;
    if let BridgeReply::Refused(refusal) = reply {
        return Err(Failure::Refused { sentence: refusal.sentence });
    }
    Ok(reply)
}

fn ask(client: &Client, request: &EngineRequest) -> Result<EngineReply, Failure> {
    let reply = client.ask(request)?;
    if let EngineReply::Failed { sentence } = reply {
        return Err(Failure::Refused { sentence });
    }
    Ok(reply)
}

fn status(options: &Options) -> Result<(), Failure> {
    let client = Client::engine(&options.runtime_dir)?;
    let (mut cursor, mut tunnels, mut head) = (Some(Cursor::default()), Vec::<TunnelLine>::new(), None);
    while let Some(at) = cursor {
        let EngineReply::Status(mut page) = ask(&client, &EngineRequest::Status { cursor: at })? else {
            return Err(client.surprise());
        };
        tunnels.append(&mut page.tunnels);
        cursor = page.next;
        head.get_or_insert(page);
    }
    let head: Box<StatusPage> = head.ok_or_else(|| client.surprise())?;
    show(options, || as_json::status(&head, &tunnels), || print::status(&head, &tunnels))
}

fn drops(options: &Options, all: bool, xfrm_stat: bool) -> Result<(), Failure> {
    let client = Client::engine(&options.runtime_dir)?;
    let (mut cursor, mut lines, mut total) = (Some(Cursor::default()), Vec::<DropLine>::new(), 0);
    while let Some(at) = cursor {
        let request = EngineRequest::Drops { cursor: at, all: all || xfrm_stat };
        let EngineReply::Drops { mut page, total: sum, next } = ask(&client, &request)? else {
            return Err(client.surprise());
        };
        lines.append(&mut page);
        (total, cursor) = (sum, next);
    }
    if xfrm_stat && !options.json {
        return put(&print::xfrm_stat(&lines));
    }
    show(options, || as_json::drops(&lines, total), || print::drops(&lines, total))
}

fn workers(options: &Options) -> Result<(), Failure> {
    let client = Client::engine(&options.runtime_dir)?;
    let (mut cursor, mut lines, mut sum) =
        (Some(Cursor::default()), Vec::<WorkerLine>::new(), Ledger::default());
    while let Some(at) = cursor {
        let EngineReply::Workers { mut page, ledger, next } =
            ask(&client, &EngineRequest::Workers { cursor: at })?
        else {
            return Err(client.surprise());
        };
        lines.append(&mut page);
        (sum, cursor) = (ledger, next);
    }
    let (mut cursor, mut ports) = (Some(Cursor::default()), Vec::<PortLine>::new());
    while let Some(at) = cursor {
        let EngineReply::Ports { mut page, next } = ask(&client, &EngineRequest::Ports { cursor: at })?
        else {
            return Err(client.surprise());
        };
        ports.append(&mut page);
        cursor = next;
    }
    show(options, || as_json::workers(&lines, &ports, &sum), || print::workers(&lines, &ports, &sum))
}

fn reload(options: &Options) -> Result<(), Failure> {
    let client = Client::engine(&options.runtime_dir)?;
    match ask(&client, &EngineRequest::Reload)? {
        EngineReply::Reloaded { changed } => {
            let text = || match changed.as_slice() {
                [] => "nothing changed\n".to_owned(),
                changed => changed.iter().map(|sentence| format!("{sentence}\n")).collect(),
            };
            show(options, || json!({"changed": changed}), text)
        }
        EngineReply::NeedsRestart { keys } => Err(Failure::Refused {
            sentence: format!("needs restart for {}; nothing was changed", keys.join(", ")),
        }),
        EngineReply::Status(_)
        | EngineReply::Drops { .. }
        | EngineReply::Workers { .. }
        | EngineReply::Ports { .. }
        | EngineReply::Failed { .. } => Err(client.surprise()),
    }
}

fn show(
    options: &Options,
    value: impl FnOnce() -> Value,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if options.json { put(&line(&value())) } else { put(&text()) }
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

fn put(text: &str) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // `espctl … | head` is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Failure::Output),
    }
}

fn detail(options: &Options) -> Detail {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Detail {
        statistics: options.statistics > 0,
        details: options.details,
        now_seconds: now.map_or(0, |now| now.as_secs()),
    }
}

const COMMANDS: &str = "xfrm, status, drops, workers or reload";
