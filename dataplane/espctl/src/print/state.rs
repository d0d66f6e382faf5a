//! One state as `ip xfrm state` of iproute2 6.1 prints it.

use std::fmt::Write;

use shm_protocol::messages::control::{StateInfo, StateSpec};
use zeroize::Zeroizing;

use super::{Detail, date, is_any, limit, selector, unspecified_like};

/// Returns the block of a state. The text is wiped when dropped: it may show a key.
pub fn state(info: &StateInfo, detail: Detail) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2_048));
    // Writing to a string cannot fail.
    let _ = block(&mut text, info, detail);
    text
}

fn block(text: &mut String, info: &StateInfo, detail: Detail) -> std::fmt::Result {
    let spec = &info.spec;
    writeln!(text, "src {} dst {}", spec.src, spec.dst)?;
    write!(text, "\tproto esp spi 0x{:08x}", spec.spi.0)?;
    if detail.statistics {
        write!(text, "({})", spec.spi.0)?;
    }
    write!(text, " reqid {}", spec.reqid)?;
    if detail.statistics {
        write!(text, "(0x{:08x})", spec.reqid)?;
    }
    writeln!(text, " mode tunnel")?;
    head(text, spec, detail)?;
    if !is_any(spec.mark) || !is_any(spec.set_mark) {
        write!(text, "\t")?;
        if !is_any(spec.mark) {
            write!(text, "mark {:#x}/{:#x} ", spec.mark.value, spec.mark.mask)?;
        }
        if !is_any(spec.set_mark) {
            write!(text, "output-mark {:#x}/{:#x} ", spec.set_mark.value, spec.set_mark.mask)?;
        }
        writeln!(text)?;
    }
    if !info.larval {
        aead(text, spec, detail)?;
    }
    if let Some(ports) = spec.encap {
        let (sport, dport, none) = (ports.sport, ports.dport, unspecified_like(spec.src));
        writeln!(text, "\tencap type espinudp sport {sport} dport {dport} addr {none}")?;
    }
    replay(text, info)?;
    if spec.if_id.0 != 0 {
        writeln!(text, "\tif_id {}", spec.if_id)?;
    }
    if spec.tfc_pad_octets != 0 {
        writeln!(text, "\ttfcpad {}", spec.tfc_pad_octets)?;
    }
    for record in &spec.selectors {
        write!(text, "\tsel {}", selector(record))?;
        writeln!(text, "{}", if detail.statistics { "uid 0" } else { "" })?;
    }
    if detail.statistics {
        lifetimes(text, info, detail)?;
    }
    if detail.details {
        let dir = spec.dir.map_or("in and out", |dir| match dir {
            shm_protocol::sa::Direction::In => "in",
            shm_protocol::sa::Direction::Out => "out",
        });
        let larval = if info.larval { ", reserved" } else { "" };
        writeln!(text, "\tdir {dir} slot {} owner {}{larval}", info.slot, info.owner)?;
    }
    Ok(())
}

fn head(text: &mut String, spec: &StateSpec, detail: Detail) -> std::fmt::Result {
    // As in the kernel a window beyond 32, or with ESN, stands in the context below.
    let window = if is_esn_form(spec) { 0 } else { spec.replay_window_pkts };
    write!(text, "\treplay-window {window} ")?;
    if detail.statistics {
        write!(text, "seq 0x00000000 ")?;
    }
    let flags: [(bool, &str, u8); 5] = [
        (spec.flags.noecn, "noecn", 1),
        (spec.flags.decap_dscp, "decap-dscp", 2),
        (spec.flags.nopmtudisc, "nopmtudisc", 4),
        (spec.flags.af_unspec, "af-unspec", 32),
        (spec.flags.esn, "esn", 128),
    ];
    let set = flags.iter().filter(|(is_set, ..)| *is_set);
    let names: Vec<&str> = set.clone().map(|(_, name, _)| *name).collect();
    if detail.statistics || !names.is_empty() {
        write!(text, "flag {}", names.join(" "))?;
    }
    if detail.statistics {
        if spec.flags.dont_encap_dscp {
            write!(text, "extra_flag dont-encap-dscp")?;
        }
        write!(text, " (0x{:08b})", set.map(|(.., bit)| bit).sum::<u8>())?;
    }
    writeln!(text)
}

