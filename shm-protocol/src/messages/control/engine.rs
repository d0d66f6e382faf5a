//! `espctl status`, `drops`, `workers` and `reload`: to and from the engine's service thread.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Cursor;
use crate::codec::{MAX_REPLY_OCTETS, Message};
use crate::ids::{Generation, IfId, Spi};
use crate::sa::Direction;

/// A request of `espctl` to the engine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum EngineRequest {
    /// A page of tunnels.
    Status {
        /// Where the page begins.
        cursor: Cursor,
    },
    /// A page of drop reasons.
    Drops {
        /// Where the page begins.
        cursor: Cursor,
        /// Also those that never happened.
        all: bool,
    },
    /// A page of workers, with ports and the ledger.
    Workers {
        /// Where the page begins.
        cursor: Cursor,
    },
    /// A page of ports.
    Ports {
        /// Where the page begins.
        cursor: Cursor,
    },
    /// Reads the configuration again and applies what changed.
    Reload,
}

impl Message for EngineRequest {
    const MAGIC: u32 = u32::from_le_bytes(*b"ESPS");
    const MAX_OCTETS: usize = MAX_REPLY_OCTETS;
}

/// The engine's answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum EngineReply {
    /// A page of tunnels.
    Status(Box<StatusPage>),
    /// A page of drop reasons.
    Drops {
        /// The lines.
        page: Vec<DropLine>,
        /// Sum over all reasons.
        total: u64,
        /// Where the next page begins, if there is one.
        next: Option<Cursor>,
    },
    /// A page of workers.
    Workers {
        /// The lines.
        page: Vec<WorkerLine>,
        /// Sums over all workers and ports.
        ledger: Ledger,
        /// Where the next page begins, if there is one.
        next: Option<Cursor>,
    },
    /// A page of ports.
    Ports {
        /// The lines.
        page: Vec<PortLine>,
        /// Where the next page begins, if there is one.
        next: Option<Cursor>,
    },
    /// The configuration is in force.
    Reloaded {
        /// What changed, one sentence each.
        changed: Vec<String>,
    },
    /// The configuration needs a restart for some keys; nothing was changed.
    NeedsRestart {
        /// The keys.
        keys: Vec<String>,
    },
    /// The request failed; nothing was changed.
    Failed {
        /// What and why, with file and line if it is about the configuration.
        sentence: String,
    },
}

impl Message for EngineReply {
    const MAGIC: u32 = u32::from_le_bytes(*b"ESPs");
    const MAX_OCTETS: usize = MAX_REPLY_OCTETS;
}

/// Head of the screen and a page of tunnels.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StatusPage {
    /// Release of the engine.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Units: seconds.
    pub uptime_seconds: u64,
    /// What the engine says of its AEAD, in one line.
    pub crypto: String,
    /// Generation in use by every worker.
    pub generation: Generation,
    /// SAs in use.
    pub sas: u32,
    /// Policies in use.
    pub policies: u32,
    /// The bridge is connected.
    pub bridge_connected: bool,
    /// What is wrong with the gateway as a whole, in words; empty if nothing is.
    pub trouble: String,
    /// Sums over all workers and ports.
    pub ledger: Ledger,
    /// The tunnels.
    pub tunnels: Vec<TunnelLine>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

/// Whether a tunnel carries traffic.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum TunnelState {
    /// It has an SA each way.
    Up,
    /// It has an SA one way only.
    Half,
    /// It has none.
    Down,
}

