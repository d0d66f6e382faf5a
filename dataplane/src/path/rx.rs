//! Stage rx: a burst from one port, accounted to it.

use esp::DropReason;

use super::context::Context;
use super::counters::{Origin, Stage};
use crate::ports::{Burst, PortId, Ports};

/// Takes up to a burst of frames from `port` into the empty `frames`.
pub(super) fn rx<P: Ports, K>(ctx: &mut Context<'_, P, K>, port: PortId, frames: &mut Burst<P::Buf>) {
    let start = (ctx.cycles)();
    let refused = ctx.ports.rx(port, frames);
    let account = ctx.account(Origin::Port(port));
    if refused > 0 {
        account.entered.add(refused);
        account.drops_of(DropReason::Segmented).add(refused);
    }
    if !frames.is_empty() {
        account.entered.add(frames.len() as u64);
        ctx.spent(Stage::Rx, frames.len(), start);
    }
}
