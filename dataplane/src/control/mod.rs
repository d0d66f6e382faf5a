//! The control thread: kernel devices, neighbours, the segment and the bridge; nothing takes it longer than 1 ms.
//!
//! It sleeps in epoll until a device, the kernel's neighbour table, the bridge or a worker's bell wakes it, and looks
//! after the segment at least every 10 ms, every 1 ms while something is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;

use crossbeam::queue::ArrayQueue;
use esp::aead::KeySchedule;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

pub use host::Lost;
pub use view::View;

use crate::adopt::Adopter;
use crate::bell::Bell;
use crate::clock::boottime_ns;
use crate::netdev::{Neighbours, Netdev};
use crate::path::host::HostDevice;
use crate::path::shared::{Notice, WorkerShared};
use crate::ports::{Buffer, InterfaceId, PortId};
use crate::tables::topology::Topology;
use bridge::BridgeLink;
use host::{HostIo, Read};
use solicit::Solicitor;

mod bridge;
mod host;
mod solicit;
mod view;

/// What the control thread is made from.
pub struct Parts<B, S: KeySchedule> {
    /// Takes SAs, policies, routes and neighbours up.
    pub adopter: Adopter<S>,
    /// Every worker's rings.
    pub workers: Vec<Arc<WorkerShared<B>>>,
    /// The TAP of every port; none without netdevs.
    pub taps: Vec<Netdev>,
    /// The TUN of every interface.
    pub tuns: Vec<Option<Netdev>>,
    /// The kernel's neighbours; none without netdevs.
    pub neighbours: Option<Neighbours>,
    /// Where buffers for the host's packets come from.
    pub alloc: Box<dyn FnMut() -> Option<B> + Send>,
    /// Largest MTU of any device.
    pub mtu_octets: u16,
    /// The runtime directory.
    pub dir: shm_protocol::place::RuntimeDir,
    /// What the service thread sees and asks for.
    pub view: Arc<View<S::Key>>,
    /// Changes asked for by the service thread.
    pub orders: Arc<ArrayQueue<Order>>,
    /// Wakes this thread.
    pub bell: Arc<Bell>,
    /// Tells it to stop.
    pub stop: Arc<AtomicBool>,
}

/// A new configuration to take up.
pub struct Order {
    /// Routes, interfaces, addresses, neighbours.
    pub topology: Topology,
    /// What becomes of the TUN at each interface's place.
    pub tuns: Vec<TunChange>,
    /// Told when it is in force, and given the TUNs that are not used any more.
    pub done: SyncSender<Vec<Netdev>>,
}

/// What becomes of the TUN at an interface's place.
#[derive(Debug)]
pub enum TunChange {
    /// It stays.
    Keep,
    /// This one takes the place.
    Open(Netdev),
    /// It goes.
    Close,
}

/// See the module's text.
pub struct Control<B, S: KeySchedule> {
    adopter: Adopter<S>,
    workers: Vec<Arc<WorkerShared<B>>>,
    host: HostIo<B>,
    solicitor: Option<Solicitor>,
    bridge: BridgeLink,
    alloc: Box<dyn FnMut() -> Option<B> + Send>,
    view: Arc<View<S::Key>>,
    orders: Arc<ArrayQueue<Order>>,
    bell: Arc<Bell>,
    stop: Arc<AtomicBool>,
    epoll: Epoll,
    active_ns: u64,
}

impl<B: Buffer, S: KeySchedule> Control<B, S> {
    /// Makes the control thread's state.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(parts: Parts<B, S>) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let bridge = BridgeLink::new(parts.dir)?;
        epoll.add(&*parts.bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        epoll.add(bridge.changed(), EpollEvent::new(EpollFlags::EPOLLIN, CHANGED))?;
        let indices: Vec<u32> = parts.taps.iter().map(|tap| tap.link.index).collect();
        let solicitor = parts.neighbours.map(|neighbours| Solicitor::new(neighbours, indices));
        if let Some(solicitor) = &solicitor {
            epoll.add(solicitor, EpollEvent::new(EpollFlags::EPOLLIN, NEIGHBOURS))?;
        }
        let lost = Arc::clone(&parts.view.lost);
        let host = HostIo::new(parts.taps, parts.tuns, parts.workers.clone(), lost, parts.mtu_octets);
        for (device, netdev) in host.devices() {
            epoll.add(&netdev.tap, EpollEvent::new(EpollFlags::EPOLLIN, token(device)))?;
        }
        Ok(Self {
            adopter: parts.adopter,
            workers: parts.workers,
            host,
            solicitor,
            bridge,
            alloc: parts.alloc,
            view: parts.view,
            orders: parts.orders,
            bell: parts.bell,
            stop: parts.stop,
            epoll,
            active_ns: 0,
        })
    }

    /// Works until it is told to stop.
    pub fn run(mut self) {
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut blocked = false;
        while !self.stop.load(Ordering::Relaxed) {
            let now_ns = boottime_ns();
            let more = self.tend(now_ns);
            self.bell.wait_from_now();
            let more = more || self.host.waits() || !self.orders.is_empty();
            if blocked {
                // A worker's ring or the pool is full; both empty within microseconds.
                std::thread::sleep(std::time::Duration::from_micros(50));
            }
            let ready = self.epoll.wait(&mut events, self.patience(now_ns, more)).unwrap_or(0);
            self.bell.awake();
            blocked = false;
            for event in events.iter().take(ready) {
                blocked |= self.serve(event.data());
            }
            if ready > 0 || more {
                self.active_ns = now_ns;
            }
        }
        self.view.set_bridge(false);
    }

