//! `xfrm state …`.

use std::net::IpAddr;

use shm_protocol::ids::{IfId, Spi};
use shm_protocol::messages::control::{
    AeadSpec, BridgeRequest, Cursor, LifetimeSpec, SpiRequest, StateFilter, StateFlags, StateId, StateSpec,
    XfrmChange,
};
use shm_protocol::sa::{CopyDscp, Direction, EncapPorts, Mark, Mode};
use shm_protocol::secret::SecretKey;
use shm_protocol::selector::Family;
use zeroize::Zeroizing;

use super::selector::Selector;
use super::{Command, esp, if_id, is, limits, mark, mode};
use crate::words::{Words, Wrong};

/// Parses the words after `state`.
pub(super) fn parse(words: &mut Words<'_>, show_keys: bool) -> Result<Command, Wrong> {
    let Some(verb) = words.peek() else { return list(words, show_keys) };
    words.next(VERBS)?;
    match verb {
        _ if is(verb, "add") => Ok(Command::Change(XfrmChange::StateAdd(Box::new(add(words)?)))),
        _ if is(verb, "update") => Ok(Command::Change(XfrmChange::StateUpdate(Box::new(add(words)?)))),
        _ if is(verb, "allocspi") => allocspi(words),
        _ if is(verb, "delete") => Ok(Command::Change(XfrmChange::StateDelete(id(words)?))),
        _ if is(verb, "deleteall") || is(verb, "delall") => {
            Ok(Command::Ask(BridgeRequest::StateDeleteAll(filter(words)?)))
        }
        _ if is(verb, "list") || is(verb, "show") || is(verb, "lst") => list(words, show_keys),
        _ if is(verb, "get") => {
            let id = id(words)?;
            Ok(Command::Ask(BridgeRequest::StateGet { id, show_keys }))
        }
        _ if is(verb, "flush") => {
            if words.eat("proto") {
                esp(words)?;
            }
            words.end("proto esp or nothing")?;
            Ok(Command::Ask(BridgeRequest::StateFlush))
        }
        _ if is(verb, "count") => {
            words.end("nothing")?;
            Ok(Command::Ask(BridgeRequest::StateCount))
        }
        "help" => Ok(Command::Help(HELP)),
        _ => Err(words.wrong_before(VERBS)),
    }
}

/// `ID`: what names a state, as far as it was given.
#[derive(Default)]
struct Id {
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
    has_proto: bool,
    spi: Option<Spi>,
}

impl Id {
    /// Reads the next word if it is one of an ID. Returns false when it is not.
    fn read(&mut self, words: &mut Words<'_>) -> Result<bool, Wrong> {
        match words.peek() {
            Some("src") => {
                words.next("src")?;
                self.src = Some(words.address("an address")?);
            }
            Some("dst") => {
                words.next("dst")?;
                self.dst = Some(words.address("an address")?);
            }
            Some("proto") => {
                words.next("proto")?;
                esp(words)?;
                self.has_proto = true;
            }
            Some("spi") => {
                words.next("spi")?;
                self.spi = Some(Spi(words.number("an SPI")?));
            }
            Some(_) | None => return Ok(false),
        }
        match (self.src, self.dst) {
            (Some(src), Some(dst)) if src.is_ipv4() != dst.is_ipv4() => {
                Err(words.wrong_before("src and dst of one family"))
            }
            _ => Ok(true),
        }
    }
}

