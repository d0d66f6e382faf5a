//! Stage spray: a worker that receives more ESP than it can open lets others open some of it, and goes on in the order of
//! arrival. Off unless the configuration asks for it.
//!
//! What arrives in a full burst is offered in chunks that any worker takes when it has time, this one too. No packet passes
//! another of its worker's: each waits until all before it are back, and only then do the window and the later stages see it,
//! here and nowhere else. So nothing that does not verify is delivered, and nothing twice, whoever opened it.

use std::sync::Arc;

use arrayvec::ArrayVec;
use esp::DropReason;

use super::ahead;
use super::chunk::{CHUNKS, Chunk, Last, PKTS, Sprayed, State};
use super::context::Context;
use super::counters::{Origin, Stage};
use super::deliver;
use super::open::open;
use super::opening::Openings;
use super::sealing::SealList;
use super::shared::WorkerShared;
use crate::ports::{Buffer, Ports};

/// A burst of so many packets says that there is more than the worker keeps up with.
const BUSY_PKTS: usize = esp::aead::MAX_BURST / 2;
/// Chunks a busy worker leaves to the others: what arrives in two passes. It opens what is more.
const LEFT_CHUNKS: usize = 2 * esp::aead::MAX_BURST / PKTS;
/// A worker that keeps a chunk for so long does not come back. Units: nanoseconds.
const GIVEN_UP_AFTER_NS: u64 = 100_000_000;

/// What one worker has under way.
pub(super) struct Spray<B> {
    own: Arc<WorkerShared<B>>,
    free: ArrayVec<Box<Chunk<B>>, CHUNKS>,
    /// By ticket, modulo their number: every chunk that is not free has a place.
    places: [Place<B>; CHUNKS],
    /// Ticket of the oldest under way, and the next one's.
    first: u64,
    next: u64,
    /// Whether this pass offered something.
    offers: bool,
    /// The ticket that all wait for, and since when.
    missing: Option<(u64, u64)>,
}

/// What is known of a chunk under way.
enum Place<B> {
    Empty,
    /// Offered, or in the hands of whoever opens it.
    Out {
        packets: usize,
        origin: Origin,
    },
    /// Back, and waiting for those before it.
    Back(Box<Chunk<B>>),
}

impl<B: Buffer> Spray<B> {
    /// Makes the chunks of a worker.
    pub(super) fn new(own: Arc<WorkerShared<B>>) -> Self {
        let free = (0..CHUNKS).map(|_| Chunk::boxed()).collect();
        let places = [const { Place::Empty }; CHUNKS];
        Self { own, free, places, first: 0, next: 0, offers: false, missing: None }
    }

    /// Whether a burst of so many packets takes this way: it is large, or must not pass what is under way.
    #[inline]
    pub(super) const fn takes(&self, packets: usize) -> bool {
        packets >= BUSY_PKTS || self.first != self.next
    }

    /// Gives the next place in the order to a free chunk.
    fn begin(&mut self) -> Option<Box<Chunk<B>>> {
        let mut chunk = self.free.pop()?;
        chunk.ticket = self.next;
        self.next += 1;
        Some(chunk)
    }

    #[inline]
    fn place(&mut self, ticket: u64) -> Option<&mut Place<B>> {
        let at = usize::try_from(ticket % CHUNKS as u64).ok()?;
        self.places.get_mut(at)
    }

    fn set(&mut self, ticket: u64, to: Place<B>) {
        if let Some(place) = self.place(ticket) {
            *place = to;
        }
    }

    /// Takes a chunk back. One that was given up has been counted, and all that is left to do is to free its packets.
    fn back(&mut self, mut chunk: Box<Chunk<B>>) {
        if chunk.ticket >= self.first {
            self.set(chunk.ticket, Place::Back(chunk));
        } else {
            chunk.packets.clear();
            self.free.push(chunk);
        }
    }

    /// Returns the chunk whose turn it is, if it is back.
    fn turn(&mut self) -> Option<Box<Chunk<B>>> {
        let place = self.place(self.first)?;
        match std::mem::replace(place, Place::Empty) {
            Place::Back(chunk) => {
                self.first += 1;
                Some(chunk)
            }
            other @ (Place::Empty | Place::Out { .. }) => {
                *place = other;
                None
            }
        }
    }