    /// Looks after everything that does not wake it; true if there is more to do at once.
    fn tend(&mut self, now_ns: u64) -> bool {
        let done = self.take_orders();
        let punted = self.host.punt(PUNTS);
        self.take_notices(now_ns);
        let adopted = self.adopter.step(now_ns);
        if adopted.published {
            self.view.set_tables(self.adopter.snapshot());
        }
        for (done, closed) in done {
            // Nobody listens any more if the order took too long.
            let _ = done.try_send(closed);
        }
        self.adopter.heartbeat(now_ns);
        if let Some(socket) = self.bridge.tend(now_ns) {
            // A socket that cannot be waited on is found broken at the next attempt.
            let _ = self.epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, BRIDGE));
        }
        self.view.set_bridge(self.bridge.is_connected());
        adopted.more || punted > 0
    }

    fn patience(&self, now_ns: u64, more: bool) -> EpollTimeout {
        if more {
            EpollTimeout::ZERO
        } else if now_ns.saturating_sub(self.active_ns) < CALM_AFTER_NS {
            EpollTimeout::from(1_u8)
        } else {
            EpollTimeout::from(10_u8)
        }
    }

    /// Serves what is ready; true if it has to wait for a worker.
    fn serve(&mut self, token: u64) -> bool {
        match token {
            BELL => {}
            CHANGED => {
                if !self.bridge.clear_changed() {
                    self.adopter.hurry();
                }
            }
            BRIDGE => self.bridge.receive(),
            NEIGHBOURS => self.read_neighbours(),
            _ => {
                let alloc = &mut *self.alloc;
                return self.host.read(device(token), alloc, READS) == Read::Blocked;
            }
        }
        false
    }

    fn take_notices(&mut self, now_ns: u64) {
        let mut events = false;
        for worker in &self.workers {
            for _ in 0..NOTICES {
                let Some(notice) = worker.notices.pop() else { break };
                events |= !matches!(notice, Notice::Missing { .. } | Notice::Learnt { .. });
                let ask = self.adopter.notice(notice, now_ns);
                if let (Some(ask), Some(solicitor)) = (ask, &mut self.solicitor) {
                    solicitor.ask(ask.port, ask.ip, now_ns);
                }
            }
        }
        if events {
            self.bridge.ring();
        }
    }

    fn read_neighbours(&mut self) {
        let Some(solicitor) = &mut self.solicitor else { return };
        let adopter = &mut self.adopter;
        solicitor.read(|port, ip, mac| match mac {
            Some(mac) => adopter.learn(port, ip, mac),
            None => adopter.forget(port, ip),
        });
    }

    /// Takes new configurations up; returns who is told when the workers can see them, and what they are given.
    fn take_orders(&mut self) -> Vec<(SyncSender<Vec<Netdev>>, Vec<Netdev>)> {
        let mut done = Vec::new();
        while let Some(order) = self.orders.pop() {
            let closed = self.change_tuns(order.tuns);
            self.adopter.set_topology(order.topology);
            done.push((order.done, closed));
        }
        done
    }

    fn change_tuns(&mut self, changes: Vec<TunChange>) -> Vec<Netdev> {
        let mut closed = Vec::new();
        let mut old = self.host.replace_tuns(Vec::new()).into_iter();
        let mut tuns = Vec::with_capacity(changes.len());
        for (at, change) in changes.into_iter().enumerate() {
            let before = old.next().flatten();
            tuns.push(match change {
                TunChange::Keep => before,
                TunChange::Close => {
                    closed.extend(before);
                    None
                }
                TunChange::Open(netdev) => {
                    closed.extend(before);
                    let id = InterfaceId(u16::try_from(at).unwrap_or(u16::MAX));
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, token(HostDevice::Interface(id)));
                    if let Err(errno) = self.epoll.add(&netdev.tap, event) {
                        tracing::error!("{}: packets of the host are not read: {errno}", netdev.tap.name());
                    }
                    Some(netdev)
                }
            });
        }
        self.host.replace_tuns(tuns);
        for netdev in &closed {
            // It goes with its last file in any case.
            let _ = self.epoll.delete(&netdev.tap);
        }
        closed
    }
}

fn token(device: HostDevice) -> u64 {
    match device {
        HostDevice::Port(PortId(at)) => TAPS + u64::from(at),
        HostDevice::Interface(InterfaceId(at)) => TUNS + u64::from(at),
    }
}

fn device(token: u64) -> HostDevice {
    let at = |base: u64| u16::try_from(token.saturating_sub(base)).unwrap_or(u16::MAX);
    if token < TUNS {
        HostDevice::Port(PortId(at(TAPS)))
    } else {
        HostDevice::Interface(InterfaceId(at(TUNS)))
    }
}

const BELL: u64 = 0;
const CHANGED: u64 = 1;
const BRIDGE: u64 = 2;
const NEIGHBOURS: u64 = 3;
const TAPS: u64 = 1 << 16;
const TUNS: u64 = 1 << 17;
/// Files served at one wake-up; with `READS` a bound on the time they take.
const EVENTS: usize = 16;
/// Packets read from one device at a time.
const READS: usize = 16;
/// Packets handed to the kernel at a time.
const PUNTS: usize = 128;
/// Notices taken from one worker at a time.
const NOTICES: usize = 64;
/// After so long without anything to do it sleeps longer.
const CALM_AFTER_NS: u64 = 20_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_device() {
        for known in [
            HostDevice::Port(PortId(0)),
            HostDevice::Port(PortId(31)),
            HostDevice::Interface(InterfaceId(0)),
            HostDevice::Interface(InterfaceId(u16::MAX)),
        ] {
            assert_eq!(device(token(known)), known);
        }
    }
}
