//! What the numbered traffic and the captures prove.

use std::fmt;

use espalier_tests::Result;
use espalier_tests::esp_trace::{self, Esp};
use espalier_tests::ledger::Ledger;
use espalier_tests::pcap::Frame;
use espalier_tests::traffic::{FlowReport, MARKER};

use crate::stage::Evidence;

/// The table at the end.
pub(crate) struct Verdict {
    reports: [FlowReport; 2],
    /// Per direction: datagrams that gateway B took in and did not hand on, proven by the captures.
    lost_by_b: [u64; 2],
    /// Datagrams gateway B's kernel had no room for in the socket of its IKE daemon.
    no_room_at_b: u64,
    new_spis: Vec<usize>,
    iv_repeats: usize,
    esp_packets: usize,
    clear_packets: usize,
    capture_drops: u64,
    ledger: String,
    ledger_holds: bool,
}

/// Inner IPv4 and UDP header. Units: octets.
const INNER_HEADERS_OCTETS: usize = 28;

/// Payload of the numbered datagrams. Units: octets.
const PAYLOAD_OCTETS: usize = 200;

impl Verdict {
    /// Draws the conclusions.
    pub(crate) fn new(
        reports: [FlowReport; 2],
        rekeyed_ns: Vec<u64>,
        evidence: Evidence,
        ledger: &Ledger,
        no_room_at_b: u64,
    ) -> Result<Self> {
        let to_b = esp_trace::esp_packets(&evidence.wire_to_b.frames);
        let to_a = esp_trace::esp_packets(&evidence.wire_to_a.frames);
        let behind = &evidence.behind_b.frames;
        let (host_b_got, host_b_sent) = (numbered(behind, [10, 2, 0, 2]), numbered(behind, [10, 1, 0, 2]));
        // Counted by length: nothing else on the wire is as long as a sealed numbered datagram.
        let lost_by_b = [
            of_probe_length(&to_b).saturating_sub(host_b_got),
            host_b_sent.saturating_sub(of_probe_length(&to_a)),
        ];
        let wire: Vec<Esp> = to_b.into_iter().chain(to_a).collect();
        let clear = |frames: &[Frame]| frames.iter().filter(|frame| frame.contains(MARKER)).count();
        Ok(Self {
            reports,
            lost_by_b,
            no_room_at_b,
            new_spis: esp_trace::new_spis_after(&wire, &rekeyed_ns).iter().map(Vec::len).collect(),
            iv_repeats: esp_trace::repeated_ivs(&wire).len(),
            esp_packets: wire.len(),
            clear_packets: clear(&evidence.wire_to_a.frames) + clear(&evidence.wire_to_b.frames),
            capture_drops: [&evidence.wire_to_a, &evidence.wire_to_b, &evidence.behind_b]
                .map(|captured| captured.capture_drops)
                .iter()
                .sum(),
            ledger: ledger.to_string(),
            ledger_holds: ledger.check().is_ok(),
        })
    }

    /// Returns the last line.
    pub(crate) fn last_line(&self) -> String {
        let lost: u64 = self.reports.iter().map(|report| report.lost).sum();
        match (self.passed(), lost) {
            (true, 0) => "done: every datagram arrived once".to_owned(),
            (true, _) => format!(
                "done: gateway A (Espalier) lost nothing; gateway B (strongSwan) lost {lost} datagrams by itself, \
                 as the captures on both its sides prove"
            ),
            (false, _) => "FAILED: see the table".to_owned(),
        }
    }

    /// Reports whether gateway A lost nothing, and nothing was doubled, repeated or sent in clear.
    pub(crate) fn passed(&self) -> bool {
        self.losses_of_a() == [0, 0]
            && self.reports.iter().all(FlowReport::is_clean)
            && self.new_spis.iter().all(|new| *new == 2)
            && self.iv_repeats == 0
            && self.clear_packets == 0
            && self.ledger_holds
    }

