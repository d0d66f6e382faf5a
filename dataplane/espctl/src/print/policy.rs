//! One policy as `ip xfrm policy` of iproute2 6.1 prints it.

use std::fmt::Write;

use shm_protocol::messages::control::PolicyInfo;
use shm_protocol::policy::{Action, PolicyDirection};

use super::{Detail, is_any, selector};

/// Returns the block of a policy.
pub fn policy(info: &PolicyInfo, detail: Detail) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = block(&mut text, info, detail);
    text
}

fn block(text: &mut String, info: &PolicyInfo, detail: Detail) -> std::fmt::Result {
    let (id, priority) = (&info.spec.id, info.spec.priority);
    writeln!(text, "{}{}", selector(&id.selector), if detail.statistics { "uid 0" } else { "" })?;
    let (direction, number) = match id.direction {
        PolicyDirection::In => ("in", 0),
        PolicyDirection::Out => ("out", 1),
        PolicyDirection::Fwd => ("fwd", 2),
    };
    write!(text, "\tdir {direction} ")?;
    match info.spec.action {
        Action::Discard => write!(text, "action block ")?,
        Action::Protect(_) | Action::Pass if detail.statistics => write!(text, "action allow ")?,
        Action::Protect(_) | Action::Pass => {}
    }
    if detail.statistics {
        write!(text, "index {} ", u64::from(info.slot) * 8 + number)?;
    }
    write!(text, "priority {priority} ptype main ")?;
    if detail.statistics {
        write!(text, "share any flag  (0x00000000)")?;
    }
    writeln!(text)?;
    if detail.statistics {
        text.push_str(NO_LIMITS);
    }
    if !is_any(id.mark) {
        writeln!(text, "\tmark {:#x}/{:#x} ", id.mark.value, id.mark.mask)?;
    }
    if let Action::Protect(template) = info.spec.action {
        writeln!(text, "\ttmpl src {} dst {}", template.src, template.dst)?;
        write!(text, "\t\tproto esp ")?;
        let spi = template.spi.map_or(0, |spi| spi.0);
        if spi != 0 || detail.statistics {
            write!(text, "spi 0x{spi:08x}")?;
            write!(text, "{}", if detail.statistics { format!("({spi}) ") } else { " ".to_owned() })?;
        }
        write!(text, "reqid {}", template.reqid)?;
        if detail.statistics {
            write!(text, "(0x{:08x})", template.reqid)?;
        }
        writeln!(text, " mode tunnel")?;
        if detail.statistics {
            text.push_str("\t\tlevel required share any \n");
            text.push_str("\t\tenc-mask ffffffff auth-mask ffffffff comp-mask ffffffff\n");
        }
    }
    if id.if_id.0 != 0 {
        writeln!(text, "\tif_id {}", id.if_id)?;
    }
    if detail.details {
        writeln!(text, "\tslot {} owner {} users {}", info.slot, info.owner, info.users)?;
    }
    Ok(())
}

const NO_LIMITS: &str = "\tlifetime config:\n\
    \t  limit: soft (INF)(bytes), hard (INF)(bytes)\n\
    \t  limit: soft (INF)(packets), hard (INF)(packets)\n\
    \t  expire add: soft 0(sec), hard 0(sec)\n\
    \t  expire use: soft 0(sec), hard 0(sec)\n\
    \tlifetime current:\n\
    \t  0(bytes), 0(packets)\n\
    \t  add - use -\n";

#[cfg(test)]
mod tests {
    use shm_protocol::messages::control::XfrmChange;

    use super::*;
    use crate::grammar::{Command, testing::parsed};

    fn info(line: &str) -> PolicyInfo {
        let Ok(Command::Change(XfrmChange::PolicyAdd(spec))) = parsed(line) else { panic!("{line}") };
        PolicyInfo { spec, slot: 3, owner: "manual".to_owned(), users: 1 }
    }

    fn shown(line: &str) -> String {
        policy(&info(line), Detail::default())
    }

    #[test]
    fn a_policy_has_the_form_of_iproute2() {
        let text = shown(
            "policy add src 10.0.0.0/24 dst 10.1.0.0/24 dir out tmpl src 1.1.1.1 dst 2.2.2.2 proto esp reqid 1 mode \
             tunnel if_id 1",
        );
        assert_eq!(
            text,
            "src 10.0.0.0/24 dst 10.1.0.0/24 \n\
             \tdir out priority 0 ptype main \n\
             \ttmpl src 1.1.1.1 dst 2.2.2.2\n\
             \t\tproto esp reqid 1 mode tunnel\n\
             \tif_id 0x1 (1)\n"
        );
    }

    #[test]
    fn a_block_says_so() {
        assert_eq!(
            shown("policy add dir in action block"),
            "src 0.0.0.0/0 dst 0.0.0.0/0 \n\tdir in action block priority 0 ptype main \n"
        );
    }

    #[test]
    fn ports_types_and_codes_are_named_by_protocol() {
        assert!(
            shown("policy add dir in proto tcp sport 5 dport 6")
                .starts_with("src 0.0.0.0/0 dst 0.0.0.0/0 proto tcp sport 5 dport 6 \n")
        );
        assert!(shown("policy add dir in proto icmp type 8").contains("proto icmp type 8 \n"));
    }

    #[test]
    fn statistics_have_the_form_of_ip_s() {
        let detail = Detail { statistics: true, ..Detail::default() };
        let text = policy(&info("policy add dir in action block"), detail);
        assert!(
            text.starts_with(
                "src 0.0.0.0/0 dst 0.0.0.0/0 uid 0\n\
             \tdir in action block index 24 priority 0 ptype main share any flag  (0x00000000)\n\
             \tlifetime config:\n"
            ),
            "{text}"
        );
    }
}