fn add(words: &mut Words<'_>) -> Result<StateSpec, Wrong> {
    let mut read = Id::default();
    let mut spec = blank();
    let (mut seq, mut seq_hi, mut oseq, mut oseq_hi) = (0_u32, 0_u32, 0_u32, 0_u32);
    while let Some(word) = words.peek() {
        if read.read(words)? {
            continue;
        }
        words.next(ADD_WORDS)?;
        match word {
            "replay-seq" => seq = words.number("a sequence number")?,
            "replay-seq-hi" => seq_hi = words.number("a sequence number")?,
            "replay-oseq" => oseq = words.number("a sequence number")?,
            "replay-oseq-hi" => oseq_hi = words.number("a sequence number")?,
            _ => option(words, word, &mut spec)?,
        }
    }
    let missing = |what| words.wrong_here(what);
    spec.src = read.src.ok_or_else(|| missing("src ADDRESS"))?;
    spec.dst = read.dst.ok_or_else(|| missing("dst ADDRESS"))?;
    if !read.has_proto {
        return Err(missing("proto esp"));
    }
    spec.spi = read.spi.ok_or_else(|| missing("spi SPI"))?;
    spec.replay_seq = u64::from(seq_hi) << 32 | u64::from(seq);
    spec.replay_oseq = u64::from(oseq_hi) << 32 | u64::from(oseq);
    Ok(spec)
}

fn option(words: &mut Words<'_>, word: &str, spec: &mut StateSpec) -> Result<(), Wrong> {
    match word {
        "mode" => spec.mode = mode(words)?,
        "mark" => spec.mark = mark(words)?,
        "output-mark" | "set-mark" => spec.set_mark = mark(words)?,
        "reqid" => spec.reqid = words.number("a reqid")?,
        // The kernel's acquire number means nothing here.
        "seq" => drop(words.number::<u32>("a number")?),
        "replay-window" => spec.replay_window_pkts = words.number("a number of packets")?,
        "flag" => flags(words, &mut spec.flags)?,
        "extra-flag" => extra_flags(words, &mut spec.flags)?,
        "sel" => selector(words, spec)?,
        "limit" => limits::parse(words, &mut spec.limits)?,
        "encap" => spec.encap = Some(encap(words)?),
        "if_id" => spec.if_id = if_id(words)?,
        "tfcpad" => spec.tfc_pad_octets = words.number("a length in octets")?,
        "dir" => {
            spec.dir = Some(match words.next("in or out")? {
                "in" => Direction::In,
                "out" => Direction::Out,
                _ => return Err(words.wrong_before("in or out")),
            });
        }
        "aead" => spec.aead = aead(words)?,
        "enc" | "auth" | "auth-trunc" | "comp" => return Err(words.wrong_before(ALGORITHM)),
        "coa" | "ctx" | "offload" => return Err(words.wrong_before("a word other than coa, ctx and offload")),
        _ => return Err(words.wrong_before(ADD_WORDS)),
    }
    Ok(())
}

fn selector(words: &mut Words<'_>, spec: &mut StateSpec) -> Result<(), Wrong> {
    let mut read = Selector::default();
    while read.read(words)? {}
    if !read.is_given() {
        return Err(words.wrong_here("src, dst or proto of a selector"));
    }
    spec.selectors.extend(read.record(Family::V4));
    Ok(())
}

fn aead(words: &mut Words<'_>) -> Result<AeadSpec, Wrong> {
    let name = words.next("an algorithm such as rfc4106(gcm(aes))")?.to_owned();
    let key = key_material(words)?;
    let icv_bits = words.number("the length of the ICV in bits: 128")?;
    Ok(AeadSpec { name, key_and_salt: Some(key), icv_bits })
}

/// Reads a key: `0x` and hexadecimal digits, or as in `ip` any other word as it stands.
fn key_material(words: &mut Words<'_>) -> Result<SecretKey, Wrong> {
    let expected = "a key: 0x and an even number of hexadecimal digits";
    let word = words.next(expected)?;
    let octets = match word.strip_prefix("0x") {
        Some(digits) => unhex(digits).ok_or_else(|| words.wrong_before_hidden(expected))?,
        None => Zeroizing::new(word.as_bytes().to_vec()),
    };
    SecretKey::new(&octets).ok_or_else(|| words.wrong_before_hidden("a shorter key"))
}

fn unhex(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut octets = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    for pair in digits.as_bytes().chunks(2) {
        let [high, low] = pair else { return None };
        octets.push(value(high)? << 4 | value(low)?);
    }
    Some(octets)
}

