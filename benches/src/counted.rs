//! What a packet path has counted: its account and its stages, as differences between two looks.

use std::collections::BTreeMap;

use dataplane::path::counters::{Counters, Origin, Stage as PathStage};
use dataplane::ports::PortId;
use serde_json::{Value, json};

use crate::reading::{Ledger, Stage};

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// The account of all origins.
    pub ledger: Ledger,
    /// By name.
    pub stages: BTreeMap<&'static str, Stage>,
}

impl Counted {
    /// Looks.
    #[must_use]
    pub fn of(counters: &Counters) -> Self {
        let mut ledger = Ledger::default();
        let ports = (0..counters.ports()).filter_map(|port| u16::try_from(port).ok()).map(PortId);
        let on_ports = ports.clone().map(Origin::Port);
        for origin in on_ports.clone().chain(ports.map(Origin::Tap)).chain([Origin::Tun]) {
            let account = counters.account(origin);
            if matches!(origin, Origin::Port(_)) {
                ledger.received += account.entered.get();
            } else {
                ledger.host_made += account.entered.get();
            }
            ledger.host_made += account.made.get();
            ledger.sent += account.sent.get();
            ledger.punted += account.punted.get();
            ledger.dropped += account.drops.iter().map(|drops| drops.get()).sum::<u64>();
        }
        let stage = |stage: PathStage| {
            let count = counters.stage(stage);
            let (calls, packets) = (count.calls.get(), count.packets.get());
            (stage.name(), Stage { calls, packets, cycles: count.cycles.get() })
        };
        Self { ledger, stages: PathStage::ALL.into_iter().map(stage).collect() }
    }

    /// Returns what was counted between an earlier look and this one.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let (now, then) = (&self.ledger, &before.ledger);
        let ledger = Ledger {
            received: now.received - then.received,
            host_made: now.host_made - then.host_made,
            sent: now.sent - then.sent,
            punted: now.punted - then.punted,
            dropped: now.dropped - then.dropped,
        };
        let stages = self.stages.iter().map(|(name, now)| {
            let then = before.stages.get(name).copied().unwrap_or_default();
            let (calls, packets) = (now.calls - then.calls, now.packets - then.packets);
            (*name, Stage { calls, packets, cycles: now.cycles - then.cycles })
        });
        Self { ledger, stages: stages.collect() }
    }

    /// Adds what was counted at another time.
    pub fn add(&mut self, other: &Self) {
        let (sum, more) = (&mut self.ledger, &other.ledger);
        sum.received += more.received;
        sum.host_made += more.host_made;
        sum.sent += more.sent;
        sum.punted += more.punted;
        sum.dropped += more.dropped;
        for (name, more) in &other.stages {
            let sum = self.stages.entry(name).or_default();
            sum.calls += more.calls;
            sum.packets += more.packets;
            sum.cycles += more.cycles;
        }
    }

    /// Returns its ledger, and of `measured` the stages in order and the drops.
    #[must_use]
    pub fn json(&self, measured: &Self) -> Value {
        let stages = PathStage::ALL.into_iter().filter_map(|stage| {
            let of = measured.stages.get(stage.name())?;
            Some(json!({"name": stage.name(), "calls": of.calls, "packets": of.packets, "cycles": of.cycles}))
        });
        let Ledger { received, host_made, sent, punted, dropped } = self.ledger;
        json!({"received": received, "host_made": host_made, "sent": sent, "punted": punted, "dropped": dropped,
               "dropped_in_windows": measured.ledger.dropped, "stages": stages.collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_two_looks_adds_up_to_the_second() {
        let counters = Counters::new(2);
        let look = |packets: u64| {
            counters.account(Origin::Port(PortId(1))).entered.add(packets);
            counters.account(Origin::Port(PortId(1))).sent.add(packets);
            counters.stage(PathStage::Open).packets.add(packets);
            Counted::of(&counters)
        };
        let (first, second) = (look(3), look(4));
        let mut sum = first.clone();
        sum.add(&second.since(&first));
        assert_eq!((sum.ledger, sum.stages.clone()), (second.ledger, second.stages));
        assert_eq!(sum.ledger, Ledger { received: 7, sent: 7, ..Ledger::default() });
        assert_eq!(sum.stages["open"].packets, 7);
    }
}
