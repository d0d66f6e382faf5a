//! Network namespaces and the virtual Ethernet pairs between them.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, bail};
use nix::sched::{CloneFlags, setns};

use crate::Result;

/// A named network namespace; the registry removes it.
#[derive(Debug, Clone)]
pub struct Netns {
    name: String,
}

impl Netns {
    pub(crate) fn create(name: &str) -> Result<Self> {
        run(&mut command("ip", &["netns", "add", name]))?;
        let netns = Self { name: name.to_owned() };
        netns.ip("link set lo up")?;
        // Duplicate address detection would hold every IPv6 address back for a second.
        for key in ["net.ipv6.conf.all.accept_dad", "net.ipv6.conf.default.accept_dad"] {
            netns.sysctl(key, "0")?;
        }
        for key in ["net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter"] {
            netns.sysctl(key, "0")?;
        }
        Ok(netns)
    }

    /// Returns the name as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip -n NAME` with the words of `arguments`.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        let mut words = vec!["-n", self.name.as_str()];
        words.extend(arguments.split_whitespace());
        run(&mut command("ip", &words))
    }

    /// Returns a command that runs inside the namespace.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut words = vec!["netns", "exec", self.name.as_str(), program];
        words.extend_from_slice(arguments);
        command("ip", &words)
    }

    /// Runs a program inside the namespace and returns its standard output.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        run(&mut self.command(program, arguments))
    }

    /// Sets one kernel setting of the namespace.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        self.run("sysctl", &["-qw", &format!("{key}={value}")]).map(drop)
    }

    /// Makes this namespace forward packets of both families.
    pub fn forward(&self) -> Result<()> {
        self.sysctl("net.ipv4.ip_forward", "1")?;
        self.sysctl("net.ipv6.conf.all.forwarding", "1")
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// Only for threads made for that purpose: the rest of the process stays where it is.
    pub fn enter(&self) -> Result<()> {
        let path = format!("/run/netns/{}", self.name);
        let file = File::open(&path).with_context(|| format!("open {path}"))?;
        setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {path}"))
    }

    /// Runs `job` on a thread inside the namespace and returns what it returns.
    pub fn inside<T: Send>(&self, job: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                job()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Pings `target` until `count` answers in a row came or the deadline of `ping` passed.
    pub fn ping(&self, target: &str, count: u32) -> Result<String> {
        let count = count.to_string();
        self.run("ping", &["-n", "-i", "0.2", "-c", &count, "-W", "2", "-w", "15", target])
    }
}

/// Makes a veth pair between two namespaces, both ends up and without offloads.
///
/// A sender on a veth leaves TCP checksums and segmentation to hardware that is not there; what an engine
/// then encrypts is discarded by the far host, so every pair is made without.
pub fn veth(a: &Netns, a_device: &str, b: &Netns, b_device: &str) -> Result<()> {
    run(&mut command(
        "ip",
        &[
            "link",
            "add",
            a_device,
            "netns",
            a.name(),
            "type",
            "veth",
            "peer",
            "name",
            b_device,
            "netns",
            b.name(),
        ],
    ))?;
    for (netns, device) in [(a, a_device), (b, b_device)] {
        netns.run("ethtool", &["-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off"])?;
        netns.ip(&format!("link set {device} txqueuelen 10000 up"))?;
    }
    Ok(())
}

/// Returns a command in a process group of its own, so that Ctrl-C reaches the harness alone.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    command
}

/// Runs a command to its end and returns its standard output.
///
/// Errors: it cannot start, or ends with another code than 0; the error carries what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end, whatever its exit code.
pub fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| format!("start {command:?}"))
}
