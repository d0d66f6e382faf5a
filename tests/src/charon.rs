//! Unmodified `charon-systemd` instances, one per gateway.

use std::path::PathBuf;
use std::process::Output;

use anyhow::{Context, bail};

use crate::swanctl::{self, Connection};
use crate::{Netns, Process, Result, World, binaries, netns, wait};

/// What does ESP for this charon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kernel {
    /// The bridge whose socket lies at this path, by the plugin of this repository.
    Espalier(PathBuf),
    /// strongSwan's own user-space ESP: code that is not ours.
    Libipsec,
}

/// One IKE daemon with its configuration directory and vici socket.
#[derive(Debug)]
pub struct Charon {
    label: String,
    netns: Netns,
    directory: PathBuf,
    kernel: Kernel,
    process: Option<Process>,
}

impl Charon {
    /// Writes the configuration; the daemon is not started.
    pub fn new(world: &World, netns: &Netns, label: &str, kernel: Kernel) -> Result<Self> {
        let directory = world.log_dir(label)?;
        for folder in ["swanctl", "swanctl/conf.d"] {
            std::fs::create_dir_all(directory.join(folder))?;
        }
        let charon = Self { label: label.to_owned(), netns: netns.clone(), directory, kernel, process: None };
        std::fs::write(charon.directory.join("strongswan.conf"), charon.settings())?;
        Ok(charon)
    }

    /// Writes the connections. A running daemon learns them by [`Self::load`].
    pub fn configure(&self, connections: &[Connection]) -> Result<()> {
        let path = self.directory.join("swanctl/swanctl.conf");
        std::fs::write(&path, swanctl::render(connections)).with_context(|| path.display().to_string())
    }

    /// Starts the daemon, waits until it answers, and loads the connections.
    pub fn start(&mut self, world: &World) -> Result<()> {
        let _ = std::fs::remove_file(self.vici());
        let daemon = "/usr/sbin/charon-systemd";
        let mut command = match self.kernel {
            // `env` inside the namespace keeps the plugin out of `ip` itself.
            Kernel::Espalier(_) => {
                let preload = format!("LD_PRELOAD={}", binaries::plugin()?.display());
                self.netns.command("env", &[preload.as_str(), daemon])
            }
            // It takes ESP from an ordinary socket with room for some 30 ms of it.
            Kernel::Libipsec => self.netns.command("nice", &["-n", "-15", daemon]),
        };
        command.env("STRONGSWAN_CONF", self.directory.join("strongswan.conf"));
        let mut process = Process::spawn(world, &format!("{}-charon", self.label), &mut command)?;
        wait::until(&format!("{}: charon's vici socket", self.label), wait::STEP, || {
            process.must_run()?;
            Ok(self.output(&["--stats"]).is_ok_and(|o| o.status.success()).then_some(()))
        })?;
        self.process = Some(process);
        self.load()
    }

    /// Loads the connections and secrets into the running daemon.
    pub fn load(&self) -> Result<()> {
        self.swanctl(&["--load-all", "--noprompt"]).map(drop)
    }