/// One tunnel: an if_id and a peer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TunnelLine {
    /// Interface id; 0 is the policy-based VPN.
    pub if_id: IfId,
    /// Name of its interface; empty if it has none.
    pub name: String,
    /// Outer address of the peer, if known.
    pub peer: Option<IpAddr>,
    /// UDP port of the peer when encapsulated.
    pub peer_port: Option<u16>,
    /// Our outer address, if known.
    pub local: Option<IpAddr>,
    /// Whether it carries traffic.
    pub state: TunnelState,
    /// Units: seconds since it came up or went down.
    pub since_seconds: u64,
    /// Units: seconds since the last authenticated packet; absent if there was none.
    pub last_packet_ago_seconds: Option<u64>,
    /// Octets opened since the engine's segment was made, rekeys included.
    pub in_octets: u64,
    /// Packets opened.
    pub in_packets: u64,
    /// Octets sealed.
    pub out_octets: u64,
    /// Packets sealed.
    pub out_packets: u64,
    /// Units: bits per second, over the last seconds.
    pub in_bits_per_second: u64,
    /// Units: packets per second.
    pub in_packets_per_second: u64,
    /// Units: bits per second.
    pub out_bits_per_second: u64,
    /// Units: packets per second.
    pub out_packets_per_second: u64,
    /// Largest inner packet. Units: octets.
    pub mtu_octets: Option<u16>,
    /// Its SAs, the first few.
    pub sas: Vec<SaLine>,
    /// How many SAs it has.
    pub sa_count: u32,
    /// Packets dropped under it.
    pub drops: u64,
    /// What is wrong, in words with the next command; empty if nothing is.
    pub trouble: String,
}

/// One SA of a tunnel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SaLine {
    /// SPI.
    pub spi: Spi,
    /// Which way it carries packets.
    pub direction: Direction,
    /// Transform, as a word.
    pub algorithm: String,
    /// Units: packets.
    pub packets: u64,
    /// Units: octets.
    pub octets: u64,
    /// Number last taken, or top of the window.
    pub seq: u64,
    /// Units: seconds since it was installed.
    pub age_seconds: u64,
    /// Units: seconds until its hard end; absent if it has none.
    pub expires_in_seconds: Option<u64>,
}

/// One drop reason.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DropLine {
    /// Name of the reason.
    pub name: String,
    /// How many packets.
    pub packets: u64,
    /// What it means, in one sentence.
    pub sentence: String,
    /// RFC and section.
    pub rfc: String,
    /// How bad it is: `info`, `warning`, `error`.
    pub severity: String,
    /// The name in `/proc/net/xfrm_stat`; empty if Linux has none.
    pub xfrm_stat: String,
    /// Packets by worker, in the workers' order.
    pub by_worker: Vec<u64>,
}

/// One worker.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkerLine {
    /// Index.
    pub worker: u16,
    /// CPU it is pinned to.
    pub cpu: u32,
    /// Units: parts of 1000 of its time in which it had packets.
    pub busy_permille: u16,
    /// Its stages, in the order a packet meets them.
    pub stages: Vec<StageLine>,
    /// Its part of the ledger.
    pub ledger: Ledger,
}

/// One stage of a worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StageLine {
    /// Name of the stage.
    pub name: String,
    /// How often it ran.
    pub calls: u64,
    /// Packets it was given.
    pub packets: u64,
    /// Cycles it took.
    pub cycles: u64,
}

/// received + host_made = sent + punted + drops, exactly, when nothing is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Packets taken from ports.
    pub received: u64,
    /// Packets taken from the host or made by the engine.
    pub host_made: u64,
    /// Those of `host_made` that the engine made itself (ICMP, ARP, further fragments).
    pub engine_made: u64,
    /// Packets given to ports.
    pub sent: u64,
    /// Packets given to the host.
    pub punted: u64,
    /// Packets dropped, all reasons.
    pub drops: u64,
}

/// One port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PortLine {
    /// Name.
    pub name: String,
    /// Its device.
    pub device: String,
    /// The link is up.
    pub link_up: bool,
    /// How packets are divided over its receive queues, in words; empty where the driver does not say.
    pub steering: String,
    /// Its part of the ledger.
    pub ledger: Ledger,
    /// Octets received.
    pub received_octets: u64,
    /// Octets sent.
    pub sent_octets: u64,
    /// Packets the device itself lost before we saw them.
    pub device_missed: u64,
    /// Errors the device counted.
    pub device_errors: u64,
}
