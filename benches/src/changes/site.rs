//! A gateway to very many road-warriors behind one `if_id`, and packets to some of them.

use std::sync::Arc;

use crypto::Crypto;
use dataplane::clock::boottime_ns;

use crate::Result;
use crate::memory::line::{Order, field};
use crate::memory::team::Team;
use crate::peers::Peers;
use crate::rows::Direction;
use crate::sealed::node::topology;
use crate::sealed::ports::LAN;
use crate::sealed::records::Records;
use crate::sealed::sealer::{FAR_MAC, OWN_MAC};
use crate::traffic::{self, FLOWS};

/// See the module's text.
pub struct Site {
    /// One worker, to which packets arrive without end.
    pub team: Team<()>,
    /// What it was filled from.
    pub records: Records,
    /// When its SAs end. Units: nanoseconds of CLOCK_BOOTTIME.
    pub deadline_ns: u64,
}

impl Site {
    /// Makes it with the SA and the three policies of each of `count` road-warriors.
    ///
    /// # Errors
    /// Those of the segments and of the AEAD.
    pub fn new(crypto: &Arc<Crypto>, count: u32) -> Result<Self> {
        let peers = Peers { count };
        let records = Records::new(peers, Direction::Outbound, 1);
        let deadline_ns = boottime_ns() + LIFETIME_NS;
        let mut team = Team::new(crypto, &topology(peers), count.saturating_mul(2).max(128), vec![()])?;
        let sas = (0..count).map(|peer| records.sa(peer, deadline_ns)).collect::<Result<Vec<_>>>()?;
        let mut policies = Vec::with_capacity(3 * sas.len());
        for peer in 0..count {
            policies.extend(records.policies(peer)?);
        }
        team.install((sas, policies))?;
        let frame = |number: u32| {
            // Those that get packets are as far from each other as they can be.
            let peer = number * (count / FLOWS).max(1) % count;
            let ip = traffic::outbound(number, peer, peers, INNER_OCTETS);
            [&OWN_MAC[..], &FAR_MAC, &[8, 0], &ip].concat()
        };
        let frames = field(&(0..FLOWS).map(frame).collect::<Vec<_>>())?;
        team.lines().for_each(|line| line.offer(LAN, Arc::clone(&frames), Order::Round(0)));
        Ok(Self { team, records, deadline_ns })
    }
}

const LIFETIME_NS: u64 = 3_600_000_000_000;
const INNER_OCTETS: u16 = 64;
