//! What is counted: loads that keep to one way through the path each, and say so when they did not.

use std::hint::black_box;
use std::ops::Range;

use anyhow::{Context as _, ensure};
use dataplane::path::counters::Stage;
use dataplane::ports::{Buffer as _, Burst, PortId, Ports as _};
use esp::aead::MAX_BURST;

use super::Gateway;
use super::packets::{self, turn_round};
use super::ports::{Frame, Lists};
use super::records::{LAN, Side, TUNNELS, WAN};
use crate::Result;

/// Packets that are counted in each scenario.
pub const PACKETS: usize = 4096;
/// Flows that are known, few enough for each to have its entry in a worker's cache.
const KNOWN: Range<u16> = 0..256;
/// Flows of which each sends one packet.
const NEW: Range<u16> = KNOWN.end..KNOWN.end + 4096;
const _: () = assert!((NEW.end - NEW.start) as usize == PACKETS);

/// A load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The ports alone: from `rx` to `tx` without a path.
    Ports,
    /// One SA, one worker, flows whose way is known.
    OutboundKnown,
    /// As that, each packet the first of its flow.
    OutboundFirst,
    /// 64 SAs, each packet of a burst by another; flows whose way is known.
    Outbound64Sas,
    /// One SA, one worker, inner flows whose way is known.
    InboundKnown,
    /// As that, each inner packet the first of its flow.
    InboundFirst,
    /// 64 SAs, each packet of a burst by another; inner flows whose way is known.
    Inbound64Sas,
    /// As [`Self::OutboundKnown`], on an interface that all workers seal for.
    Spread1Worker,
    /// As that, two workers in turns.
    Spread2Workers,
}

impl Scenario {
    /// Every scenario, in the order of a report.
    pub const ALL: [Self; 9] = [
        Self::Ports,
        Self::OutboundKnown,
        Self::OutboundFirst,
        Self::Outbound64Sas,
        Self::InboundKnown,
        Self::InboundFirst,
        Self::Inbound64Sas,
        Self::Spread1Worker,
        Self::Spread2Workers,
    ];

    /// Returns its name in files and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ports => "ports-alone",
            Self::OutboundKnown => "outbound-known",
            Self::OutboundFirst => "outbound-first",
            Self::Outbound64Sas => "outbound-64-sas",
            Self::InboundKnown => "inbound-known",
            Self::InboundFirst => "inbound-first",
            Self::Inbound64Sas => "inbound-64-sas",
            Self::Spread1Worker => "spread-1-worker",
            Self::Spread2Workers => "spread-2-workers",
        }
    }

    /// Returns the scenario of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// Runs the scenario: warms up, then has [`PACKETS`] counted.
    ///
    /// # Errors
    /// A packet was lost or went another way than the scenario's, so that a count would mean nothing.
    pub fn run(self) -> Result<()> {
        match self {
            Self::Ports => ports_alone(),
            Self::InboundKnown | Self::InboundFirst | Self::Inbound64Sas => self.inbound(),
            Self::OutboundKnown
            | Self::OutboundFirst
            | Self::Outbound64Sas
            | Self::Spread1Worker
            | Self::Spread2Workers => self.outbound(),
        }
    }

    fn outbound(self) -> Result<()> {
        let tunnels = self.tunnels();
        let workers = if self == Self::Spread2Workers { 2 } else { 1 };
        let spread = matches!(self, Self::Spread1Worker | Self::Spread2Workers);
        let mut gateway = Gateway::with_tunnels(Side::Sends, tunnels, workers, spread)?;
        for worker in 0..workers {
            gateway.offer(worker, LAN, clear(KNOWN.chain(KNOWN), tunnels)?);
        }
        while gateway.poll() > 0 {}
        ensure!(gateway.take_sent(WAN).len() == workers * 2 * KNOWN.len(), "warming up lost packets");
        let mut frames = clear(self.flows(), tunnels)?.into_iter();
        for worker in (0..workers).cycle().take(PACKETS / MAX_BURST) {
            gateway.offer(worker, LAN, frames.by_ref().take(MAX_BURST));
        }
        self.count(&mut gateway, workers, WAN)
    }

    fn inbound(self) -> Result<()> {
        let tunnels = self.tunnels();
        let mut peer = Gateway::with_tunnels(Side::Sends, tunnels, 1, false)?;
        let mut gateway = Gateway::with_tunnels(Side::Receives, tunnels, 1, false)?;
        gateway.offer(0, WAN, sealed(&mut peer, clear(KNOWN.chain(KNOWN), tunnels)?)?);
        while gateway.poll() > 0 {}
        ensure!(gateway.take_sent(LAN).len() == 2 * KNOWN.len(), "warming up lost packets");
        gateway.offer(0, WAN, sealed(&mut peer, clear(self.flows(), tunnels)?)?);
        self.count(&mut gateway, 1, LAN)
    }

    /// Has what was offered counted, and looks where it went.
    fn count(self, gateway: &mut Gateway, workers: usize, out: usize) -> Result<()> {
        let known = gateway.packets_of(Stage::Known);
        let taken = gateway.poll_counted(PACKETS / MAX_BURST / workers);
        let sent = gateway.take_sent(out).len();
        ensure!((taken, sent) == (PACKETS, PACKETS), "of {PACKETS} packets {taken} were taken, {sent} sent");
        let known = gateway.packets_of(Stage::Known) - known;
        let expected = if self.is_known() { PACKETS as u64 } else { 0 };
        ensure!(known == expected, "the ways of {known} packets were known, not of {expected}");
        Ok(())
    }

    const fn tunnels(self) -> u8 {
        if matches!(self, Self::Outbound64Sas | Self::Inbound64Sas) { TUNNELS } else { 1 }
    }

    const fn is_known(self) -> bool {
        !matches!(self, Self::OutboundFirst | Self::InboundFirst)
    }

    /// The flows of the packets that are counted.
    fn flows(self) -> impl Iterator<Item = u16> {
        let known = if self.is_known() { Some(KNOWN.cycle()) } else { None };
        let new = if self.is_known() { None } else { Some(NEW) };
        known.into_iter().flatten().chain(new.into_iter().flatten()).take(PACKETS)
    }
}