    /// Returns per direction what was lost and is not proven to be gateway B's doing.
    ///
    /// The captures prove it only if they dropped nothing themselves.
    fn losses_of_a(&self) -> [u64; 2] {
        let proven = |way: usize| if self.capture_drops == 0 { self.lost_by_b[way] } else { 0 };
        [self.reports[0].lost.saturating_sub(proven(0)), self.reports[1].lost.saturating_sub(proven(1))]
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b] = &self.reports;
        let ours = self.losses_of_a();
        let new_spis: Vec<_> = self.new_spis.iter().map(usize::to_string).collect();
        writeln!(f, "{:<62} {:>10} {:>10}", "", "A to B", "B to A")?;
        let mut row = |what: &str, left: u64, right: u64| writeln!(f, "{what:<62} {left:>10} {right:>10}");
        row("numbered datagrams sent", a.sent, b.sent)?;
        row("  per second", a.pps, b.pps)?;
        row("lost", a.lost, b.lost)?;
        if a.lost + b.lost > 0 {
            row("  by gateway A (Espalier) or not attributable", ours[0], ours[1])?;
            row(
                "  by gateway B (strongSwan), by captures on both its sides",
                a.lost - ours[0],
                b.lost - ours[1],
            )?;
            row("    for which its kernel had no room in the IKE daemon's socket", self.no_room_at_b, 0)?;
        }
        row("duplicated", a.duplicated, b.duplicated)?;
        row("reordered", a.reordered, b.reordered)?;
        writeln!(f, "{:<62} {}", "new SPIs that carried packets, per CHILD_SA rekeying", new_spis.join(" "))?;
        writeln!(
            f,
            "{:<62} {} in {} packets",
            "(SPI, IV) repeats in the wire capture", self.iv_repeats, self.esp_packets
        )?;
        writeln!(f, "{:<62} {}", "clear-text datagrams on the wire", self.clear_packets)?;
        writeln!(f, "{:<62} {}", "drops of the capture itself", self.capture_drops)?;
        writeln!(f, "{:<62} {}", "gateway A's ledger", self.ledger)
    }
}

/// Counts the numbered datagrams for one destination in a capture of clear text.
fn numbered(frames: &[Frame], dst: [u8; 4]) -> u64 {
    let to_dst = |frame: &&Frame| frame.ip().is_some_and(|ip| ip.dst == std::net::IpAddr::from(dst));
    frames.iter().filter(to_dst).filter(|frame| frame.contains(MARKER)).count() as u64
}

/// Counts the packets that are as long as a numbered datagram sealed with AES-GCM: SPI, number and IV,
/// the padded inner packet with its two-octet trailer, ICV.
fn of_probe_length(packets: &[Esp]) -> u64 {
    let sealed = 16 + (INNER_HEADERS_OCTETS + PAYLOAD_OCTETS + 2).next_multiple_of(4) + 16;
    packets.iter().filter(|packet| packet.esp_octets == sealed).count() as u64
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use espalier_tests::capture::Captured;

    use super::*;

    fn ipv4(protocol: u8, dst: [u8; 4], payload: &[u8]) -> Frame {
        let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
        let mut octets = vec![0; 12];
        octets.extend([8, 0, 0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1]);
        octets.extend(dst);
        octets.extend(payload);
        Frame { at_ns: 5, octets }
    }

    /// A sealed numbered datagram: 264 octets from SPI to ICV.
    fn sealed(number: u64) -> Frame {
        let mut esp = vec![0, 0, 16, 1, 0, 0, 0, 0];
        esp.extend(number.to_be_bytes());
        esp.resize(264, 7);
        ipv4(50, [192, 0, 2, 2], &esp)
    }

    fn captured(frames: Vec<Frame>) -> Captured {
        Captured { frames, capture_drops: 0, path: PathBuf::new() }
    }

    fn report(sent: u64, received: u64) -> FlowReport {
        FlowReport {
            label: String::new(),
            sent,
            refused: 0,
            received,
            lost: sent - received,
            first_lost: Vec::new(),
            duplicated: 0,
            reordered: 0,
            foreign: 0,
            longest_silence: Duration::ZERO,
            socket_drops: 0,
            pps: 5000,
        }
    }

    fn verdict(on_the_wire: u64, behind_b: usize) -> Verdict {
        let evidence = Evidence {
            wire_to_b: captured((0..on_the_wire).map(sealed).collect()),
            wire_to_a: captured(Vec::new()),
            behind_b: captured(vec![ipv4(17, [10, 2, 0, 2], MARKER); behind_b]),
        };
        let reports = [report(10, behind_b as u64), report(0, 0)];
        let verdict = Verdict::new(reports, Vec::new(), evidence, &Ledger::default(), 2).unwrap();
        // A ledger without ports never holds.
        assert!(!verdict.passed());
        Verdict { ledger_holds: true, ..verdict }
    }

    #[test]
    fn what_reached_gateway_b_and_not_its_host_was_lost_by_gateway_b() {
        let verdict = verdict(10, 8);
        assert_eq!((verdict.losses_of_a(), verdict.passed()), ([0, 0], true));
        assert!(verdict.last_line().contains("gateway B (strongSwan) lost 2"), "{}", verdict.last_line());
        assert!(verdict.to_string().contains("by captures on both its sides"));
    }

    #[test]
    fn what_never_reached_the_wire_was_lost_by_gateway_a() {
        let verdict = verdict(9, 8);
        assert_eq!((verdict.losses_of_a(), verdict.passed()), ([1, 0], false));
        assert_eq!(verdict.last_line(), "FAILED: see the table");
    }

    #[test]
    fn captures_that_dropped_frames_prove_nothing() {
        let mut verdict = verdict(10, 8);
        verdict.capture_drops = 1;
        assert_eq!(verdict.losses_of_a(), [2, 0]);
    }
}
