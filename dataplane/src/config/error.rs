//! What can be wrong with a configuration file: always one line that names the place, the key, the fault and the remedy.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("{}: cannot be read: {cause}; name an existing file after --config", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A key or its value is wrong.
    #[error("{}:{line}: {key}: {problem}", file.display())]
    Wrong {
        /// The file.
        file: PathBuf,
        /// Line of the value, counted from 1.
        line: usize,
        /// The key with its section, as `engine.workers`.
        key: Box<str>,
        /// What is wrong and what to do.
        problem: Problem,
    },
}

impl Error {
    /// Makes the error for the octet `offset` of `text`; the key is read from the text itself.
    pub(crate) fn at(file: &Path, text: &str, offset: usize, problem: Problem) -> Self {
        let (line, key) = locate(text, offset);
        Self::Wrong { file: file.to_owned(), line, key: key.into(), problem }
    }
}

/// The fault and its remedy.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not TOML, an unknown or missing key, or a value of the wrong type.
    #[error("{message}{}", remedy(message))]
    Syntax {
        /// What the TOML reader said.
        message: Box<str>,
    },
    /// `runtime_dir` is relative or too long for a socket's name.
    #[error("not an absolute path of at most {max_octets} octets; write one as \"/run/espalier\"")]
    RuntimeDir {
        /// Longest path in octets.
        max_octets: usize,
    },
    /// A list that needs an entry has none.
    #[error("empty; give at least one {of}")]
    Empty {
        /// What is missing.
        of: &'static str,
    },
    /// A CPU this process cannot run on.
    #[error("CPU {cpu} does not exist or is not open to this process; choose from {available}")]
    NoSuchCpu {
        /// The CPU asked for.
        cpu: i64,
        /// CPUs that can be used.
        available: CpuList,
    },
    /// Something stands twice.
    #[error("{what} {value} stands twice; remove one or change it")]
    Twice {
        /// Kind of thing.
        what: &'static str,
        /// The value.
        value: Box<str>,
    },
    /// A number outside its range.
    #[error("{value} is outside {min}..{max} {unit}; choose a value inside")]
    Range {
        /// Value found.
        value: i64,
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
        /// Unit.
        unit: &'static str,
    },
    /// One of a few words was expected.
    #[error("\"{value}\" is not known; write {choices}")]
    Choice {
        /// Value found.
        value: Box<str>,
        /// The words.
        choices: &'static str,
    },
    /// Not a name the kernel takes for a network device.
    #[error("\"{value}\" cannot name a network device; use 1 to 15 letters, digits, '-', '_' or '.'")]
    Name {
        /// Value found.
        value: Box<str>,
    },
    /// Neither DPDK devargs nor a PCI address.
    #[error(
        "\"{value}\" is no DPDK device; write devargs as \"net_af_packet0,iface=veth0\" or a PCI address as \"0000:3b:00.0\""
    )]
    Device {
        /// Value found.
        value: Box<str>,
    },
    /// The TAP of a port would need the name of a kernel device that is in use as a port.
    #[error(
        "\"{value}\" is the kernel device behind a port, and the port's TAP needs a name of its own; rename one"
    )]
    NameOfKernelDevice {
        /// The name.
        value: Box<str>,
    },
    /// Not an address with prefix length.
    #[error("\"{value}\" is no address with a prefix length; write one as {example}")]
    Prefix {
        /// Value found.
        value: Box<str>,
        /// A right one.
        example: &'static str,
    },
    /// A route's destination has bits behind its prefix.
    #[error("{value} has bits set behind its prefix; write {network}")]
    HostBits {
        /// Value found.
        value: Box<str>,
        /// The network it lies in.
        network: Box<str>,
    },
    /// Not a usable address.
    #[error("\"{value}\" is no unicast IP address; write one as \"192.0.2.2\" or \"2001:db8::2\"")]
    Address {
        /// Value found.
        value: Box<str>,
    },
    /// Not an Ethernet address of one station.
    #[error("\"{value}\" is no unicast Ethernet address; write one as \"02:00:00:00:00:02\"")]
    Mac {
        /// Value found.
        value: Box<str>,
    },
    /// Not an `if_id`.
    #[error("\"{value}\" is no if_id; write a number from 1 to 4294967295, or in hex as \"0x1\"")]
    IfId {
        /// Value found.
        value: Box<str>,
    },
    /// No such port or interface.
    #[error("no [[port]]{} is named \"{value}\"; name one that the file has", if *interfaces { " or [[interface]]" } else { "" })]
    NoSuchDevice {
        /// Name found.
        value: Box<str>,
        /// Whether an interface would do, too.
        interfaces: bool,
    },
    /// `via` with a tunnel interface.
    #[error("an [[interface]] has no next hop; remove the key")]
    ViaOnInterface,
    /// A route out of a port without next hop that is not on its link.
    #[error("a route out of a port needs a next hop; add via = \"ADDRESS\"")]
    ViaMissing,
    /// Next hop and destination of different families.
    #[error("{value} is of another address family than the route; give a next hop of the same family")]
    ViaFamily {
        /// The next hop.
        value: Box<str>,
    },
    /// A next hop no address of the port reaches.
    #[error(
        "{value} is not on the link of port \"{port}\"; add an address of its network to the port or correct it"
    )]
    ViaNotOnLink {
        /// The next hop.
        value: Box<str>,
        /// The port.
        port: Box<str>,
    },
    /// IPv6 with an MTU that IPv6 does not allow.
    #[error("{mtu} octets are too few for the IPv6 addresses of the port; use 1280 or more")]
    MtuForIpv6 {
        /// The MTU.
        mtu: u16,
    },
    /// Not an address to listen on.
    #[error("\"{value}\" is no address with a port; write one as \"127.0.0.1:9111\"")]
    Listen {
        /// Value found.
        value: Box<str>,
    },
}

/// A set of CPUs, shown as the kernel shows it: `0-3,8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(pub Vec<u16>);

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let mut rest = sorted.into_iter().peekable();
        let mut comma = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| *next == last + 1) {
                last = next;
            }
            write!(f, "{comma}{first}")?;
            if last > first {
                write!(f, "-{last}")?;
            }
            comma = ",";
        }
        Ok(())
    }
}

fn remedy(message: &str) -> &'static str {
    if message.starts_with("unknown field") {
        "; remove or correct it"
    } else if message.starts_with("missing field") {
        "; add it"
    } else {
        "; correct it"
    }
}

/// Finds the line of an octet and the key it belongs to, with the section above it.
fn locate(text: &str, offset: usize) -> (usize, String) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let upto: Vec<&str> = text.lines().take(line).collect();
    let section = |line: &str| line.trim().starts_with('[') && !line.contains('=');
    let mut key = None;
    for (back, content) in upto.iter().rev().enumerate() {
        if section(content) {
            let name = content.split('#').next().unwrap_or("").trim().trim_matches(['[', ']']);
            return (line, key.map_or_else(|| name.to_owned(), |key| format!("{name}.{key}")));
        }
        if key.is_none() && (back == 0 || content.contains('=')) {
            key = content.split_once('=').map(|(key, _)| key.trim().to_owned());
        }
    }
    (line, key.unwrap_or_else(|| "file".to_owned()))
}
