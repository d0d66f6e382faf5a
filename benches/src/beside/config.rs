//! What ipsec-secgw is told: its configuration file and its command line, for the tunnels that the engine has.

use std::fmt::{self, Write as _};
use std::path::Path;

use anyhow::bail;
use esp::aead::Algorithm;

use crate::Result;
use crate::peers::{NEIGHBOR, OURS, OUTER, OWN};
use crate::rows::{Direction, Row};
use crate::toml::Keys;

/// How it calls its crypto device. Which one is faster depends on the machine and on the number of SAs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Operations are queued to the device and taken back: its default.
    Lookaside,
    /// The packets of an SA are sealed in one call.
    CpuCrypto,
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Lookaside, Self::CpuCrypto];

    /// Returns the word of its configuration file; also the name of a process.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lookaside => "no-offload",
            Self::CpuCrypto => "cpu-crypto",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where its packets come from and go to.
#[derive(Clone, Copy, Debug)]
pub struct Ports<'a> {
    /// Device of the protected side, port 0.
    pub source: &'a str,
    /// Device of the unprotected side, port 1.
    pub sink: &'a str,
}

/// Refuses what it, or the harness between its two devices, cannot do.
///
/// # Errors
/// The row, in a sentence.
pub fn check(row: Row) -> Result<()> {
    if row.direction() == Direction::Inbound {
        bail!(
            "{row}: a file that is played again serves no replay window; inbound rows have no harness here"
        );
    }
    if row.sas() > MOST_SAS {
        bail!("{row}: ipsec-secgw is measured with {MOST_SAS} SAs at most");
    }
    Ok(())
}

/// Writes its configuration file: a policy and an SA of each peer both ways, routes, neighbors.
#[must_use]
pub fn text(keys: &Keys, algorithm: Algorithm, mode: Mode) -> String {
    let peers = keys.peers;
    let aead = match algorithm {
        Algorithm::Aes128Gcm16 => "aes-128-gcm",
        Algorithm::Aes192Gcm16 => "aes-192-gcm",
        Algorithm::Aes256Gcm16 => "aes-256-gcm",
    };
    let mut text = String::new();
    let ports = "sport 0:65535 dport 0:65535";
    let (ours, ours_bits) = OURS;
    for (peer, (out_key, in_key)) in (0..).zip(keys.hex.iter().zip(&keys.inbound_hex)) {
        let (spi, in_spi, outer) = (peers.spi(peer), peers.inbound_spi(peer), peers.outer(peer));
        let (theirs, bits) = peers.network(peer);
        let sa = |direction, spi, key: &str, src, dst| {
            let key = colons(key);
            format!(
                "sa {direction} {spi} aead_algo {aead} aead_key {key} mode ipv4-tunnel src {src} dst {dst} type {mode}"
            )
        };
        let _ = writeln!(text, "sp ipv4 out esp protect {spi} pri 1 dst {theirs}/{bits} {ports}");
        let _ = writeln!(
            text,
            "sp ipv4 in esp protect {in_spi} pri 1 src {theirs}/{bits} dst {ours}/{ours_bits} {ports}"
        );
        let _ = writeln!(text, "{}", sa("out", spi, out_key, OWN, outer));
        let _ = writeln!(text, "{}", sa("in", in_spi, in_key, outer, OWN));
    }
    let (outer, outer_bits) = if peers.count == 1 { (NEIGHBOR, 32) } else { OUTER };
    let _ = writeln!(text, "rt ipv4 dst {outer}/{outer_bits} port 1\nrt ipv4 dst {ours}/{ours_bits} port 0");
    let _ = writeln!(text, "neigh port 0 02:00:00:00:00:01\nneigh port 1 02:00:00:00:00:02");
    text
}

