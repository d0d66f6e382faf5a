//! The command line of `ike-bridge`.

use std::path::PathBuf;

use clap::Parser;

/// The bridge between IKE daemons and the packet engine espalier.
///
/// Example: ike-bridge --runtime-dir /run/espalier
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 failed at run time, 2 wrong usage.\n\
    Logging: RUST_LOG=debug shows every request; keys are never shown."
)]
pub struct Options {
    /// Directory of the segments and sockets; on tmpfs, or a private tmpfs is mounted there.
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: PathBuf,
    /// SAs and reserved SPIs that are admitted; twice as many policies.
    #[arg(long, value_name = "N", default_value_t = 16_384,
          value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub capacity: u32,
    /// Time that SAs of an IKE daemon's earlier process stay without inbound traffic.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub grace: u32,
    /// Checks the command line and the runtime directory, and ends.
    #[arg(long)]
    pub check: bool,
}
