//! Stage rx: a burst from one port, accounted to it.

use esp::DropReason;

use super::context::{Context, List, Packet};
use super::counters::{Origin, Stage};
use crate::ports::{Burst, PortId, Ports};

/// Takes up to a burst of frames from `port` into the empty `packets`.
pub(super) fn rx<P: Ports, K>(ctx: &mut Context<'_, P, K>, port: PortId, packets: &mut List<Packet<P::Buf>>) {
    let start = (ctx.cycles)();
    let mut frames = Burst::new();
    let refused = ctx.ports.rx(port, &mut frames);
    let origin = Origin::Port(port);
    if refused > 0 {
        let account = ctx.account(origin);
        account.entered.add(refused);
        account.drops_of(DropReason::Segmented).add(refused);
    }
    packets.extend(frames.drain(..).map(|buf| Packet { buf, origin }));
    if !packets.is_empty() {
        ctx.account(origin).entered.add(packets.len() as u64);
        ctx.spent(Stage::Rx, packets.len(), start);
    }
}
