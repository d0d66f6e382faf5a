//! A case with so many workers: its gateways and what arrives at each worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use anyhow::Context as _;
use crypto::Crypto;
use dataplane::tables::topology::Topology;

use super::aead;
use super::case::Case;
use crate::Result;
use crate::floor::text_octets;
use crate::memory::line::{Order, Watch, field};
use crate::memory::packets;
use crate::memory::peer::Peer;
use crate::memory::records::{self, LAN, Side, TUNNELS, WAN, port_id};
use crate::memory::run::{self, Ran};
use crate::memory::team::Team;
use crate::sealed::records::WINDOW_PKTS;

/// See the module's text.
pub struct Load {
    what: What,
    workers: usize,
}

enum What {
    Aead(Arc<Crypto>, usize),
    /// All but one case have one gateway.
    Sends(Vec<Team<()>>),
    Opens(Box<(Peer, Team<()>)>),
}

impl Load {
    /// Makes it with `workers` workers of at most `most`: what one of them has to do does not depend on their number.
    ///
    /// # Errors
    /// Those of the segments and of the AEAD.
    pub fn new(case: Case, workers: usize, most: usize, crypto: &Arc<Crypto>) -> Result<Self> {
        let sends = |tunnels: usize, spread: bool, workers: usize| -> Result<Team<()>> {
            let topology = records::topology(Side::Sends, spread);
            let mut team = Team::new(crypto, &topology, records::CAPACITY, vec![(); workers])?;
            team.install(records::all(Side::Sends, u8::try_from(tunnels)?)?)?;
            Ok(team)
        };
        let what = match case {
            Case::Aead => What::Aead(Arc::clone(crypto), text_octets(SHORT)),
            Case::AeadLong => What::Aead(Arc::clone(crypto), text_octets(LONG)),
            Case::Apart => {
                let teams = (0..workers).map(|_| sends(1, false, 1)).collect::<Result<Vec<_>>>()?;
                What::Sends(teams)
            }
            Case::ManySas => {
                let each = (usize::from(TUNNELS) / most).max(1);
                What::Sends(vec![sends(each * workers, false, workers)?])
            }
            Case::Owner | Case::Handed => What::Sends(vec![sends(1, false, workers)?]),
            Case::Spread => What::Sends(vec![sends(1, true, workers)?]),
            Case::Inbound => {
                let topology =
                    Topology { min_replay_window: WINDOW_PKTS, ..records::topology(Side::Receives, false) };
                let mut team = Team::new(crypto, &topology, records::CAPACITY, vec![(); workers])?;
                team.install(records::all(Side::Receives, 1)?)?;
                What::Opens(Box::new((Peer::new(crypto, FLOWS)?, team)))
            }
        };
        let mut load = Self { what, workers };
        if let What::Sends(teams) = &mut load.what {
            offer(case, teams)?;
        }
        Ok(load)
    }

    /// Lets every worker run for a window on a CPU of its own.
    ///
    /// # Errors
    /// Those of [`run::together`].
    pub fn window(&mut self, cpus: &[usize], limit: Duration) -> Result<Vec<Ran>> {
        let cpus = cpus.get(..self.workers).context("a CPU for each worker")?;
        match &mut self.what {
            What::Aead(crypto, octets) => aead::window(crypto, *octets, cpus, limit),
            What::Sends(teams) => {
                run::window(teams.iter_mut().flat_map(|team| team.parts().0.iter_mut()), cpus, limit)
            }
            What::Opens(both) => opened(both, cpus, limit),
        }
    }

    /// Ends it; returns what was dropped, by the name of the reason.
    ///
    /// # Errors
    /// An account does not add up.
    pub fn close(self) -> Result<BTreeMap<&'static str, u64>> {
        let teams = match self.what {
            What::Aead(..) => Vec::new(),
            What::Sends(teams) => teams,
            What::Opens(both) => vec![both.1],
        };
        let mut drops = BTreeMap::new();
        for team in teams {
            for (reason, packets) in team.drops() {
                *drops.entry(reason.name()).or_default() += packets;
            }
            team.close()?;
        }
        Ok(drops)
    }
}

