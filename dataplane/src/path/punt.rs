//! Stage punt: packets for the host, through bounded rings with a rate limit per class.

use esp::DropReason;

use super::context::{Context, Packet};
use super::host::{HostDevice, Punt, PuntClass};
use crate::ports::Ports;

impl<P: Ports, K> Context<'_, P, K> {
    /// Gives a packet to the host; without netdevs there is none.
    pub(super) fn punt(&mut self, packet: Packet<P::Buf>, device: HostDevice, class: PuntClass) {
        if !self.tables.topology.netdevs {
            return self.drop(packet, DropReason::NoHost);
        }
        if !self.limiter.punt(class, self.now_ns) {
            return self.drop(packet, DropReason::PuntRateLimit);
        }
        let Packet { buf, origin } = packet;
        match self.shared().host.punts.push(Punt { device, class, buf }) {
            Ok(()) => self.account(origin).punted.add(1),
            Err(Punt { buf, .. }) => self.drop(Packet { buf, origin }, DropReason::PuntFull),
        }
    }
}