/// Makes the frames that hosts send, one of each flow, dealt to the tunnels in turns.
///
/// # Errors
/// There is no such flow.
pub fn clear(flows: impl IntoIterator<Item = u16>, tunnels: u8) -> Result<Vec<Frame>> {
    let frame = |flow: u16| {
        let tunnel = u8::try_from(flow % u16::from(tunnels))?;
        Frame::of(&packets::frame(flow, tunnel)?).context("a frame is too long")
    };
    flows.into_iter().map(frame).collect()
}

/// Lets `peer` send frames; returns them as they arrive at its far end.
///
/// # Errors
/// A packet was lost.
pub fn sealed(peer: &mut Gateway, clear: Vec<Frame>) -> Result<Vec<Frame>> {
    let count = clear.len();
    peer.offer(0, LAN, clear);
    while peer.poll() > 0 {}
    let mut frames = peer.take_sent(WAN);
    ensure!(frames.len() == count, "the peer lost packets");
    for frame in &mut frames {
        turn_round(frame.data_mut());
    }
    Ok(frames)
}

fn ports_alone() -> Result<()> {
    let mut lists = Lists::default();
    lists.offer(LAN, clear(NEW, 1)?);
    counted_polls_of_ports(&mut lists, PACKETS / MAX_BURST);
    ensure!(lists.take_sent(WAN).len() == PACKETS, "frames were lost");
    Ok(())
}

/// What the other scenarios' counts have in them that is not the path's.
#[inline(never)]
fn counted_polls_of_ports(lists: &mut Lists, polls: usize) {
    let mut burst = Burst::new();
    for _ in 0..polls {
        lists.rx(PortId(0), &mut burst);
        lists.tx(PortId(1), black_box(&mut burst));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_takes_its_way_and_loses_nothing() {
        for scenario in Scenario::ALL {
            scenario.run().unwrap_or_else(|error| panic!("{}: {error:#}", scenario.name()));
        }
    }

    #[test]
    fn a_load_that_leaves_the_way_of_its_scenario_is_refused() {
        let mut gateway = Gateway::with_tunnels(Side::Sends, 1, 1, false).unwrap();
        gateway.offer(0, LAN, clear(NEW, 1).unwrap());
        let refused = Scenario::OutboundKnown.count(&mut gateway, 1, WAN).unwrap_err();
        assert!(refused.to_string().contains("were known"), "{refused}");
    }

    #[test]
    fn names_lead_back() {
        for scenario in Scenario::ALL {
            assert_eq!(Scenario::named(scenario.name()), Some(scenario));
        }
        assert_eq!(Scenario::named("outbound"), None);
    }
}
