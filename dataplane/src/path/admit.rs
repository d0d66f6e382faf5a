//! Stage admit: inbound policy. A packet out of a tunnel must be one its SA may carry and one a policy with the SA's
//! `if_id` expects by that tunnel; a clear packet must not be one a policy wants protected. RFC: 4301 section 5.2.

use esp::wire::FlowKey;
use esp::{DropReason, IfId};

use super::context::{From, Transit};
use crate::tables::Tables;
use crate::tables::sa::InboundSa;
use crate::tables::spd::{Action, Direction};

/// Checks one packet; `for_us` says whether its destination is an address of the gateway.
/// Errors: why it is not admitted.
pub(super) fn admit<B, K>(
    tables: &Tables<K>,
    transit: &Transit<'_, '_, B, K>,
    for_us: bool,
) -> Result<(), DropReason> {
    let flow = transit.flow;
    let direction = if for_us { Direction::In } else { Direction::Fwd };
    match transit.from {
        From::Tunnel(sa) => protected(tables, sa, direction, flow),
        From::Port(_) => unprotected(tables, direction, flow),
        From::Tap(_) | From::Tun(_) | From::Engine => Ok(()),
    }
}

fn protected<K>(
    tables: &Tables<K>,
    sa: &InboundSa<K>,
    direction: Direction,
    flow: &FlowKey,
) -> Result<(), DropReason> {
    //= rfc4301#5.2
    if !sa.common.holds(flow) {
        return Err(DropReason::InboundSelector);
    }
    let if_id = sa.common.if_id;
    let Some(policy) = tables.spd.lookup(if_id, direction, flow) else {
        return Err(no_policy(tables, if_id, direction, flow));
    };
    match policy.action {
        Action::Discard => return Err(DropReason::InboundBlocked),
        Action::Protect(..) | Action::Pass => {}
    }
    if !policy.admits(sa) {
        return Err(DropReason::InboundTemplate);
    }
    if !if_id.is_policy_based() && !tables.derived.interfaces.contains_key(&if_id) {
        return Err(DropReason::NoInterface);
    }
    Ok(())
}

/// Tells a packet nobody expects from one that is expected by another tunnel.
#[cold]
fn no_policy<K>(tables: &Tables<K>, if_id: IfId, direction: Direction, flow: &FlowKey) -> DropReason {
    if tables.spd.expects_elsewhere(if_id, direction, flow) {
        DropReason::IfIdMismatch
    } else {
        DropReason::InboundNoPolicy
    }
}

/// Checks a packet that came in clear. Errors: `Unprotected` where a policy wants it protected, `InboundBlocked`.
pub(super) fn unprotected<K>(
    tables: &Tables<K>,
    direction: Direction,
    flow: &FlowKey,
) -> Result<(), DropReason> {
    match tables.spd.lookup(IfId::POLICY_BASED, direction, flow).map(|policy| &policy.action) {
        Some(Action::Protect(..)) => Err(DropReason::Unprotected),
        Some(Action::Discard) => Err(DropReason::InboundBlocked),
        Some(Action::Pass) | None => Ok(()),
    }
}