    /// Returns the last chunk, if it is back and has room.
    fn last_with_room(&mut self) -> Option<&mut Chunk<B>> {
        if self.first == self.next {
            return None;
        }
        match self.place(self.next - 1)? {
            Place::Back(chunk) if !chunk.packets.is_full() => Some(chunk),
            Place::Empty | Place::Out { .. } | Place::Back(_) => None,
        }
    }
}

/// Takes a burst that was looked up: offers it, or opens it where it is small, to wait for its turn.
pub(super) fn take<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    spray: &mut Spray<P::Buf>,
    packets: &mut Openings<'t, P::Buf, K>,
    sealing: &mut SealList<'t, P::Buf, K>,
) {
    if packets.len() > spray.free.len() * PKTS {
        settle(ctx, spray, 0, sealing);
    }
    if packets.len() >= BUSY_PKTS {
        offer(ctx, spray, packets);
    } else {
        open(ctx, packets);
        keep(spray, packets);
    }
    // Only what another worker holds is left to wait for.
    for packet in packets.packets.drain(..) {
        ctx.drop(packet, DropReason::HandoffFull);
    }
}

/// Offers chunks to all workers, as long as there are free ones.
fn offer<P: Ports, K>(
    ctx: &Context<'_, P, K>,
    spray: &mut Spray<P::Buf>,
    packets: &mut Openings<'_, P::Buf, K>,
) {
    let start = (ctx.cycles)();
    while let Some(origin) = packets.packets.first().map(|packet| packet.origin) {
        let Some(mut chunk) = spray.begin() else { break };
        let count = chunk.fill(packets, State::Sealed);
        let ticket = chunk.ticket;
        spray.set(ticket, Place::Out { packets: count, origin });
        if let Err(chunk) = ctx.shared().spray.offered.push(chunk) {
            // It is opened when its turn comes.
            spray.set(ticket, Place::Back(chunk));
        }
        spray.offers = true;
    }
    let cycles = (ctx.cycles)().wrapping_sub(start);
    ctx.counters().stage(Stage::Spray).cycles.add(cycles);
}

/// Lines genuine packets up behind what is under way, as long as there is a place.
fn keep<B: Buffer, K>(spray: &mut Spray<B>, packets: &mut Openings<'_, B, K>) {
    while !packets.is_empty() {
        if spray.last_with_room().is_none() {
            let Some(chunk) = spray.begin() else { return };
            spray.set(chunk.ticket, Place::Back(chunk));
        }
        let Some(chunk) = spray.last_with_room() else { return };
        chunk.fill(packets, State::Genuine);
    }
}

/// Takes back what others opened, opens what they leave, and sends what has its turn on its way. `taken` is what this pass
/// found; a worker that found little opens a chunk of another's. Returns how many packets it worked on.
pub(super) fn spray<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    spray: &mut Spray<P::Buf>,
    taken: usize,
    sealing: &mut SealList<'t, P::Buf, K>,
) -> usize {
    let mut worked = 0;
    if spray.first != spray.next {
        let left = if spray.offers { LEFT_CHUNKS } else { 0 };
        worked += settle(ctx, spray, left, sealing);
        give_up(ctx, spray);
    }
    spray.offers = false;
    if taken < BUSY_PKTS { worked + help(ctx) } else { worked }
}

/// Takes back what others opened, opens all they have not taken but the newest `left` chunks, and goes on.
fn settle<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    spray: &mut Spray<P::Buf>,
    left: usize,
    sealing: &mut SealList<'t, P::Buf, K>,
) -> usize {
    while let Some(chunk) = ctx.shared().spray.opened.pop() {
        spray.back(chunk);
    }
    while ctx.shared().spray.offered.len() > left {
        let Some(mut chunk) = ctx.shared().spray.offered.pop() else { break };
        open_one(ctx, &mut chunk);
        spray.back(chunk);
    }
    go_on(ctx, spray, sealing)
}

fn open_one<P: Ports, K: Send + Sync>(ctx: &mut Context<'_, P, K>, chunk: &mut Chunk<P::Buf>) {
    let start = (ctx.cycles)();
    chunk.open(ctx.tables, ctx.aead);
    ctx.spent(Stage::Open, chunk.packets.len(), start);
}

