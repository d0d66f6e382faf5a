//! `ike-bridge`: reads the command line, takes the runtime directory for itself and serves.

#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use ike_bridge::bridge::Bridge;
use ike_bridge::cli::Options;
use ike_bridge::server::Server;
use shm_protocol::lock::{Service, ServiceLock};
use shm_protocol::place::RuntimeDir;
use shm_protocol::sad::SadReader;

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    let done = if options.check { check(&options) } else { serve(&options) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ike-bridge: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Options) -> anyhow::Result<()> {
    // A core file or a debugger of the same user would hold keys.
    nix::sys::prctl::set_dumpable(false).context("prctl")?;
    let dir = RuntimeDir::prepare(&options.runtime_dir)?;
    let _alone = ServiceLock::acquire(&dir, Service::Bridge)?;
    let grace = Duration::from_secs(options.grace.into());
    let bridge = Bridge::open(&options.runtime_dir, options.capacity, grace)?;
    let (sas, policies) = bridge.counts();
    let socket = options.runtime_dir.join("bridge.sock");
    let mut server = Server::open(bridge, socket.clone()).with_context(|| format!("{}", socket.display()))?;
    tracing::info!("serves {} with {sas} SAs and {policies} policies", options.runtime_dir.display());
    server.run().context("poll loop")
}

fn check(options: &Options) -> anyhow::Result<()> {
    if !options.runtime_dir.exists() {
        println!("{}: will be made", options.runtime_dir.display());
        return Ok(());
    }
    let dir = RuntimeDir::open(&options.runtime_dir)?;
    match SadReader::attach(&dir) {
        Ok(sad) => {
            let found = sad.occupancy();
            println!("{}: {} SAs, {} policies", options.runtime_dir.display(), found.sas, found.policies);
            Ok(())
        }
        Err(shm_protocol::Error::Missing { .. } | shm_protocol::Error::OtherBoot { .. }) => {
            println!("{}: empty", options.runtime_dir.display());
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}
