//! The far end of one tunnel: seals frames that are to be opened, as many as a field holds.

use std::sync::Arc;

use anyhow::Context as _;
use crypto::Crypto;
use dataplane::clock::boottime_ns;
use dataplane::ports::Buffer as _;

use super::line::{Order, Watch, field};
use super::packets::{self, turn_round};
use super::ports::Frame;
use super::records::{self, LAN, Side, port_id};
use super::team::Team;
use crate::Result;
use crate::sealed::field::{FRAMES, Field};

/// See the module's text.
pub struct Peer {
    team: Team<Keep>,
}

/// Keeps what is sent, in order.
#[derive(Debug, Default)]
struct Keep {
    field: Field,
    next: usize,
}

impl Watch for Keep {
    fn sent(&mut self, burst: &[Frame]) {
        if let (true, Some(first)) = (self.field.is_empty(), burst.first()) {
            self.field.shape(FRAMES, first.data().len());
        }
        for frame in burst {
            if let Some(place) =
                self.field.frame_mut(self.next).filter(|place| place.len() == frame.data().len())
            {
                place.copy_from_slice(frame.data());
                turn_round(place);
            }
            self.next += 1;
        }
    }
}

impl Peer {
    /// Makes a peer whose hosts send by `flows` flows.
    ///
    /// # Errors
    /// Those of the segments and of the AEAD.
    pub fn new(crypto: &Arc<Crypto>, flows: u16) -> Result<Self> {
        let topology = records::topology(Side::Sends, false);
        let mut team = Team::new(crypto, &topology, records::CAPACITY, vec![Keep::default()])?;
        team.install(records::all(Side::Sends, 1)?)?;
        let frames = (0..flows).map(|flow| packets::frame(flow, 0)).collect::<Result<Vec<_>>>()?;
        let frames = field(&frames)?;
        team.lines().for_each(|line| line.offer(port_id(LAN), Arc::clone(&frames), Order::Round(0)));
        Ok(Self { team })
    }

    /// Returns a field of frames whose numbers go on where those of the last one ended.
    ///
    /// # Errors
    /// It does not send.
    pub fn fill(&mut self) -> Result<Arc<Field>> {
        let worker = self.team.parts().0.first_mut().context("a worker")?;
        while worker.ports_mut().watch.next < FRAMES {
            let taken = worker.poll(boottime_ns());
            anyhow::ensure!(taken > 0, "the peer sends nothing");
        }
        let keep = std::mem::take(&mut worker.ports_mut().watch);
        anyhow::ensure!(keep.next == FRAMES, "{} frames of {FRAMES}", keep.next);
        Ok(Arc::new(keep.field))
    }
}
