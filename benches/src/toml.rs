//! The gateway under test: its configuration file and its keys, on the path an operator takes.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;

use crate::Result;

/// Outer address of the gateway.
pub const OWN: &str = "192.0.2.1";
/// Outer address of its peer.
pub const PEER: &str = "192.0.2.2";
/// SPI of the outbound SA.
pub const SPI: u32 = 0x0010_0001;

/// Writes the configuration: packets come in by `source`, leave by `sink`; one worker on `cpu`.
#[must_use]
pub fn render(runtime_dir: &Path, cpu: usize, source: &str, sink: &str) -> String {
    let dir = runtime_dir.display();
    format!(
        r#"[engine]
runtime_dir = "{dir}"
workers     = [{cpu}]
hugepages   = true
netdevs     = false

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
ip   = "{PEER}"
mac  = "02:00:00:00:00:02"

[[route]]
to  = "10.2.0.0/16"
dev = "ipsec1"
"#
    )
}

/// An outbound SA: AES-128-GCM, ESN, a key of its own for every run.
#[derive(Clone)]
pub struct Keys {
    /// Cipher key and salt, in hexadecimal digits.
    pub key_hex: String,
    /// Number last taken.
    pub seq: u64,
    /// The SA ends after so many packets.
    pub packets: Option<u64>,
}

impl Keys {
    /// Makes a random key.
    ///
    /// # Errors
    /// What the system says.
    pub fn random() -> Result<Self> {
        use std::io::Read as _;
        let mut octets = [0_u8; 20];
        std::fs::File::open(RANDOM)?.read_exact(&mut octets).context(RANDOM)?;
        let key_hex = octets.iter().fold(String::new(), |mut text, octet| {
            let _ = write!(text, "{octet:02x}");
            text
        });
        Ok(Self { key_hex, seq: 0, packets: None })
    }

    /// Returns the lines for `espctl -batch`: the SA with a lifetime, and policies in every direction.
    #[must_use]
    pub fn batch(&self) -> String {
        let Self { key_hex, seq, packets } = self;
        let limit = packets.map(|packets| format!(" limit packet-hard {packets}")).unwrap_or_default();
        let mut lines = format!(
            "xfrm state add src {OWN} dst {PEER} proto esp spi {SPI:#x} reqid 1 mode tunnel replay-window 0 \
             aead rfc4106(gcm(aes)) 0x{key_hex} 128 dir out flag esn replay-oseq {:#x} replay-oseq-hi {:#x} \
             if_id 0x1 limit time-soft 3000 limit time-hard 3600{limit}\n",
            seq & 0xffff_ffff,
            seq >> 32,
        );
        let (ours, theirs) = ("10.1.0.0/16", "10.2.0.0/16");
        for (direction, src, dst, from, to) in [
            ("out", ours, theirs, OWN, PEER),
            ("in", theirs, ours, PEER, OWN),
            ("fwd", theirs, ours, PEER, OWN),
        ] {
            let _ = writeln!(
                lines,
                "xfrm policy add src {src} dst {dst} dir {direction} if_id 0x1 \
                 tmpl src {from} dst {to} proto esp reqid 1 mode tunnel"
            );
        }
        lines
    }
}

const RANDOM: &str = "/dev/urandom";
