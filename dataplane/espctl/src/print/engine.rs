//! The engine's screens: tunnels, drops, workers.

use std::fmt::Write;

use shm_protocol::messages::control::{
    DropLine, Ledger, PortLine, StatusPage, TunnelLine, TunnelState, WorkerLine,
};
use shm_protocol::sa::Direction;

/// Returns the screen of `status`; `tunnels` are those of all pages.
pub fn status(head: &StatusPage, tunnels: &[TunnelLine]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = status_screen(&mut text, head, tunnels);
    text
}

fn status_screen(text: &mut String, head: &StatusPage, tunnels: &[TunnelLine]) -> std::fmt::Result {
    let bridge = if head.bridge_connected { "bridge connected" } else { "bridge away" };
    writeln!(
        text,
        "espalier {} (process {}) up {}, {} SAs, {} policies, {bridge}",
        head.version,
        head.pid,
        duration(head.uptime_seconds),
        head.sas,
        head.policies
    )?;
    writeln!(text, "crypto: {}", head.crypto)?;
    writeln!(text, "packets: {}", ledger(&head.ledger))?;
    if !head.trouble.is_empty() {
        writeln!(text, "TROUBLE: {}", head.trouble)?;
    }
    if tunnels.is_empty() {
        writeln!(text, "\nno tunnels")?;
    }
    for tunnel in tunnels {
        writeln!(text)?;
        tunnel_block(text, tunnel)?;
    }
    Ok(())
}

fn tunnel_block(text: &mut String, tunnel: &TunnelLine) -> std::fmt::Result {
    let name = if tunnel.name.is_empty() { "policy-based" } else { &tunnel.name };
    let state = match tunnel.state {
        TunnelState::Up => "up",
        TunnelState::Half => "up one way only",
        TunnelState::Down => "DOWN",
    };
    write!(text, "{name} if_id {}", tunnel.if_id)?;
    if let Some(local) = tunnel.local {
        write!(text, "  {local}")?;
    }
    if let Some(peer) = tunnel.peer {
        write!(text, " <-> {peer}")?;
        if let Some(port) = tunnel.peer_port {
            write!(text, " port {port}")?;
        }
    }
    writeln!(text)?;
    let last = tunnel.last_packet_ago_seconds.map_or_else(
        || "no packet yet".to_owned(),
        |seconds| format!("last packet {} ago", duration(seconds)),
    );
    writeln!(text, "  {state} for {}, {last}", duration(tunnel.since_seconds))?;
    let rate = |bits: u64, packets: u64| format!("{}bit/s {}packets/s", scaled(bits), scaled(packets));
    let (octets, packets) = (tunnel.in_octets, tunnel.in_packets);
    let now = rate(tunnel.in_bits_per_second, tunnel.in_packets_per_second);
    writeln!(text, "  in   {now:<32} {}B in {packets} packets", scaled(octets))?;
    let (octets, packets) = (tunnel.out_octets, tunnel.out_packets);
    let now = rate(tunnel.out_bits_per_second, tunnel.out_packets_per_second);
    writeln!(text, "  out  {now:<32} {}B in {packets} packets", scaled(octets))?;
    for sa in &tunnel.sas {
        let direction = match sa.direction {
            Direction::In => "in ",
            Direction::Out => "out",
        };
        let ends =
            sa.expires_in_seconds.map_or_else(String::new, |left| format!(", ends in {}", duration(left)));
        let age = duration(sa.age_seconds);
        writeln!(text, "  SA {direction} {} {} seq {} age {age}{ends}", sa.spi, sa.algorithm, sa.seq)?;
    }
    let hidden = usize::try_from(tunnel.sa_count).unwrap_or(0).saturating_sub(tunnel.sas.len());
    if hidden > 0 {
        writeln!(text, "  and {hidden} more SAs: espctl xfrm state list if_id {:#x}", tunnel.if_id.0)?;
    }
    if tunnel.drops > 0 {
        writeln!(text, "  dropped {} packets: espctl drops", tunnel.drops)?;
    }
    if !tunnel.trouble.is_empty() {
        writeln!(text, "  TROUBLE: {}", tunnel.trouble)?;
    }
    Ok(())
}

/// Returns the table of `drops`.
pub fn drops(lines: &[DropLine], total: u64) -> String {
    let width = lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        let rfc = if line.rfc.is_empty() { String::new() } else { format!(" ({})", line.rfc) };
        let _ = writeln!(text, "{:>12}  {:<width$}  {}{rfc}", line.packets, line.name, line.sentence);
    }
    let _ = writeln!(text, "{total:>12}  in total");
    text
}

/// Returns the counters in the form of `/proc/net/xfrm_stat`.
pub fn xfrm_stat(lines: &[DropLine]) -> String {
    let mut text = String::new();
    for name in XFRM_STAT {
        let sum: u64 = lines.iter().filter(|line| line.xfrm_stat == *name).map(|line| line.packets).sum();
        let _ = writeln!(text, "{name:<24}\t{sum}");
    }
    text
}

/// Returns the screen of `workers`.
pub fn workers(workers: &[WorkerLine], ports: &[PortLine], sum: &Ledger) -> String {
    let mut text = String::new();
    let _ = workers_screen(&mut text, workers, ports, sum);
    text
}

