//! `espalier`: reads the configuration, runs the engine, stops it on a signal.
//!
//! Exit codes: 0 done, 1 failed at run time, 2 wrong usage or configuration.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use dataplane::config::Config;
use dataplane::start::{Engine, Error, Options};
use nix::sys::signal::{SigSet, Signal};

/// The poll-mode engine of the Espalier IPsec gateway.
#[derive(Debug, Parser)]
#[command(
    name = "espalier",
    version = version(),
    after_help = "Example:\n  espalier --config /etc/espalier/gateway.toml --check\n  espalier --config /etc/espalier/gateway.toml -- --log-level=lib.eal:info\n\n\
                  Signals: SIGHUP reads the configuration again, SIGTERM and SIGINT stop.\n\
                  ESPALIER_LOG sets what is logged: error, warn, info (default), debug."
)]
struct Arguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration, print "ok" and exit
    #[arg(long)]
    check: bool,
    /// Arguments for DPDK's environment abstraction layer, after --
    #[arg(last = true, value_name = "EAL ARGS")]
    eal: Vec<OsString>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("espalier: {error}");
            return ExitCode::from(WRONG_CONFIGURATION);
        }
    };
    if arguments.check {
        println!("ok");
        return ExitCode::SUCCESS;
    }
    log_to_stderr();
    match run(Options { file: arguments.config, config, eal: arguments.eal }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("espalier: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Error> {
    // Blocked before any thread is made, so that every thread leaves them to this one.
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    signals.thread_block().map_err(Error::Control)?;
    // A worker that has lost its way must not leave others sending: the process ends, and `live` lets the next go on.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    let engine = Engine::start(options)?;
    tracing::info!("running");
    let wake = engine.wake();
    loop {
        match signals.wait() {
            Ok(Signal::SIGHUP) => wake.reload(),
            Ok(signal) => {
                tracing::info!("{signal}: stopping");
                return engine.stop();
            }
            Err(_) => {}
        }
    }
}

fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ESPALIER_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}

fn version() -> &'static str {
    static VERSION: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    VERSION.get_or_init(|| format!("{} ({})", env!("CARGO_PKG_VERSION"), dpdk::version()))
}

const WRONG_CONFIGURATION: u8 = 2;
