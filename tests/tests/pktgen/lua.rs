//! Pktgen's side of a Lua script: every call is held against the table, and behind the ports lies a device that carries
//! so many frames a second and loses the rest.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::{Error, Function, Lua, Result, Table, Value, Variadic};

use crate::table::Commands;

/// What the two ports of pktgen are wired to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wiring {
    /// Speed of the line. Units: bit/s.
    pub(crate) line_bps: f64,
    /// What the device carries. Units: frames a second.
    pub(crate) carries_pps: f64,
    /// The frame that is set before the script runs, or the mean of a sequence. Units: octets, FCS included.
    pub(crate) frame_octets: f64,
}

/// What a script did.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Its global `results`: by length or rate.
    pub(crate) results: BTreeMap<String, f64>,
    /// What it printed.
    pub(crate) printed: String,
    /// How long it would have taken. Units: seconds.
    pub(crate) took_s: u64,
}

/// Frames sent by port 0 and received by port 1.
#[derive(Debug, Clone, Copy)]
struct Counters {
    sent: u64,
    received: u64,
}

#[derive(Debug)]
struct Pktgen {
    commands: Commands,
    wiring: Wiring,
    size_octets: f64,
    rate_percent: f64,
    sending: bool,
    real: Counters,
    /// The counters as the ports were read last, up to a second ago.
    shown: Counters,
    took_s: u64,
    printed: String,
}

/// Octets of a frame's preamble and gap.
const GAP_OCTETS: f64 = 20.0;

impl Pktgen {
    fn new(wiring: Wiring) -> Self {
        // Not zero: a script that forgets what was there before shall show.
        let before = Counters { sent: 100, received: 77 };
        Self {
            commands: Commands::read(),
            wiring,
            size_octets: wiring.frame_octets,
            rate_percent: 100.0,
            sending: false,
            real: before,
            shown: before,
            took_s: 0,
            printed: String::new(),
        }
    }

    fn second(&mut self) {
        self.shown = self.real;
        self.took_s += 1;
        if self.sending {
            let wire_bits = (self.size_octets + GAP_OCTETS) * 8.0;
            let pps = self.wiring.line_bps * self.rate_percent / 100.0 / wire_bits;
            self.real.sent += whole(pps);
            self.real.received += whole(pps.min(self.wiring.carries_pps));
        }
    }

    /// Does what a checked call says.
    fn call(&mut self, name: &str, words: &[String]) {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match (name, words.as_slice()) {
            ("pktgen.set", ["0", "size", octets]) => self.size_octets = octets.parse().unwrap(),
            ("pktgen.set", ["0", "rate", percent]) => self.rate_percent = percent.parse().unwrap(),
            ("pktgen.start", ["0"]) => self.sending = true,
            ("pktgen.stop", _) => self.sending = false,
            ("pktgen.sleep", [seconds]) => (0..seconds.parse().unwrap()).for_each(|_: u64| self.second()),
            _ => {}
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate of frames, rounded down")]
fn whole(pps: f64) -> u64 {
    pps as u64
}

fn word(value: &Value) -> Result<String> {
    if let Value::String(text) = value {
        Ok(text.to_str()?.to_owned())
    } else if let Value::Integer(number) = value {
        Ok(number.to_string())
    } else if let Value::Number(number) = value {
        Ok(number.to_string())
    } else {
        Err(Error::runtime(format!("a {} is no argument for pktgen", value.type_name())))
    }
}

/// What the call returns: by port, in the shape of the table's description.
fn answer(lua: &Lua, name: &str, words: &[String], pktgen: &Pktgen) -> Result<Value> {
    let fields = lua.create_table()?;
    match name {
        "pktgen.portStats" => {
            let (sent, received) =
                if words[0] == "0" { (pktgen.shown.sent, 0) } else { (0, pktgen.shown.received) };
            fields.set("opackets", sent)?;
            fields.set("ipackets", received)?;
        }
        "pktgen.pktStats" => {
            let latency = lua.create_table()?;
            for key in ["num_pkts", "num_skipped", "min_us", "avg_us", "max_us", "jitter_count"] {
                latency.set(key, 3)?;
            }
            fields.set("latency", latency)?;
        }
        _ => return Ok(Value::Nil),
    }
    let by_port = lua.create_table()?;
    by_port.set(words[0].parse::<i64>().map_err(Error::external)?, fields)?;
    Ok(Value::Table(by_port))
}

fn function(lua: &Lua, name: &str, pktgen: &Rc<RefCell<Pktgen>>) -> Result<Function> {
    let (name, pktgen) = (name.to_owned(), Rc::clone(pktgen));
    lua.create_function(move |lua, arguments: Variadic<Value>| {
        let words = arguments.iter().map(word).collect::<Result<Vec<_>>>()?;
        let mut pktgen = pktgen.borrow_mut();
        pktgen.commands.check_call(&name, &words).map_err(Error::runtime)?;
        pktgen.call(&name, &words);
        answer(lua, &name, &words, &pktgen)
    })
}

fn install(lua: &Lua, pktgen: &Rc<RefCell<Pktgen>>) -> Result<()> {
    let root = lua.create_table()?;
    let names: Vec<_> = pktgen.borrow().commands.names().map(str::to_owned).collect();
    for name in names {
        let mut parts: Vec<_> = name.split('.').skip(1).collect();
        let last = parts.pop().ok_or_else(|| Error::runtime("no name"))?;
        let mut table = root.clone();
        for part in parts {
            if !table.contains_key(part)? {
                table.set(part, lua.create_table()?)?;
            }
            table = table.get::<Table>(part)?;
        }
        table.set(last, function(lua, &name, pktgen)?)?;
    }
    lua.globals().set("pktgen", root)?;
    let print = Rc::clone(pktgen);
    lua.globals().set(
        "print",
        lua.create_function(move |_, line: String| {
            print.borrow_mut().printed += &format!("{line}\n");
            Ok(())
        })?,
    )
}

/// Runs a script after `settings`, which is Lua too. Errors: what Lua says, a refused call among it.
pub(crate) fn run(script: &str, settings: &str, wiring: Wiring) -> std::result::Result<Outcome, String> {
    let pktgen = Rc::new(RefCell::new(Pktgen::new(wiring)));
    let mut results = BTreeMap::new();
    let mut inside = || -> Result<()> {
        let lua = Lua::new();
        install(&lua, &pktgen)?;
        lua.load(settings).exec()?;
        lua.load(script).exec()?;
        if let Some(table) = lua.globals().get::<Option<Table>>("results")? {
            for pair in table.pairs::<String, Value>() {
                let (key, value) = pair?;
                results.insert(key, value.as_f64().unwrap_or(0.0));
            }
        }
        Ok(())
    };
    inside().map_err(|error| error.to_string())?;
    let pktgen = pktgen.borrow();
    Ok(Outcome { results, printed: pktgen.printed.clone(), took_s: pktgen.took_s })
}

/// Returns the names after `pktgen.` that stand anywhere in a script but in comments, also where no run comes by.
pub(crate) fn names(script: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in script.lines() {
        let code = line.split("--").next().unwrap_or_default();
        for (at, _) in code.match_indices("pktgen.") {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            if !code[..at].ends_with(is_part) {
                found.push(code[at..].chars().take_while(|c| is_part(*c)).collect());
            }
        }
    }
    found
}