/// Lets packets of a case arrive at the workers, each with flows of its own.
///
/// # Errors
/// More workers than there are flows for.
pub fn offer<W: Watch>(case: Case, teams: &mut [Team<W>]) -> Result<()> {
    let mut first = 0;
    for team in teams {
        let workers = team.lines().count();
        let owner = owner_of(0, workers);
        for worker in 0..workers {
            let handed = matches!(case, Case::Owner | Case::Handed) && worker != owner;
            if handed {
                team.wait_for(worker, owner);
            }
            let count =
                if case == Case::ManySas { team.control.adopter.snapshot().outbound.len() } else { 1 };
            let of_worker = |tunnel: &u8| case != Case::ManySas || owner_of(*tunnel, workers) == worker;
            let tunnels: Vec<u8> = (0..u8::try_from(count)?).filter(of_worker).collect();
            let flows = (first..first + FLOWS).zip(tunnels.iter().cycle());
            let frames =
                flows.map(|(flow, tunnel)| packets::frame(flow, *tunnel)).collect::<Result<Vec<_>>>()?;
            first += FLOWS;
            let line = team.lines().nth(worker).context("a worker")?;
            if handed || case != Case::Handed || workers == 1 {
                line.offer(port_id(LAN), field(&frames)?, Order::Round(0));
            }
        }
    }
    Ok(())
}

/// Returns the worker that an SA belongs to: its slot, which is one more than its tunnel's number, modulo the workers.
fn owner_of(tunnel: u8, workers: usize) -> usize {
    (usize::from(tunnel) + 1) % workers
}

/// Runs one field after the other, each filled while nobody measures, until they took as long as a window.
fn opened((peer, team): &mut (Peer, Team<()>), cpus: &[usize], limit: Duration) -> Result<Vec<Ran>> {
    let mut all = vec![Ran::default(); cpus.len()];
    while all.iter().all(|ran| ran.wall < limit) {
        let (frames, next) = (peer.fill()?, Arc::new(AtomicUsize::new(0)));
        for line in team.lines() {
            line.offer(port_id(WAN), Arc::clone(&frames), Order::Once(Arc::clone(&next)));
        }
        for (sum, ran) in all.iter_mut().zip(team.window(cpus, PATIENCE)?) {
            *sum += ran;
        }
    }
    Ok(all)
}

/// Flows that arrive at a worker.
const FLOWS: u16 = 1024;
/// Lengths of the inner packets whose AEAD alone is measured. Units: octets.
const SHORT: u16 = packets::INNER_OCTETS;
const LONG: u16 = 1400;
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crypto::Choice;

    /// Runs a case on whatever CPUs there are; what was sent by each worker, and dropped.
    fn ran(case: Case, workers: usize) -> (Vec<u64>, BTreeMap<&'static str, u64>) {
        let crypto = Arc::new(Crypto::new(Choice::Auto).unwrap());
        let cpu = crate::cpu::last(1).unwrap()[0];
        let mut load = Load::new(case, workers, 2, &crypto).unwrap();
        let ran = load.window(&vec![cpu; workers], Duration::from_millis(30)).unwrap();
        (ran.iter().map(|ran| ran.sent).collect(), load.close().unwrap())
    }

    #[test]
    fn every_case_sends_with_one_worker_and_drops_nothing() {
        for case in Case::ALL {
            let (sent, drops) = ran(case, 1);
            assert!(sent[0] > 0 && drops.is_empty(), "{}: {sent:?} {drops:?}", case.name());
        }
    }

    #[test]
    fn the_workers_that_seal_are_those_of_the_case() {
        for (case, seals) in [
            (Case::Apart, [true, true]),
            (Case::ManySas, [true, true]),
            (Case::Owner, [false, true]),
            (Case::Handed, [false, true]),
            (Case::Spread, [true, true]),
        ] {
            let (sent, drops) = ran(case, 2);
            assert_eq!([sent[0] > 0, sent[1] > 0], seals, "{}", case.name());
            assert!(drops.is_empty(), "{}: {drops:?}", case.name());
        }
    }

    #[test]
    fn each_of_several_workers_has_as_many_sas_as_one() {
        let crypto = Arc::new(Crypto::new(Choice::Auto).unwrap());
        for workers in [1, 2] {
            let load = Load::new(Case::ManySas, workers, 2, &crypto).unwrap();
            let What::Sends(teams) = &load.what else { panic!("it sends") };
            assert_eq!(teams[0].control.adopter.snapshot().outbound.len(), 32 * workers);
        }
    }
}