fn aead(text: &mut String, spec: &StateSpec, detail: Detail) -> std::fmt::Result {
    write!(text, "\taead {} ", spec.aead.name)?;
    match &spec.aead.key_and_salt {
        Some(key) => {
            write!(text, "0x")?;
            for octet in key.expose() {
                write!(text, "{octet:02x}")?;
            }
            if detail.statistics {
                write!(text, " ({} bits)", key.len() * 8)?;
            }
        }
        None => write!(text, "<<Keys hidden>>")?,
    }
    writeln!(text, " {}", spec.aead.icv_bits)
}

fn is_esn_form(spec: &StateSpec) -> bool {
    spec.flags.esn || spec.replay_window_pkts > 32
}

fn replay(text: &mut String, info: &StateInfo) -> std::fmt::Result {
    let spec = &info.spec;
    // Before the engine has taken a state up its numbers are those it starts with.
    let (seq, oseq, bitmap) = match &info.usage {
        Some(used) => (used.seq, used.oseq, used.bitmap),
        None => (spec.replay_seq, spec.replay_oseq, 0),
    };
    let [seq_lo, seq_hi, oseq_lo, oseq_hi] =
        [seq, seq >> 32, oseq, oseq >> 32].map(|number| number & 0xffff_ffff);
    if !is_esn_form(spec) {
        return writeln!(
            text,
            "\tanti-replay context: seq 0x{seq_lo:x}, oseq 0x{oseq_lo:x}, bitmap 0x{bitmap:08x}"
        );
    }
    let words = spec.replay_window_pkts.div_ceil(32);
    writeln!(text, "\tanti-replay esn context:")?;
    writeln!(text, "\t seq-hi 0x{seq_hi:x}, seq 0x{seq_lo:x}, oseq-hi 0x{oseq_hi:x}, oseq 0x{oseq_lo:x}")?;
    writeln!(text, "\t replay_window {}, bitmap-length {words}", spec.replay_window_pkts)?;
    // Only the 32 numbers below the top are known here; they are shown in the place of the whole bitmap.
    if words > 0 { writeln!(text, "\t {bitmap:08x} ") } else { Ok(()) }
}

fn lifetimes(text: &mut String, info: &StateInfo, detail: Detail) -> std::fmt::Result {
    let limits = &info.spec.limits;
    let used = info.usage.unwrap_or_default();
    writeln!(text, "\tlifetime config:")?;
    for (kind, of) in [(limits.octets, "bytes"), (limits.packets, "packets")] {
        writeln!(text, "\t  limit: soft {}({of}), hard {}({of})", limit(kind.soft()), limit(kind.hard()))?;
    }
    for (kind, of) in [(limits.time_seconds, "add"), (limits.use_seconds, "use")] {
        let (soft, hard) = (kind.soft().unwrap_or(0), kind.hard().unwrap_or(0));
        writeln!(text, "\t  expire {of}: soft {soft}(sec), hard {hard}(sec)")?;
    }
    let ago = |seconds: u64| detail.now_seconds.saturating_sub(seconds);
    let added = info.usage.map(|used| ago(used.installed_ago_seconds));
    writeln!(text, "\tlifetime current:")?;
    writeln!(text, "\t  {}(bytes), {}(packets)", used.octets, used.packets)?;
    writeln!(text, "\t  add {} use {}", date(added), date(used.last_use_ago_seconds.map(ago)))?;
    writeln!(text, "\tstats:")?;
    let (old, seen, failed) = (used.err_too_old, used.err_replay, used.err_integrity);
    writeln!(text, "\t  replay-window {old} replay {seen} failed {failed}")
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