/// Sends what has its turn on its way; returns how many packets.
fn go_on<'t, P: Ports, K: Send + Sync>(
    ctx: &mut Context<'t, P, K>,
    spray: &mut Spray<P::Buf>,
    sealing: &mut SealList<'t, P::Buf, K>,
) -> usize {
    let mut start = (ctx.cycles)();
    let (mut packets, mut last, mut sum) = (Openings::new(), None, 0);
    while let Some(mut chunk) = spray.turn() {
        if chunk.packets.iter().any(|packet| packet.state == State::Sealed) {
            open_one(ctx, &mut chunk);
        }
        chunk.packets.iter().for_each(|sprayed| ahead::opened(&sprayed.packet.buf, &sprayed.arrived));
        for packet in chunk.packets.drain(..) {
            judge(ctx, packet, &mut last, &mut packets);
            sum += 1;
        }
        spray.free.push(chunk);
        if packets.packets.remaining_capacity() < PKTS {
            ctx.spent(Stage::Spray, packets.len(), start);
            deliver(ctx, &mut packets, sealing);
            packets.clear();
            start = (ctx.cycles)();
        }
    }
    if !packets.is_empty() {
        ctx.spent(Stage::Spray, packets.len(), start);
        deliver(ctx, &mut packets, sealing);
    }
    sum
}

/// Adds a packet to `out` if it is genuine and its SA is there still; others end here.
fn judge<'t, P: Ports, K>(
    ctx: &Context<'t, P, K>,
    sprayed: Sprayed<P::Buf>,
    last: &mut Last<'t, K>,
    out: &mut Openings<'t, P::Buf, K>,
) {
    use std::sync::atomic::Ordering::Relaxed;
    let Sprayed { packet, arrived, fresh, sa, state } = sprayed;
    let reason = match (state, sa.find(ctx.tables, last)) {
        (State::Genuine, Some(sa)) => {
            out.push(packet, arrived);
            out.sas.push(sa);
            out.fresh.push(fresh);
            return;
        }
        (State::Forged, Some(sa)) => {
            sa.common.live.err_integrity.fetch_add(1, Relaxed);
            DropReason::Integrity
        }
        (_, None) => DropReason::UnknownSpi,
        (State::Sealed, Some(_)) => DropReason::MalformedEsp,
    };
    ctx.drop(packet, reason);
}

/// Gives a chunk up that one worker has kept for too long, so that the others go on.
fn give_up<P: Ports, K>(ctx: &Context<'_, P, K>, spray: &mut Spray<P::Buf>) {
    let first = spray.first;
    let Some(&mut Place::Out { packets, origin }) = spray.place(first) else { return };
    if !ctx.shared().spray.offered.is_empty() {
        return;
    }
    match spray.missing {
        Some((ticket, since_ns)) if ticket == first => {
            if ctx.now_ns.saturating_sub(since_ns) > GIVEN_UP_AFTER_NS {
                ctx.account(origin).drops_of(DropReason::HandoffLost).add(packets as u64);
                spray.set(first, Place::Empty);
                spray.first += 1;
            }
        }
        _ => spray.missing = Some((first, ctx.now_ns)),
    }
}

/// Opens a chunk that another worker offers; returns how many packets it had.
fn help<P: Ports, K: Send + Sync>(ctx: &mut Context<'_, P, K>) -> usize {
    let workers = ctx.workers;
    let others = workers.iter().cycle().skip(ctx.me + 1).take(workers.len() - 1);
    for rings in others.map(|other| &other.spray) {
        if rings.offered.is_empty() {
            continue;
        }
        if let Some(mut chunk) = rings.offered.pop() {
            open_one(ctx, &mut chunk);
            let packets = chunk.packets.len();
            // There is room for every chunk that its worker has. Were there none, that worker would give it up.
            let _ = rings.opened.push(chunk);
            return packets;
        }
    }
    0
}

impl<B> Drop for Spray<B> {
    /// What is under way when the worker ends is counted here; its buffers are freed where they are.
    fn drop(&mut self) {
        for place in &self.places {
            match place {
                Place::Empty => {}
                Place::Out { packets, origin } => {
                    let account = self.own.counters.account(*origin);
                    account.drops_of(DropReason::HandoffLost).add(*packets as u64);
                }
                Place::Back(chunk) => {
                    for packet in &chunk.packets {
                        self.own.counters.dropped(packet.packet.origin, DropReason::HandoffLost);
                    }
                }
            }
        }
    }
}