fn flags(words: &mut Words<'_>, flags: &mut StateFlags) -> Result<(), Wrong> {
    let expected = "noecn, decap-dscp, nopmtudisc, af-unspec or esn";
    let before = *flags;
    while let Some(word) = words.peek() {
        match word {
            "noecn" => flags.noecn = true,
            "decap-dscp" => flags.decap_dscp = true,
            "nopmtudisc" => flags.nopmtudisc = true,
            "af-unspec" => flags.af_unspec = true,
            "esn" => flags.esn = true,
            "wildrecv" | "icmp" | "align4" => return Err(words.wrong_here(expected)),
            _ => break,
        }
        words.next(expected)?;
    }
    if *flags == before && words.peek().is_none_or(|next| !ADD_WORDS.contains(next)) {
        return Err(words.wrong_here(expected));
    }
    Ok(())
}

fn extra_flags(words: &mut Words<'_>, flags: &mut StateFlags) -> Result<(), Wrong> {
    match words.next("dont-encap-dscp")? {
        "dont-encap-dscp" => {
            flags.dont_encap_dscp = true;
            Ok(())
        }
        _ => Err(words.wrong_before("dont-encap-dscp (sequence numbers never wrap here)")),
    }
}

fn encap(words: &mut Words<'_>) -> Result<EncapPorts, Wrong> {
    let expected = "espinudp (other encapsulations are not supported)";
    if words.next(expected)? != "espinudp" {
        return Err(words.wrong_before(expected));
    }
    let (sport, dport) = (words.number("a source port")?, words.number("a destination port")?);
    words.address("an original address, 0.0.0.0 for none")?;
    Ok(EncapPorts { sport, dport })
}

fn id(words: &mut Words<'_>) -> Result<StateId, Wrong> {
    let mut read = Id::default();
    let mut at = Mark::default();
    loop {
        if read.read(words)? {
            continue;
        }
        if words.eat("mark") {
            at = mark(words)?;
        } else {
            break;
        }
    }
    words.end("src, dst, proto, spi or mark")?;
    let dst = read.dst.ok_or_else(|| words.wrong_here("dst ADDRESS"))?;
    let spi = read.spi.ok_or_else(|| words.wrong_here("spi SPI"))?;
    Ok(StateId { src: read.src, dst, spi, mark: at })
}

fn filter(words: &mut Words<'_>) -> Result<StateFilter, Wrong> {
    let expected = "src, dst, proto, spi, mode, reqid or if_id";
    let mut read = Id::default();
    let mut filter = StateFilter::default();
    while let Some(word) = words.peek() {
        if read.read(words)? {
            continue;
        }
        words.next(expected)?;
        match word {
            "mode" => filter.mode = Some(mode(words)?),
            "reqid" => filter.reqid = Some(words.number("a reqid")?),
            "if_id" => filter.if_id = Some(if_id(words)?),
            // As `ip` with nokeys, which is what happens without --show-keys anyway.
            "nokeys" => {}
            _ => return Err(words.wrong_before(expected)),
        }
    }
    (filter.src, filter.dst, filter.spi) = (read.src, read.dst, read.spi);
    Ok(filter)
}

fn list(words: &mut Words<'_>, show_keys: bool) -> Result<Command, Wrong> {
    let filter = filter(words)?;
    Ok(Command::Ask(BridgeRequest::StateList { filter, cursor: Cursor::default(), show_keys }))
}