    /// Ends the daemon politely; it deletes its SAs.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |process| process.stop().map(drop))
    }

    /// Kills the daemon where it stands.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), Process::kill9)
    }

    /// Runs swanctl against this daemon and returns what it printed.
    ///
    /// Errors: swanctl failed; the error carries what it said.
    pub fn swanctl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.output(arguments)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let complaint: Vec<_> =
                complaint.lines().filter(|line| !line.starts_with("opening directory")).collect();
            bail!("{}: swanctl {arguments:?}: {text}{}", self.label, complaint.join("\n"));
        }
        Ok(text)
    }

    /// Brings a tunnel up.
    pub fn initiate(&self, child: &str) -> Result<String> {
        self.swanctl(&["--initiate", "--child", child, "--timeout", "15"])
    }

    /// Takes a tunnel down.
    pub fn terminate(&self, child: &str) -> Result<String> {
        self.swanctl(&["--terminate", "--child", child, "--timeout", "15"])
    }

    /// Starts a rekeying of a CHILD_SA and waits until the new SA carries the SPIs `swanctl` shows.
    pub fn rekey_child(&self, child: &str) -> Result<()> {
        let before = self.inbound_spis(child)?;
        self.swanctl(&["--rekey", "--child", child])?;
        wait::until(&format!("{}: rekeying of {child}", self.label), wait::STEP, || {
            let now = self.inbound_spis(child)?;
            Ok(now.iter().any(|spi| !before.contains(spi)).then_some(()))
        })
    }

    /// Rekeys an IKE_SA and waits until its SPIs have changed.
    pub fn rekey_ike(&self, connection: &str) -> Result<()> {
        let before = self.values("initiator-spi")?;
        self.swanctl(&["--rekey", "--ike", connection])?;
        wait::until(&format!("{}: rekeying of {connection}", self.label), wait::STEP, || {
            let now = self.values("initiator-spi")?;
            Ok((!now.is_empty() && now.iter().all(|spi| !before.contains(spi))).then_some(()))
        })
    }

    /// Returns the inbound SPIs of the installed SAs of a child, as swanctl prints them.
    pub fn inbound_spis(&self, child: &str) -> Result<Vec<String>> {
        let raw = self.swanctl(&["--list-sas", "--child", child, "--raw"])?;
        Ok(values_of(&raw, "spi-in"))
    }

    /// Returns all values of one key in the raw list of SAs.
    pub fn values(&self, key: &str) -> Result<Vec<String>> {
        Ok(values_of(&self.swanctl(&["--list-sas", "--raw"])?, key))
    }

    /// Returns what the daemon has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("ike.log")).unwrap_or_default()
    }

    fn vici(&self) -> PathBuf {
        self.directory.join("vici")
    }

    fn output(&self, arguments: &[&str]) -> Result<Output> {
        let uri = format!("unix://{}", self.vici().display());
        let mut words = arguments.to_vec();
        words.extend(["--uri", uri.as_str()]);
        let mut command = netns::command("swanctl", &words);
        netns::output(command.env("SWANCTL_DIR", self.directory.join("swanctl")))
    }

    fn settings(&self) -> String {
        let directory = self.directory.display();
        let kernel = match &self.kernel {
            Kernel::Espalier(socket) => format!(
                "kernel-espalier {{\n      load = 10\n      socket = {}\n    }}\n    \
                 kernel-libipsec {{\n      load = no\n    }}",
                socket.display()
            ),
            Kernel::Libipsec => "kernel-libipsec {\n      load = yes\n    }".to_owned(),
        };
        let loaded: String =
            LOADED.iter().map(|plugin| format!("    {plugin} {{\n      load = yes\n    }}\n")).collect();
        format!(
            "charon {{\n  load_modular = yes\n  install_virtual_ip = no\n  retransmit_tries = 4\n  \
             retransmit_timeout = 1\n  retransmit_base = 1.3\n  plugins {{\n{loaded}    {kernel}\n    \
             vici {{\n      load = yes\n      socket = unix://{}\n    }}\n  }}\n  \
             filelog {{\n    log {{\n      path = {directory}/ike.log\n      default = 1\n      knl = 2\n      \
             chd = 2\n      time_format = %H:%M:%S\n      time_add_ms = yes\n      flush_line = yes\n    }}\n  \
             }}\n}}\n",
            self.vici().display()
        )
    }
}

/// Plugins of every instance, apart from the one that does ESP.
const LOADED: [&str; 14] = [
    "aes",
    "sha1",
    "sha2",
    "random",
    "nonce",
    "hmac",
    "kdf",
    "gcm",
    "openssl",
    "drbg",
    "aesni",
    "kernel-netlink",
    "socket-default",
    "updown",
];

fn values_of(raw: &str, key: &str) -> Vec<String> {
    let wanted = format!("{key}=");
    raw.split(|c: char| c.is_whitespace() || c == '{' || c == '}' || c == '[' || c == ']')
        .filter_map(|word| word.strip_prefix(&wanted))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spis_are_read_out_of_the_raw_list() {
        let raw =
            "list-sa event {ab {uniqueid=1 child-sas {net-1 {name=net spi-in=c3591640 spi-out=b78a7312}}}}";
        assert_eq!(values_of(raw, "spi-in"), ["c3591640"]);
    }
}
