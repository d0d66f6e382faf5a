//! The gateway under test: its configuration file and its keys, on the path an operator takes.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context;
use esp::aead::{Algorithm, SALT_OCTETS};

use crate::Result;
use crate::peers::{NEIGHBOR, OURS, OUTER, OWN, Peers};

/// What is in the configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The CPU of the only worker.
    pub cpu: usize,
    /// Packets come in by this device.
    pub source: &'a str,
    /// Packets leave by this device.
    pub sink: &'a str,
    /// Who the tunnels lead to.
    pub peers: Peers,
    /// Packet buffers, where the engine's own number is too small for the source.
    pub buffers: Option<u32>,
}

impl Setup<'_> {
    /// Writes the file.
    #[must_use]
    pub fn render(&self, runtime_dir: &Path) -> String {
        let (dir, Self { cpu, source, sink, peers, buffers }) = (runtime_dir.display(), self);
        let buffers = buffers.map(|buffers| format!("buffers     = {buffers}\n")).unwrap_or_default();
        let (network, bits) = peers.networks();
        let (outer, outer_bits) = OUTER;
        format!(
            r#"[engine]
runtime_dir = "{dir}"
workers     = [{cpu}]
hugepages   = true
netdevs     = false
{buffers}
[[port]]
name      = "lan"
device    = "{source}"
addresses = ["10.1.0.1/16"]

[[port]]
name      = "wan"
device    = "{sink}"
addresses = ["{OWN}/24"]

[[interface]]
name  = "ipsec1"
if_id = 1

[[neighbor]]
port = "wan"
ip   = "{NEIGHBOR}"
mac  = "02:00:00:00:00:02"

[[route]]
to  = "{network}/{bits}"
dev = "ipsec1"

[[route]]
to  = "{outer}/{outer_bits}"
via = "{NEIGHBOR}"
dev = "wan"
"#
        )
    }
}

/// Pairs of SAs: AES-GCM, ESN, keys of their own for each peer and every run.
#[derive(Clone)]
pub struct Keys {
    /// Whose they are.
    pub peers: Peers,
    /// Cipher key and salt of each outbound SA, in hexadecimal digits.
    pub hex: Vec<String>,
    /// Those of each inbound SA.
    pub inbound_hex: Vec<String>,
    /// Number last taken.
    pub seq: u64,
    /// An SA ends after so many packets.
    pub packets: Option<u64>,
}

impl Keys {
    /// Makes random keys.
    ///
    /// # Errors
    /// What the system says.
    pub fn random(peers: Peers, algorithm: Algorithm) -> Result<Self> {
        let keying_octets = algorithm.key_octets() + SALT_OCTETS;
        let mut octets = vec![0_u8; 2 * keying_octets * peers.count as usize];
        std::fs::File::open(RANDOM)?.read_exact(&mut octets).context(RANDOM)?;
        let (outbound, inbound) = octets.split_at(octets.len() / 2);
        let keys = |octets: &[u8]| octets.chunks_exact(keying_octets).map(hex).collect();
        Ok(Self { peers, hex: keys(outbound), inbound_hex: keys(inbound), seq: 0, packets: None })
    }

    /// Returns the lines for `espctl -batch`: SAs with lifetimes, and policies of each peer in every direction.
    #[must_use]
    pub fn batch(&self) -> String {
        let mut lines = String::new();
        // Inbound first: their SPIs name their places in the SAD, the others take any.
        for (peer, key) in (0..).zip(&self.inbound_hex) {
            self.inbound(&mut lines, peer, key);
        }
        for (peer, key) in (0..).zip(&self.hex) {
            self.outbound(&mut lines, peer, key);
        }
        for peer in 0..self.peers.count {
            self.policies(&mut lines, peer);
        }
        lines
    }

    fn inbound(&self, lines: &mut String, peer: u32, key: &str) {
        let (src, spi, reqid) =
            (self.peers.outer(peer), self.peers.inbound_spi(peer), self.peers.reqid(peer));
        let _ = writeln!(
            lines,
            "xfrm state add src {src} dst {OWN} proto esp spi {spi:#x} reqid {reqid} mode tunnel \
             replay-window 1024 aead rfc4106(gcm(aes)) 0x{key} 128 dir in flag esn if_id 0x1 \
             limit time-soft 3000 limit time-hard 3600"
        );
    }

    fn outbound(&self, lines: &mut String, peer: u32, key: &str) {
        let Self { peers, seq, packets, .. } = self;
        let (dst, spi, reqid) = (peers.outer(peer), peers.spi(peer), peers.reqid(peer));
        let limit = packets.map(|packets| format!(" limit packet-hard {packets}")).unwrap_or_default();
        let _ = writeln!(
            lines,
            "xfrm state add src {OWN} dst {dst} proto esp spi {spi:#x} reqid {reqid} mode tunnel \
             replay-window 0 aead rfc4106(gcm(aes)) 0x{key} 128 dir out flag esn \
             replay-oseq {:#x} replay-oseq-hi {:#x} if_id 0x1 limit time-soft 3000 limit time-hard 3600{limit}",
            seq & 0xffff_ffff,
            seq >> 32,
        );
    }

    fn policies(&self, lines: &mut String, peer: u32) {
        let (outer, reqid) = (self.peers.outer(peer), self.peers.reqid(peer));
        let network = |(address, bits)| format!("{address}/{bits}");
        let (ours, theirs) = (network(OURS), network(self.peers.network(peer)));
        for (direction, src, dst, from, to) in [
            ("out", &ours, &theirs, OWN, outer),
            ("in", &theirs, &ours, outer, OWN),
            ("fwd", &theirs, &ours, outer, OWN),
        ] {
            let _ = writeln!(
                lines,
                "xfrm policy add src {src} dst {dst} dir {direction} if_id 0x1 \
                 tmpl src {from} dst {to} proto esp reqid {reqid} mode tunnel"
            );
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        let _ = write!(text, "{octet:02x}");
        text
    })
}

const RANDOM: &str = "/dev/urandom";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_a_pair_of_sas_with_keys_of_their_own_and_three_policies() {
        let keys = Keys::random(Peers { count: 3 }, Algorithm::Aes256Gcm16).unwrap();
        let batch = keys.batch();
        let lines: Vec<_> = batch.lines().collect();
        assert_eq!(lines.iter().filter(|line| line.starts_with("xfrm state add ")).count(), 6);
        assert_eq!(lines.iter().filter(|line| line.starts_with("xfrm policy add ")).count(), 9);
        let all: Vec<_> = keys.hex.iter().chain(&keys.inbound_hex).collect();
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), 6);
        assert!(all.iter().all(|hex| hex.len() == 72 && batch.contains(hex.as_str())));
    }
}