/// Returns its command line. `prefix` names its runtime folder and `cpu` runs its only worker, its main thread.
///
/// `-l -e`: librte_ipsec with ESN. Not `-a`, which takes numbers by locked instructions: one worker needs none. No `-w`, which
/// is for inbound. Its own number of buffers, which is the least: 8 512, of which the source keeps each packet of its file in one.
#[must_use]
pub fn arguments(prefix: &str, cpu: usize, ports: Ports<'_>, config: &Path) -> Vec<String> {
    let Ports { source, sink } = ports;
    let (cpu_text, queues) = (cpu.to_string(), format!("--config=(0,0,{cpu}),(1,0,{cpu})"));
    let config = config.display().to_string();
    // In memory: no mount for huge pages, no files beside the socket of its telemetry.
    let dpdk = ["--no-pci", "--in-memory", "-l", &cpu_text, "--file-prefix", prefix];
    let devices = ["--vdev", source, "--vdev", sink, "--vdev", "crypto_aesni_gcm0"];
    let own = ["--", "-p", "0x3", "-P", "-u", "0x2", &queues, "-f", &config, "-l", "-e"];
    [&dpdk[..], &devices, &own].concat().into_iter().map(str::to_owned).collect()
}

/// Puts a colon between octets.
fn colons(hex: &str) -> String {
    let digits = hex.as_bytes().chunks(2).map(String::from_utf8_lossy);
    digits.collect::<Vec<_>>().join(":")
}

/// The rows beyond have 100 000: its policies are one rte_acl, which is built whole, and its buffers do not hold their packets.
const MOST_SAS: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Peers;

    fn keys(count: u32) -> Keys {
        Keys::random(Peers { count }, Algorithm::Aes128Gcm16).unwrap()
    }

    #[test]
    fn the_file_has_a_policy_and_an_sa_both_ways_for_each_peer() {
        let keys = keys(3);
        let text = text(&keys, Algorithm::Aes128Gcm16, Mode::CpuCrypto);
        let having = |start: &str| text.lines().filter(|line| line.starts_with(start)).collect::<Vec<_>>();
        for start in ["sp ipv4 out esp protect ", "sp ipv4 in esp protect ", "sa out ", "sa in "] {
            assert_eq!(having(start).len(), 3, "{start}");
        }
        let key = colons(&keys.hex[2]);
        assert_eq!(key.split(':').count(), 20);
        assert_eq!(
            having("sa out ")[2],
            format!(
                "sa out 1048579 aead_algo aes-128-gcm aead_key {key} mode ipv4-tunnel src 192.0.2.1 dst 198.18.0.3 type cpu-crypto"
            )
        );
        assert!(having("sp ipv4 out esp protect 1048579 ")[0].contains(" dst 10.128.0.3/32 "));
        assert!(text.contains("rt ipv4 dst 198.18.0.0/15 port 1\n"));
    }

    #[test]
    fn one_peer_is_reached_as_the_neighbor_it_is() {
        let text = text(&keys(1), Algorithm::Aes128Gcm16, Mode::Lookaside);
        assert!(text.contains("rt ipv4 dst 192.0.2.2/32 port 1\n"));
        assert!(text.contains("neigh port 1 02:00:00:00:00:02\n"));
        assert!(text.contains(" dst 10.2.0.0/16 sport ") && text.contains(" type no-offload\n"));
    }

    #[test]
    fn the_command_line_has_both_ports_on_one_cpu_and_numbers_of_64_bits() {
        let ports = Ports { source: "net_pcap0,rx_pcap=a", sink: "net_null0,no-rx=1" };
        let words = arguments("x", 3, ports, Path::new("c.cfg"));
        let line = words.join(" ");
        assert!(
            line.contains("--vdev net_pcap0,rx_pcap=a --vdev net_null0,no-rx=1 --vdev crypto_aesni_gcm0 -- ")
        );
        assert!(line.ends_with("-u 0x2 --config=(0,0,3),(1,0,3) -f c.cfg -l -e"));
    }

    #[test]
    fn only_outbound_rows_with_few_sas_are_measured() {
        let measured: Vec<_> = Row::ALL.into_iter().filter(|row| check(*row).is_ok()).collect();
        assert_eq!(measured, [Row::Out1, Row::Out1Aes256, Row::Out1000]);
    }
}