fn workers_screen(
    text: &mut String,
    workers: &[WorkerLine],
    ports: &[PortLine],
    sum: &Ledger,
) -> std::fmt::Result {
    for worker in workers {
        let busy = f64::from(worker.busy_permille) / 10.0;
        writeln!(text, "worker {} on CPU {}, busy {busy:.1} %", worker.worker, worker.cpu)?;
        writeln!(text, "  {}", ledger(&worker.ledger))?;
        writeln!(
            text,
            "  {:<16} {:>14} {:>14} {:>13} {:>13}",
            "stage", "calls", "packets", "packets/call", "cycles/packet"
        )?;
        for stage in &worker.stages {
            let per = |a: u64, b: u64| if b == 0 { "-".to_owned() } else { format!("{:.1}", ratio(a, b)) };
            let (calls, packets) = (stage.calls, stage.packets);
            let (fill, cost) = (per(packets, calls), per(stage.cycles, packets));
            writeln!(text, "  {:<16} {calls:>14} {packets:>14} {fill:>13} {cost:>13}", stage.name)?;
        }
    }
    for port in ports {
        let link = if port.link_up { "up" } else { "DOWN" };
        writeln!(text, "port {} ({}) link {link}", port.name, port.device)?;
        if !port.steering.is_empty() {
            writeln!(text, "  receives by {}", port.steering)?;
        }
        writeln!(text, "  {}", ledger(&port.ledger))?;
        if port.device_missed != 0 || port.device_errors != 0 {
            writeln!(
                text,
                "  the device missed {} and counted {} errors",
                port.device_missed, port.device_errors
            )?;
        }
    }
    writeln!(text, "sum: {}", ledger(sum))
}

/// Returns `a / b` for a table. Both fit the 52 bits of a double for centuries of packets.
pub(crate) fn ratio(a: u64, b: u64) -> f64 {
    let double = |n: u64| {
        let (high, low) = (u32::try_from(n >> 32).unwrap_or(0), u32::try_from(n & 0xffff_ffff).unwrap_or(0));
        f64::from(high) * 4_294_967_296.0 + f64::from(low)
    };
    if b == 0 { 0.0 } else { double(a) / double(b) }
}

fn ledger(ledger: &Ledger) -> String {
    let Ledger { received, host_made, engine_made, sent, punted, drops } = ledger;
    format!(
        "received {received} + host-made {host_made} (by the engine {engine_made}) = sent {sent} + punted {punted} + dropped {drops}"
    )
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// Returns a number with a decimal prefix; the unit follows without a blank.
fn scaled(number: u64) -> String {
    match number {
        0..10_000 => format!("{number} "),
        10_000..1_000_000 => format!("{:.1} k", ratio(number, 1_000)),
        1_000_000..1_000_000_000 => format!("{:.1} M", ratio(number, 1_000_000)),
        _ => format!("{:.2} G", ratio(number, 1_000_000_000)),
    }
}

/// The lines of `/proc/net/xfrm_stat`, in the kernel's order.
const XFRM_STAT: &[&str] = &[
    "XfrmInError",
    "XfrmInBufferError",
    "XfrmInHdrError",
    "XfrmInNoStates",
    "XfrmInStateProtoError",
    "XfrmInStateModeError",
    "XfrmInStateSeqError",
    "XfrmInStateExpired",
    "XfrmInStateMismatch",
    "XfrmInStateInvalid",
    "XfrmInTmplMismatch",
    "XfrmInNoPols",
    "XfrmInPolBlock",
    "XfrmInPolError",
    "XfrmOutError",
    "XfrmOutBundleGenError",
    "XfrmOutBundleCheckError",
    "XfrmOutNoStates",
    "XfrmOutStateProtoError",
    "XfrmOutStateModeError",
    "XfrmOutStateSeqError",
    "XfrmOutStateExpired",
    "XfrmOutPolBlock",
    "XfrmOutPolDead",
    "XfrmOutPolError",
    "XfrmFwdHdrError",
    "XfrmOutStateInvalid",
    "XfrmAcquireError",
    "XfrmOutStateDirError",
    "XfrmInStateDirError",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, packets: u64, xfrm_stat: &str) -> DropLine {
        DropLine {
            name: name.to_owned(),
            packets,
            sentence: "A packet came a second time.".to_owned(),
            rfc: "RFC 4303 section 3.4.3".to_owned(),
            severity: "warning".to_owned(),
            xfrm_stat: xfrm_stat.to_owned(),
            by_worker: vec![packets],
        }
    }

    #[test]
    fn reasons_that_share_a_kernel_counter_are_added() {
        let text = xfrm_stat(&[
            line("Replay", 2, "XfrmInStateSeqError"),
            line("TooOld", 3, "XfrmInStateSeqError"),
            line("Martian", 7, ""),
        ]);
        assert!(text.contains("XfrmInStateSeqError     \t5\n"), "{text}");
        assert!(text.starts_with("XfrmInError             \t0\n"), "{text}");
    }

    #[test]
    fn a_drop_is_shown_with_its_meaning() {
        let text = drops(&[line("Replay", 2, "")], 2);
        assert!(
            text.contains("2  Replay  A packet came a second time. (RFC 4303 section 3.4.3)\n"),
            "{text}"
        );
        assert!(text.ends_with("2  in total\n"), "{text}");
    }

    #[test]
    fn numbers_are_short_and_exact_where_they_are_small() {
        assert_eq!(scaled(9_999), "9999 ");
        assert_eq!(scaled(12_345), "12.3 k");
        assert_eq!(scaled(1_500_000_000), "1.50 G");
        assert_eq!(duration(42), "42 s");
        assert_eq!(duration(3_700), "1 h 1 min");
    }
}
