//! Manual keys in the words of `ip xfrm`, for tests without IKE.

use std::fmt::Write;

/// One SA and, with [`Self::policies`], what sends packets into it.
#[derive(Debug, Clone)]
pub struct ManualSa {
    /// Outer source.
    pub src: String,
    /// Outer destination.
    pub dst: String,
    /// Security parameter index.
    pub spi: u32,
    /// `in` or `out`.
    pub direction: &'static str,
    /// Ties policies to the SA.
    pub reqid: u32,
    /// Interface id; 0 is the policy-based VPN.
    pub if_id: u32,
    /// Octets of the key, then the 4 of the salt.
    pub key_and_salt: Vec<u8>,
    /// Extended sequence numbers.
    pub esn: bool,
    /// Sequence number last taken (outbound) or top of the window (inbound).
    pub seq: u64,
    /// Replay window. Units: packets.
    pub window_pkts: u32,
    /// UDP encapsulation: source and destination port.
    pub encap: Option<(u16, u16)>,
    /// Further words at the end, such as `sel src 10.0.0.0/8 dst 10.0.0.0/8`.
    pub more: String,
}

impl ManualSa {
    /// Makes an SA with a key derived from its SPI; the key is worth nothing outside a test.
    pub fn new(direction: &'static str, src: &str, dst: &str, spi: u32) -> Self {
        let key_and_salt =
            (0..36_u32).map(|at| (spi.wrapping_mul(2_654_435_761 + at) >> 11).to_le_bytes()[0]);
        Self {
            src: src.to_owned(),
            dst: dst.to_owned(),
            spi,
            direction,
            reqid: 1,
            if_id: 1,
            key_and_salt: key_and_salt.collect(),
            esn: false,
            seq: 0,
            window_pkts: 128,
            encap: None,
            more: String::new(),
        }
    }

    /// Returns key and salt as hexadecimal digits.
    pub fn key_hex(&self) -> String {
        self.key_and_salt.iter().fold(String::new(), |mut text, octet| {
            let _ = write!(text, "{octet:02x}");
            text
        })
    }

    /// Returns the words after `xfrm state add`.
    pub fn words(&self) -> String {
        let Self { src, dst, spi, reqid, if_id, window_pkts, direction, .. } = self;
        let mut words = format!(
            "src {src} dst {dst} proto esp spi {spi:#x} reqid {reqid} mode tunnel replay-window {window_pkts} \
             aead rfc4106(gcm(aes)) 0x{} 128 dir {direction}",
            self.key_hex()
        );
        if self.esn {
            words.push_str(" flag esn");
        }
        if self.seq != 0 {
            let prefix = if *direction == "out" { "replay-oseq" } else { "replay-seq" };
            let _ = write!(words, " {prefix} {:#x}", self.seq & 0xffff_ffff);
            if self.esn {
                let _ = write!(words, " {prefix}-hi {:#x}", self.seq >> 32);
            }
        }
        if let Some((sport, dport)) = self.encap {
            let _ = write!(words, " encap espinudp {sport} {dport} 0.0.0.0");
        }
        if *if_id != 0 {
            let _ = write!(words, " if_id {if_id:#x}");
        }
        if !self.more.is_empty() {
            let _ = write!(words, " {}", self.more);
        }
        words
    }

    /// Returns the batch line that adds the SA.
    pub fn line(&self) -> String {
        format!("xfrm state add {}\n", self.words())
    }

    /// Returns the batch lines of policies between two networks by this SA: `out`, or `in` and `fwd`.
    pub fn policies(&self, src: &str, dst: &str) -> String {
        let directions: &[&str] = if self.direction == "out" { &["out"] } else { &["in", "fwd"] };
        let mut lines = String::new();
        for direction in directions {
            let _ = write!(lines, "xfrm policy add src {src} dst {dst} dir {direction}");
            if self.if_id != 0 {
                let _ = write!(lines, " if_id {:#x}", self.if_id);
            }
            let _ = writeln!(
                lines,
                " priority 100 tmpl src {} dst {} proto esp reqid {} mode tunnel",
                self.src, self.dst, self.reqid
            );
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outbound_sa_sets_the_number_last_taken() {
        let mut sa = ManualSa::new("out", "192.0.2.1", "192.0.2.2", 0x1001);
        sa.esn = true;
        sa.seq = 0x1_ffff_fffe;
        let line = sa.line();
        assert!(line.contains("replay-oseq 0xfffffffe replay-oseq-hi 0x1"), "{line}");
        assert_eq!(sa.key_hex().len(), 72);
        assert_eq!(sa.policies("10.1.0.0/24", "10.2.0.0/24").lines().count(), 1);
    }
}
