//! A policy record as octets and back.

use super::{BadField, field, sa, selector};
use crate::ids::{Generation, IfId, Owner, PolicySlot, Spi};
use crate::layout::PolicyImage;
use crate::policy::{Action, Policy, PolicyDirection, Template};
use crate::sa::Mark;
use crate::selector::{Family, octets};

pub(crate) const EMPTY: u8 = 0;
const INSTALLED: u8 = 1;

const PROTECT: u8 = 1;
const PASS: u8 = 2;
const DISCARD: u8 = 3;

/// Writes the octets of a policy slot into a zeroed image.
pub(crate) fn encode(policy: Option<&Policy>, generation: Generation, image: &mut PolicyImage) {
    image.generation = generation.0;
    let Some(policy) = policy else { return };
    image.state = INSTALLED;
    image.direction = policy.direction as u8;
    image.if_id = policy.if_id.0;
    image.priority = policy.priority;
    image.owner = policy.owner.0;
    image.order = policy.order;
    image.users = policy.users;
    (image.mark_value, image.mark_mask) = (policy.mark.value, policy.mark.mask);
    image.selector = selector::encode(&policy.selector);
    match policy.action {
        Action::Protect(template) => encode_template(&template, image),
        Action::Pass => image.action = PASS,
        Action::Discard => image.action = DISCARD,
    }
}

fn encode_template(template: &Template, image: &mut PolicyImage) {
    image.action = PROTECT;
    image.template_mode = template.mode as u8;
    image.template_family = Family::of(template.src) as u8;
    image.template_src = octets(template.src);
    image.template_dst = octets(template.dst);
    image.template_reqid = template.reqid;
    if let Some(spi) = template.spi {
        (image.template_has_spi, image.template_spi) = (1, spi.0);
    }
}

/// Reads a policy slot; `None` when it is empty.
pub(crate) fn decode(slot: PolicySlot, image: &PolicyImage) -> Result<Option<Policy>, BadField> {
    match image.state {
        EMPTY => return Ok(None),
        INSTALLED => {}
        other => return Err(BadField { field: "state", value: other.into() }),
    }
    let direction = match image.direction {
        1 => Some(PolicyDirection::In),
        2 => Some(PolicyDirection::Out),
        3 => Some(PolicyDirection::Fwd),
        _ => None,
    };
    let action = match image.action {
        PROTECT => Action::Protect(decode_template(image)?),
        PASS => Action::Pass,
        DISCARD => Action::Discard,
        other => return Err(BadField { field: "action", value: other.into() }),
    };
    Ok(Some(Policy {
        slot,
        owner: Owner(image.owner),
        direction: field("direction", image.direction, direction)?,
        if_id: IfId(image.if_id),
        selector: selector::decode(&image.selector)?,
        priority: image.priority,
        action,
        order: image.order,
        users: image.users,
        mark: Mark { value: image.mark_value, mask: image.mark_mask },
    }))
}

fn decode_template(image: &PolicyImage) -> Result<Template, BadField> {
    let family = selector::family("template_family", image.template_family)?;
    let spi = match image.template_has_spi {
        0 => None,
        1 => Some(Spi(image.template_spi)),
        other => return Err(BadField { field: "template_has_spi", value: other.into() }),
    };
    Ok(Template {
        src: selector::address("template_src", family, image.template_src)?,
        dst: selector::address("template_dst", family, image.template_dst)?,
        reqid: image.template_reqid,
        mode: sa::mode("template_mode", image.template_mode)?,
        spi,
    })
}
