//! `xfrm policy …`.

use std::net::IpAddr;

use shm_protocol::ids::{IfId, Spi};
use shm_protocol::messages::control::{
    BridgeRequest, Cursor, PolicyFilter, PolicyId, PolicySpec, XfrmChange,
};
use shm_protocol::policy::{Action, PolicyDirection, Template};
use shm_protocol::sa::{Mark, Mode};
use shm_protocol::selector::{Family, SelectorRecord};

use super::selector::Selector;
use super::{Command, esp, if_id, is, mark, mode};
use crate::words::{Words, Wrong};

/// Parses the words after `policy`.
pub(super) fn parse(words: &mut Words<'_>) -> Result<Command, Wrong> {
    let Some(verb) = words.peek() else { return list(words) };
    words.next(VERBS)?;
    match verb {
        _ if is(verb, "add") => Ok(Command::Change(XfrmChange::PolicyAdd(spec(words)?))),
        _ if is(verb, "update") => Ok(Command::Change(XfrmChange::PolicyUpdate(spec(words)?))),
        _ if is(verb, "delete") => Ok(Command::Change(XfrmChange::PolicyDelete(id(words)?))),
        _ if is(verb, "deleteall") || is(verb, "delall") => {
            Ok(Command::Ask(BridgeRequest::PolicyDeleteAll(filter(words)?)))
        }
        _ if is(verb, "list") || is(verb, "show") || is(verb, "lst") => list(words),
        _ if is(verb, "get") => Ok(Command::Ask(BridgeRequest::PolicyGet(id(words)?))),
        _ if is(verb, "flush") => {
            if words.eat("ptype") {
                ptype(words)?;
            }
            words.end("ptype main or nothing")?;
            Ok(Command::Ask(BridgeRequest::PolicyFlush))
        }
        _ if is(verb, "count") => {
            words.end("nothing")?;
            Ok(Command::Ask(BridgeRequest::PolicyCount))
        }
        "help" => Ok(Command::Help(HELP)),
        _ => Err(words.wrong_before(VERBS)),
    }
}

/// The words of a policy read so far.
#[derive(Default)]
struct Read {
    selector: Selector,
    direction: Option<PolicyDirection>,
    if_id: Option<IfId>,
    mark: Mark,
    priority: Option<u32>,
    block: bool,
    template: Option<Template>,
}

impl Read {
    /// Reads every word. Errors: one that is neither a selector's nor in `also`; `allowed` lists them all.
    fn all(words: &mut Words<'_>, also: &[&str], allowed: &str) -> Result<Self, Wrong> {
        let mut read = Self::default();
        while let Some(word) = words.peek() {
            if read.selector.read(words)? {
                continue;
            }
            if !also.contains(&word) {
                return Err(words.wrong_here(allowed));
            }
            words.next(allowed)?;
            match word {
                "dir" => read.direction = Some(direction(words)?),
                "if_id" => read.if_id = Some(if_id(words)?),
                "mark" => read.mark = mark(words)?,
                "priority" => read.priority = Some(words.number("a priority")?),
                "ptype" => ptype(words)?,
                "action" => read.block = action(words)?,
                "nosock" => {}
                "tmpl" => {
                    if read.template.is_some() {
                        return Err(words.wrong_before("one tmpl only"));
                    }
                    read.template = Some(template(words)?);
                }
                _ => return Err(words.wrong_before(allowed)),
            }
        }
        Ok(read)
    }

    fn id(&self, words: &Words<'_>) -> Result<PolicyId, Wrong> {
        let direction = self.direction.ok_or_else(|| words.wrong_here("dir in, out or fwd"))?;
        let family = self.template.map_or(Family::V4, |template| Family::of(template.src));
        let selector = self.selector.record(family).ok_or_else(|| words.wrong_here("one family"))?;
        Ok(PolicyId { direction, selector, if_id: self.if_id.unwrap_or_default(), mark: self.mark })
    }
}

