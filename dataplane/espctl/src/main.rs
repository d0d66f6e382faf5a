//! `espctl`: reads the command line, runs one command or a batch, and says in one line what failed.

#![forbid(unsafe_code)]

use std::borrow::Cow;
use std::process::ExitCode;

use espctl::failure::Failure;
use espctl::options::Options;
use espctl::words::Words;
use espctl::{batch, command};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("espctl: {failure}");
            failure.exit_code()
        }
    }
}

fn run() -> Result<(), Failure> {
    let options = Options::parse(std::env::args().skip(1))?;
    if options.version {
        println!("espctl {}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    if options.help || options.words.first().is_some_and(|word| word == "help") {
        print!("{HELP}");
        return Ok(());
    }
    let words: Vec<Cow<'_, str>> = options.words.iter().map(Cow::from).collect();
    if let Some(file) = &options.batch {
        Words::new(&words).end("nothing beside -batch")?;
        return batch::run(&options, file);
    }
    let command = command::parse(&mut Words::new(&words), &options)?;
    command::run(&options, command)
}

const HELP: &str = "\
Usage: espctl [ OPTIONS ] COMMAND
       espctl [ OPTIONS ] -batch { FILE | - }

Commands:
  xfrm state COMMAND    add, update, delete, deleteall, get, list, flush, count, allocspi: as ip xfrm
  xfrm policy COMMAND   add, update, delete, deleteall, get, list, flush, count: as ip xfrm
  status                each tunnel: up or down, since when, rates, trouble
  drops                 dropped packets by reason [ --all ] [ --format xfrm_stat ]
  workers               stages, ports and the packet ledger
  reload                check the engine's configuration again and apply what changed

Options:
  --runtime-dir DIR     directory of the sockets (default /run/espalier)
  --json, -j            answer in JSON
  -s                    lifetimes and counters
  -d                    slot, direction and owner
  --show-keys           show keys
  -batch FILE           one command a line; 256 changes at a time take effect together
  --help, --version

Exit codes: 0 done, 1 failed at run time, 2 wrong usage.
Example: espctl --runtime-dir /run/espalier xfrm state list
";
