//! Two gateways, WAN to WAN.

use crate::gateway::{Gateway, WAN};
use crate::plan::Plan;
use crate::records::{Side, Tunnel};
use crate::wire::Packet;

pub(crate) struct Pair {
    pub(crate) a: Gateway,
    pub(crate) b: Gateway,
}

impl Pair {
    pub(crate) fn new(tunnels: &[&Tunnel]) -> Self {
        Self { a: Plan::new(Side::A).start(tunnels), b: Plan::new(Side::B).start(tunnels) }
    }

    pub(crate) fn of(a: Gateway, b: Gateway) -> Self {
        Self { a, b }
    }

    pub(crate) fn at(&mut self, side: Side) -> &mut Gateway {
        if side == Side::A { &mut self.a } else { &mut self.b }
    }

    /// Lets both gateways work until nothing moves; returns the frames that crossed the WAN, in their order.
    pub(crate) fn run(&mut self) -> Vec<Vec<u8>> {
        let mut crossed = Vec::new();
        loop {
            self.a.poll();
            self.b.poll();
            let (from_a, from_b) = (self.a.sent(WAN), self.b.sent(WAN));
            if from_a.is_empty() && from_b.is_empty() {
                return crossed;
            }
            from_a.iter().for_each(|frame| self.b.send(WAN, frame.clone()));
            from_b.iter().for_each(|frame| self.a.send(WAN, frame.clone()));
            crossed.extend(from_a.into_iter().chain(from_b));
        }
    }

    /// Sends `packet` from a host at `from` and expects it at a host on the other side, two hops later.
    #[track_caller]
    pub(crate) fn crosses(&mut self, from: Side, packet: &Packet) -> Vec<Vec<u8>> {
        self.at(from).host_sends(0, packet);
        let crossed = self.run();
        let arrived = self.at(from.other()).to_hosts(0);
        assert_eq!(arrived, [packet.clone().after_hops(2)], "{:?} {:?}", self.a.drops(), self.b.drops());
        crossed
    }
}