fn spec(words: &mut Words<'_>) -> Result<PolicySpec, Wrong> {
    let read = Read::all(words, ADD, ADD_WORDS)?;
    let id = read.id(words)?;
    let action = match (read.block, read.template) {
        (true, Some(_)) => return Err(words.wrong_here("no tmpl with action block")),
        (true, None) => Action::Discard,
        (false, Some(template)) => Action::Protect(template),
        (false, None) => Action::Pass,
    };
    Ok(PolicySpec { id, priority: read.priority.unwrap_or(0), action })
}

fn id(words: &mut Words<'_>) -> Result<PolicyId, Wrong> {
    Read::all(words, ID, ID_WORDS)?.id(words)
}

fn filter(words: &mut Words<'_>) -> Result<PolicyFilter, Wrong> {
    let read = Read::all(words, FILTER, FILTER_WORDS)?;
    let selector: Option<SelectorRecord> =
        read.selector.is_given().then(|| read.selector.record(Family::V4)).flatten();
    Ok(PolicyFilter { direction: read.direction, selector, priority: read.priority, if_id: read.if_id })
}

fn list(words: &mut Words<'_>) -> Result<Command, Wrong> {
    let filter = filter(words)?;
    Ok(Command::Ask(BridgeRequest::PolicyList { filter, cursor: Cursor::default() }))
}

fn direction(words: &mut Words<'_>) -> Result<PolicyDirection, Wrong> {
    match words.next("in, out or fwd")? {
        "in" => Ok(PolicyDirection::In),
        "out" => Ok(PolicyDirection::Out),
        "fwd" => Ok(PolicyDirection::Fwd),
        _ => Err(words.wrong_before("in, out or fwd")),
    }
}

fn action(words: &mut Words<'_>) -> Result<bool, Wrong> {
    match words.next("allow or block")? {
        "allow" => Ok(false),
        "block" => Ok(true),
        _ => Err(words.wrong_before("allow or block")),
    }
}

fn ptype(words: &mut Words<'_>) -> Result<(), Wrong> {
    match words.next("main")? {
        "main" => Ok(()),
        _ => Err(words.wrong_before("main (sub policies are not supported)")),
    }
}

fn template(words: &mut Words<'_>) -> Result<Template, Wrong> {
    let (mut src, mut dst) = (None::<IpAddr>, None::<IpAddr>);
    let (mut reqid, mut spi, mut wanted) = (0, None, Mode::Tunnel);
    loop {
        match words.peek() {
            Some("src") => {
                words.next("src")?;
                src = Some(words.address("an address")?);
            }
            Some("dst") => {
                words.next("dst")?;
                dst = Some(words.address("an address")?);
            }
            Some("proto") => {
                words.next("proto")?;
                esp(words)?;
            }
            Some("spi") => {
                words.next("spi")?;
                spi = Some(Spi(words.number("an SPI")?)).filter(|spi| spi.0 != 0);
            }
            Some("reqid") => {
                words.next("reqid")?;
                reqid = words.number("a reqid")?;
            }
            Some("mode") => {
                words.next("mode")?;
                wanted = mode(words)?;
            }
            Some("level") => {
                words.next("level")?;
                if words.next("required")? != "required" {
                    return Err(words.wrong_before("required (a template never is optional)"));
                }
            }
            Some(_) | None => break,
        }
    }
    let src = src.ok_or_else(|| words.wrong_here("src ADDRESS of the tmpl"))?;
    let dst = dst.ok_or_else(|| words.wrong_here("dst ADDRESS of the tmpl"))?;
    if src.is_ipv4() != dst.is_ipv4() {
        return Err(words.wrong_before("src and dst of one family"));
    }
    Ok(Template { src, dst, reqid, mode: wanted, spi })
}

const VERBS: &str = "add, update, delete, deleteall, get, list, flush, count or help";
const ADD: &[&str] = &["dir", "mark", "ptype", "action", "priority", "if_id", "tmpl"];
const ID: &[&str] = &["dir", "mark", "ptype", "if_id"];
const FILTER: &[&str] = &["nosock", "dir", "ptype", "priority", "if_id"];
const ADD_WORDS: &str =
    "src, dst, proto, sport, dport, type, code, dir, mark, ptype, action, priority, if_id, tmpl";
