//! The packet path: one file a stage, in the order a packet meets them; each takes a burst and hands on bursts.
//!
//! Nothing here blocks, allocates, logs, reads a clock or panics. A packet ends exactly once: sent, punted to the
//! host, or dropped for a named reason.
#![deny(clippy::indexing_slicing)]

pub mod chunk;
pub mod counters;
pub mod host;
pub mod shared;

mod ahead;
mod context;
mod flows;
mod limiter;
mod told;

mod rx;

mod known;
mod turn;

mod classify;

mod neighbor;
mod punt;

mod opening;

mod lookup;

mod open;

mod spray;

mod decap;
mod usage;

mod admit;

mod forward;
mod host_in;
mod ike_pieces;

mod protect;

mod mss;
mod size;

mod fragment;
mod icmp;

mod held;

mod sealing;

mod encap;

mod seal;

mod tx;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use arrayvec::ArrayVec;
use esp::aead::Aead;

use crate::ports::{Burst, PortId, Ports};
use crate::publish::Subscriber;
use crate::tables::Tables;
use context::{Context, List, Packet, Transits};
use flows::Flows;
use held::Held;
use icmp::Complaints;
use ike_pieces::IkePieces;
use limiter::Limiter;
use opening::Openings;
use sealing::SealList;
use shared::{Handoff, Work, WorkerShared};
use spray::Spray;
use told::Told;
use tx::Outputs;

/// One worker's packet path: every queue it owns, polled to completion.
pub struct Path<P: Ports, A: Aead> {
    worker: usize,
    ports: P,
    aead: A,
    tables: Subscriber<Tables<A::Key>>,
    workers: Vec<Arc<WorkerShared<P::Buf>>>,
    outputs: Outputs<P::Buf>,
    held: Held<P::Buf>,
    complaints: Complaints<P::Buf>,
    limiter: Limiter,
    told: Told,
    ike_pieces: IkePieces,
    flows: Flows,
    /// `None` where a worker opens what it receives itself.
    spray: Option<Box<Spray<P::Buf>>>,
    cycles: fn() -> u64,
}

impl<P: Ports, A: Aead> Path<P, A> {
    /// Makes the path of worker `worker`, whose share stands at that position of `workers`.
    ///
    /// `cycles` reads the time stamp counter. Panics: when `workers` has no such position.
    pub fn new(
        worker: usize,
        ports: P,
        aead: A,
        tables: Subscriber<Tables<A::Key>>,
        workers: Vec<Arc<WorkerShared<P::Buf>>>,
        cycles: fn() -> u64,
    ) -> Self {
        assert!(worker < workers.len(), "worker {worker} of {}", workers.len());
        let outputs = Outputs::new(workers.get(worker).map_or(0, |own| own.counters.ports()));
        Self {
            worker,
            ports,
            aead,
            tables,
            workers,
            outputs,
            held: Held::new(),
            complaints: ArrayVec::new(),
            limiter: Limiter::new(),
            told: Told::new(),
            ike_pieces: IkePieces::new(),
            flows: Flows::new(RandomState::new().hash_one(worker), flows::LEAST),
            spray: None,
            cycles,
        }
    }

    /// Makes room for `flows` remembered flows, rounded up to a power of two; what was remembered is forgotten.
    #[must_use]
    pub fn with_flows(self, flows: usize) -> Self {
        Self { flows: Flows::new(RandomState::new().hash_one(self.worker), flows), ..self }
    }

    /// Lets other workers open what this one receives in full bursts, and this one what they do, if `on` and there are others.
    #[must_use]
    pub fn with_spray(self, on: bool) -> Self {
        let own = self.workers.get(self.worker).filter(|_| on && self.workers.len() > 1);
        Self { spray: own.map(|own| Box::new(Spray::new(Arc::clone(own)))), ..self }
    }