fn allocspi(words: &mut Words<'_>) -> Result<Command, Wrong> {
    let expected = "src, dst, proto, mode, mark, reqid, seq or if_id (min and max are not honoured)";
    let mut read = Id::default();
    let (mut reqid, mut tunnel) = (0, IfId(0));
    while let Some(word) = words.peek() {
        if read.read(words)? {
            continue;
        }
        words.next(expected)?;
        match word {
            "mode" => drop(mode(words)?),
            "mark" => drop(mark(words)?),
            "reqid" => reqid = words.number("a reqid")?,
            "seq" => drop(words.number::<u32>("a number")?),
            "if_id" => tunnel = if_id(words)?,
            _ => return Err(words.wrong_before(expected)),
        }
    }
    let src = read.src.ok_or_else(|| words.wrong_here("src ADDRESS"))?;
    let dst = read.dst.ok_or_else(|| words.wrong_here("dst ADDRESS"))?;
    Ok(Command::Ask(BridgeRequest::AllocSpi(SpiRequest { src, dst, reqid, if_id: tunnel })))
}

fn blank() -> StateSpec {
    StateSpec {
        src: [0; 4].into(),
        dst: [0; 4].into(),
        spi: Spi(0),
        dir: None,
        mode: Mode::Tunnel,
        reqid: 0,
        aead: AeadSpec { name: "rfc4106(gcm(aes))".to_owned(), key_and_salt: None, icv_bits: 128 },
        flags: StateFlags::default(),
        copy_dscp: CopyDscp::OutOnly,
        replay_window_pkts: 0,
        replay_seq: 0,
        replay_oseq: 0,
        encap: None,
        if_id: IfId(0),
        mark: Mark::default(),
        set_mark: Mark::default(),
        selectors: Vec::new(),
        limits: LifetimeSpec::default(),
        tfc_pad_octets: 0,
    }
}

const VERBS: &str = "add, update, delete, deleteall, get, list, flush, count, allocspi or help";
const ALGORITHM: &str = "aead 'rfc4106(gcm(aes))' KEY 128 (the only algorithm)";
const ADD_WORDS: &str = "src, dst, proto, spi, mode, mark, reqid, replay-window, replay-seq, replay-oseq, \
     replay-seq-hi, replay-oseq-hi, flag, extra-flag, sel, limit, encap, aead, output-mark, if_id, tfcpad or dir";
const HELP: &str = "\
Usage: espctl xfrm state { add | update } ID aead 'rfc4106(gcm(aes))' KEY 128 [ mode tunnel ]
        [ mark MARK [ mask MASK ] ] [ reqid REQID ] [ replay-window SIZE ]
        [ replay-seq SEQ ] [ replay-oseq SEQ ] [ replay-seq-hi SEQ ] [ replay-oseq-hi SEQ ]
        [ flag FLAG-LIST ] [ extra-flag dont-encap-dscp ] [ sel SELECTOR ] [ LIMIT-LIST ]
        [ encap espinudp SPORT DPORT OADDR ] [ output-mark MARK [ mask MASK ] ]
        [ if_id IF_ID ] [ tfcpad LENGTH ] [ dir { in | out } ]
Usage: espctl xfrm state allocspi ID [ reqid REQID ] [ if_id IF_ID ]
Usage: espctl xfrm state { delete | get } ID [ mark MARK [ mask MASK ] ]
Usage: espctl xfrm state { deleteall | list } [ ID ] [ mode tunnel ] [ reqid REQID ] [ if_id IF_ID ]
Usage: espctl xfrm state { flush | count }
ID := [ src ADDR ] [ dst ADDR ] [ proto esp ] [ spi SPI ]
FLAG-LIST := [ FLAG-LIST ] { noecn | decap-dscp | nopmtudisc | af-unspec | esn }
SELECTOR := [ src ADDR[/PLEN] ] [ dst ADDR[/PLEN] ] [ proto PROTO [ sport PORT ] [ dport PORT ] ]
LIMIT-LIST := [ LIMIT-LIST ] limit { time-soft | time-hard } SECONDS |
        limit { byte-soft | byte-hard } SIZE | limit { packet-soft | packet-hard } COUNT
Without dir a state is inbound when dst is an address of this host, outbound when src is, else both.
Example: espctl xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1000 reqid 1 mode tunnel
        aead 'rfc4106(gcm(aes))' 0x... 128 if_id 1
";

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