const ID_WORDS: &str = "src, dst, proto, sport, dport, type, code, dir, mark, ptype, if_id";
const FILTER_WORDS: &str = "nosock, src, dst, proto, sport, dport, type, code, dir, ptype, priority, if_id";
const HELP: &str = "\
Usage: espctl xfrm policy { add | update } SELECTOR dir DIR [ mark MARK [ mask MASK ] ]
        [ ptype main ] [ action { allow | block } ] [ priority PRIORITY ] [ if_id IF_ID ] [ tmpl TMPL ]
Usage: espctl xfrm policy { delete | get } SELECTOR dir DIR [ mark MARK [ mask MASK ] ] [ if_id IF_ID ]
Usage: espctl xfrm policy { deleteall | list } [ SELECTOR ] [ dir DIR ] [ priority PRIORITY ] [ if_id IF_ID ]
Usage: espctl xfrm policy { flush | count }
SELECTOR := [ src ADDR[/PLEN] ] [ dst ADDR[/PLEN] ] [ UPSPEC ]
UPSPEC := proto { { tcp | udp | sctp | dccp } [ sport PORT ] [ dport PORT ] |
        { icmp | ipv6-icmp } [ type NUMBER ] [ code NUMBER ] | PROTO }
DIR := in | out | fwd
TMPL := src ADDR dst ADDR [ proto esp ] [ spi SPI ] [ mode tunnel ] [ reqid REQID ] [ level required ]
Example: espctl xfrm policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out
        tmpl src 192.0.2.1 dst 192.0.2.2 proto esp reqid 1 mode tunnel if_id 1
";

#[cfg(test)]
mod tests {
    use super::super::testing::{complaint, parsed};
    use super::*;

    fn added(line: &str) -> PolicySpec {
        let Ok(Command::Change(XfrmChange::PolicyAdd(spec))) = parsed(line) else { panic!("{line}") };
        spec
    }

    #[test]
    fn a_template_makes_a_policy_protect_and_words_may_follow_it() {
        let spec = added(
            "policy add src 10.1.0.0/16 dst 10.2.0.0/16 dir out priority 7 tmpl src 192.0.2.1 dst 192.0.2.2 proto \
             esp reqid 3 mode tunnel if_id 0x1",
        );
        assert_eq!((spec.id.if_id, spec.priority, spec.id.direction), (IfId(1), 7, PolicyDirection::Out));
        assert!(
            matches!(spec.action, Action::Protect(template) if template.reqid == 3 && template.spi.is_none())
        );
    }

    #[test]
    fn without_a_template_a_policy_passes_or_blocks() {
        assert_eq!(added("policy add dir in").action, Action::Pass);
        assert_eq!(added("policy add dir in action block").action, Action::Discard);
        assert!(complaint("policy add dir out action block tmpl src ::1 dst ::2").contains("no tmpl"));
    }

    #[test]
    fn a_selector_without_addresses_has_the_family_of_the_template() {
        let spec = added("policy add dir out tmpl src ::1 dst ::2 proto esp");
        assert_eq!(spec.id.selector, SelectorRecord::any(Family::V6));
    }

    #[test]
    fn a_wrong_word_is_named_with_its_position() {
        assert!(complaint("policy add src 10.0.0.0/33 dir in").starts_with("word 4 \"10.0.0.0/33\""));
        assert!(
            complaint("policy add dir sideways").starts_with("word 4 \"sideways\": expected in, out or fwd")
        );
        assert!(complaint("policy add src 10.0.0.0/8").contains("expected dir in, out or fwd"));
        assert!(complaint("policy delete dir in tmpl").starts_with("word 5 \"tmpl\""));
        assert!(complaint("policy add dir in tmpl src 10.0.0.1 dst 10.0.0.2 level use").contains("required"));
        assert!(complaint("policy add dir in index 8").contains("expected src"));
    }

    #[test]
    fn a_policy_is_named_by_selector_direction_and_if_id() {
        let deleted = parsed("policy delete src 10.1.0.0/16 dir fwd if_id 2").unwrap();
        assert!(matches!(deleted, Command::Change(XfrmChange::PolicyDelete(id)) if id.if_id == IfId(2)));
    }
}