    /// Does one pass over every queue and ring; returns how many packets were taken up.
    /// Units of `now_ns`: nanoseconds of CLOCK_BOOTTIME.
    pub fn poll(&mut self, now_ns: u64) -> usize {
        let (snapshot, tables) = self.tables.current();
        let mut ctx = Context {
            tables,
            ports: &mut self.ports,
            aead: &mut self.aead,
            workers: &self.workers,
            me: self.worker,
            outputs: &mut self.outputs,
            held: &mut self.held,
            complaints: &mut self.complaints,
            limiter: &mut self.limiter,
            told: &mut self.told,
            ike_pieces: &mut self.ike_pieces,
            flows: &mut self.flows,
            snapshot,
            now_ns,
            cycles: self.cycles,
        };
        let mut sealing = SealList::new();
        held::retry(&mut ctx, &mut sealing);
        let mut taken = 0;
        for index in 0..tables.topology.ports.len() {
            if let Ok(index) = u16::try_from(index) {
                taken += port_in(&mut ctx, PortId(index), &mut self.spray, &mut sealing);
            }
        }
        taken += host_in::host_in(&mut ctx, &mut sealing);
        taken += handoffs_in(&mut ctx, &mut sealing);
        if let Some(spray) = &mut self.spray {
            taken += spray::spray(&mut ctx, spray, taken, &mut sealing);
        }
        icmp::flush(&mut ctx, &mut sealing);
        seal::seal_and_send(&mut ctx, &mut sealing);
        ctx.flush();
        ctx.counters().polls.add(1);
        ctx.counters().idle_polls.add(u64::from(taken == 0));
        taken
    }

    /// The queues of this worker, for tests that look at them.
    pub fn ports_mut(&mut self) -> &mut P {
        &mut self.ports
    }
}

/// The way of a burst from one port; returns how many packets it had.
fn port_in<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    port: PortId,
    spray: &mut Option<Box<Spray<P::Buf>>>,
    sealing: &mut SealList<'t, P::Buf, K>,
) -> usize {
    let mut frames = Burst::new();
    rx::rx(ctx, port, &mut frames);
    let taken = frames.len();
    if taken == 0 {
        return 0;
    }
    let (mut rest, mut esp, mut clear) = (List::new(), Openings::new(), Transits::new());
    classify::take_esp(ctx, port, &mut frames, &mut esp);
    known::from_port(ctx, port, &mut frames, &mut rest, sealing);
    if !rest.is_empty() {
        classify::classify(ctx, port, &mut rest, &mut esp, &mut clear);
    }
    if !esp.is_empty() {
        lookup::lookup(ctx, &mut esp);
        match spray {
            Some(spray) if spray.takes(esp.len()) => spray::take(ctx, spray, &mut esp, sealing),
            _ => {
                open::open(ctx, &mut esp);
                deliver(ctx, &mut esp, sealing);
            }
        }
    }
    if clear.len() > 0 {
        forward::forward_all(ctx, &mut clear, sealing);
    }
    taken
}

/// The way of genuine ESP packets, all of them in order.
#[inline]
fn deliver<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    esp: &mut Openings<'t, P::Buf, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    let mut rest = List::new();
    decap::decap(ctx, esp);
    known::from_tunnels(ctx, esp, &mut rest, sealing);
    if !rest.is_empty() {
        let mut transits = Transits::new();
        decap::read(ctx, &mut rest, &mut transits);
        forward::forward_all(ctx, &mut transits, sealing);
    }
}

/// What other workers handed over; returns how many packets.
fn handoffs_in<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) -> usize {
    let mut taken = 0;
    while taken < esp::aead::MAX_BURST {
        let Some(Handoff { work, origin, bufs }) = ctx.shared().handoffs.pop() else { break };
        taken += bufs.len();
        match work {
            Work::Send(port) => ctx.send_all(port, origin, bufs.into_iter()),
            Work::Seal { slot, uid } => match protect::by_slot(ctx, slot, uid) {
                Ok(sa) => protect::place_all(ctx, origin, bufs.into_iter(), sa, sealing),
                Err(reason) => bufs.into_iter().for_each(|buf| ctx.drop(Packet { buf, origin }, reason)),
            },
        }
    }
    taken
}
