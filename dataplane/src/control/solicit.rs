//! Neighbours on the TAPs: what the kernel learns is passed on, what the engine misses is asked for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use crate::netdev::{Known, Neighbours};
use crate::ports::PortId;
use crate::tables::topology::Mac;

/// See the module's text.
pub(super) struct Solicitor {
    neighbours: Neighbours,
    /// The kernel's number of each port's TAP.
    indices: Vec<u32>,
    asked_ns: HashMap<(PortId, IpAddr), u64>,
}

impl Solicitor {
    pub(super) fn new(neighbours: Neighbours, indices: Vec<u32>) -> Self {
        Self { neighbours, indices, asked_ns: HashMap::new() }
    }

    /// Asks the kernel to find a neighbour, unless it was asked a moment ago.
    pub(super) fn ask(&mut self, port: PortId, ip: IpAddr, now_ns: u64) {
        let Some(index) = self.indices.get(usize::from(port.0)) else { return };
        if self.asked_ns.len() > MOST_ASKED {
            self.asked_ns.clear();
        }
        let asked = self.asked_ns.entry((port, ip)).or_insert(0);
        if now_ns.saturating_sub(*asked) >= AGAIN_NS {
            *asked = now_ns;
            // What fails now is asked for again with the next packet.
            let _ = self.neighbours.solicit(*index, ip);
        }
    }

    /// Reads some of the kernel's notices; `with` gets a neighbour and its address, `None` if it is lost.
    pub(super) fn read(&mut self, mut with: impl FnMut(PortId, IpAddr, Option<Mac>)) {
        let mut stale = Vec::new();
        for _ in 0..DATAGRAMS {
            let indices = &self.indices;
            let read = self.neighbours.read(|notice| {
                let Some(at) = indices.iter().position(|index| *index == notice.index) else { return };
                let port = PortId(u16::try_from(at).unwrap_or(u16::MAX));
                match notice.known {
                    Known::Confirmed(mac) => with(port, notice.ip, Some(mac)),
                    Known::Stale(mac) => {
                        with(port, notice.ip, Some(mac));
                        stale.push((notice.index, notice.ip));
                    }
                    Known::Lost => with(port, notice.ip, None),
                }
            });
            if !read.unwrap_or(false) {
                break;
            }
        }
        // The kernel does not see the engine's packets, so it is asked to confirm the neighbours they go to.
        for (index, ip) in stale {
            let _ = self.neighbours.solicit(index, ip);
        }
    }
}

impl AsFd for Solicitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.neighbours.as_fd()
    }
}

/// The kernel itself repeats a solicitation every second.
const AGAIN_NS: u64 = 100_000_000;
const MOST_ASKED: usize = 4096;
/// Datagrams of notices read at a time.
const DATAGRAMS: usize = 4;
