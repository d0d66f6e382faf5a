//! Between the workers' rings and the kernel's devices: punted packets out, the host's packets in.
//!
//! A packet leaves the kernel only when its worker's ring and the pool have room for it, so that nothing is lost here
//! on the way in; the kernel's queue does the waiting.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::netdev::Netdev;
use crate::path::host::{FromHost, HostDevice, Punt};
use crate::path::shared::WorkerShared;
use crate::ports::{Buffer, InterfaceId, PortId};

/// Packets that did not make it between engine and kernel.
#[derive(Debug, Default)]
pub struct Lost {
    /// Punted packets the kernel did not take.
    pub to_host: AtomicU64,
    /// Packets of the kernel that were longer than a buffer.
    pub from_host: AtomicU64,
}

/// Every device of ours and every worker's rings.
pub(super) struct HostIo<B> {
    taps: Vec<Netdev>,
    tuns: Vec<Option<Netdev>>,
    workers: Vec<Arc<WorkerShared<B>>>,
    lost: Arc<Lost>,
    /// Longest frame of any device; a longer one shows by filling the room for one octet more.
    frame_octets: usize,
}

/// What reading a device came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The kernel has no more.
    Empty,
    /// There is more, and it is another's turn.
    More,
    /// A ring or the pool is full: to be tried again in a moment.
    Blocked,
}

impl<B: Buffer> HostIo<B> {
    pub(super) fn new(
        taps: Vec<Netdev>,
        tuns: Vec<Option<Netdev>>,
        workers: Vec<Arc<WorkerShared<B>>>,
        lost: Arc<Lost>,
        mtu_octets: u16,
    ) -> Self {
        let frame_octets = usize::from(mtu_octets) + ETHERNET_OCTETS;
        Self { taps, tuns, workers, lost, frame_octets }
    }

    /// Every device, for waiting on.
    pub(super) fn devices(&self) -> impl Iterator<Item = (HostDevice, &Netdev)> {
        let taps =
            self.taps.iter().enumerate().map(|(at, device)| (HostDevice::Port(PortId(index(at))), device));
        let tuns = self.tuns.iter().enumerate().filter_map(|(at, device)| {
            Some((HostDevice::Interface(InterfaceId(index(at))), device.as_ref()?))
        });
        taps.chain(tuns)
    }

    /// Exchanges the TUNs; returns those that are not used any more.
    pub(super) fn replace_tuns(&mut self, tuns: Vec<Option<Netdev>>) -> Vec<Option<Netdev>> {
        std::mem::replace(&mut self.tuns, tuns)
    }

    /// Hands punted packets to the kernel, at most `most`; returns how many.
    pub(super) fn punt(&self, most: usize) -> usize {
        let mut done = 0;
        for worker in &self.workers {
            let share = (most / self.workers.len()).max(1);
            for _ in 0..share {
                let Some(punt) = worker.host.punts.pop() else { break };
                self.write(&punt);
                done += 1;
            }
        }
        done
    }

    /// Whether a worker has packets for the kernel or notices.
    pub(super) fn waits(&self) -> bool {
        self.workers.iter().any(|worker| !worker.host.punts.is_empty() || !worker.notices.is_empty())
    }

    /// Moves at most `most` packets from a device to the one worker that serves it.
    pub(super) fn read(&self, from: HostDevice, alloc: &mut dyn FnMut() -> Option<B>, most: usize) -> Read {
        let Some(device) = self.device(from) else { return Read::Empty };
        let Some(worker) = self.workers.get(serving(from, self.workers.len())) else { return Read::Empty };
        for _ in 0..most {
            if worker.host.from_host.is_full() {
                return Read::Blocked;
            }
            let Some(mut buf) = alloc() else { return Read::Blocked };
            match self.fill(device, &mut buf) {
                Ok(true) => drop(worker.host.from_host.push(FromHost { device: from, buf })),
                Ok(false) => {
                    self.lost.from_host.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => return Read::Empty,
            }
        }
        Read::More
    }

    /// Reads one packet; false if it was longer than the buffer.
    fn fill(&self, device: &Netdev, buf: &mut B) -> io::Result<bool> {
        let room = self.frame_octets + 1;
        if !buf.append(room) {
            return Ok(false);
        }
        let len = device.tap.read(buf.data_mut())?;
        buf.trim(room.saturating_sub(len));
        Ok(len < room)
    }

    fn write(&self, punt: &Punt<B>) {
        let written = self.device(punt.device).map(|device| device.tap.write(punt.buf.data()));
        if !matches!(written, Some(Ok(()))) {
            self.lost.to_host.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn device(&self, device: HostDevice) -> Option<&Netdev> {
        match device {
            HostDevice::Port(PortId(at)) => self.taps.get(usize::from(at)),
            HostDevice::Interface(InterfaceId(at)) => self.tuns.get(usize::from(at))?.as_ref(),
        }
    }
}

/// The worker that gets a device's packets: always the same, so that their order stays.
fn serving(device: HostDevice, workers: usize) -> usize {
    let (HostDevice::Port(PortId(at)) | HostDevice::Interface(InterfaceId(at))) = device;
    usize::from(at) % workers.max(1)
}

fn index(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

/// An Ethernet header with a VLAN tag.
const ETHERNET_OCTETS: usize = 18;
