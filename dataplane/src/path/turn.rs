//! What the way of a flow comes to in this burst: its SA or its port, as they are now.

use esp::DropReason;
use esp::aead::MAX_BURST;
use esp::wire::Family;
use esp::wire::eth::{self, Mac};
use esp::wire::plain::Plain;

use super::context::{Context, List, Packet};
use super::counters::Origin;
use super::flows::{Packed, Way};
use super::forward::ethertype;
use super::protect::hand_over;
use super::seal::seal_and_send;
use super::sealing::{Leaving, SealList};
use crate::ports::{Buffer, PortId, Ports};
use crate::tables::hop::Next;
use crate::tables::sa::OutboundSa;

/// Packets in a row that go the same way.
pub(super) struct Stretch<'t, K> {
    pub(super) way: Packed,
    pub(super) packets: usize,
    /// The SA that seals them, once it was looked up.
    pub(super) sa: Option<&'t OutboundSa<K>>,
}

/// See the module's text.
pub(super) enum Turn<'t, K> {
    Seal {
        sa: &'t OutboundSa<K>,
        next: Next,
        mtu: u16,
        shared: bool,
    },
    /// Sealed by the worker that the SA belongs to.
    HandOver {
        sa: &'t OutboundSa<K>,
        mtu: u16,
    },
    Clear {
        port: PortId,
        to: Mac,
        own: Mac,
        mtu: u16,
    },
}

impl<K> Clone for Turn<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Turn<'_, K> {}

impl<'t, K: Send + Sync> Turn<'t, K> {
    /// `None` when no way is known, or when it has to be looked at again.
    pub(super) fn of<P: Ports>(ctx: &Context<'t, P, K>, stretch: &Stretch<'t, K>) -> Option<Self> {
        let Stretch { way, sa, .. } = *stretch;
        if way == Packed::NONE {
            return None;
        }
        match way.way() {
            Way::Clear { port, mac, mtu } => {
                Some(Self::Clear { port, to: mac, own: Mac(ctx.tables.port(port)?.mac), mtu })
            }
            Way::Seal { port, mtu, spread, .. } => {
                let sa = sa?;
                // The SA's time and its next hop change under a snapshot.
                let next = sa.hop.next()?;
                if next.port() != port || sa.common.hard_deadline_ns <= ctx.now_ns {
                    return None;
                }
                let ours = spread || sa.common.owner(ctx.workers.len()) == ctx.me;
                Some(if ours {
                    Self::Seal { sa, next, mtu, shared: spread }
                } else {
                    Self::HandOver { sa, mtu }
                })
            }
        }
    }

    /// Length of the longest packet that goes this way. Units: octets.
    #[inline]
    pub(super) const fn mtu(&self) -> u16 {
        match self {
            Self::Seal { mtu, .. } | Self::HandOver { mtu, .. } | Self::Clear { mtu, .. } => *mtu,
        }
    }

    /// Sends packets on their way; each starts at its IP header and ends with it.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the common case is one push a packet")]
    pub(super) fn take<'p, P: Ports>(
        self,
        ctx: &mut Context<'t, P, K>,
        packets: impl Iterator<Item = (Packet<P::Buf>, &'p Plain)>,
        sealing: &mut SealList<'t, P::Buf, K>,
    ) {
        let passed = packets.map(|(mut packet, plain)| {
            plain.pass(packet.buf.data_mut());
            (packet, plain)
        });
        match self {
            Self::Seal { sa, next, shared, .. } => {
                let mut last = None;
                for (Packet { buf, origin }, _) in passed {
                    if sealing.is_full() {
                        seal_and_send(ctx, sealing);
                        last = None;
                    }
                    if last != Some(origin) {
                        sealing.open(Leaving { sa, next, origin, shared });
                        last = Some(origin);
                    }
                    sealing.push(buf);
                }
            }
            Self::HandOver { sa, .. } => {
                let mut alike = Alike::new();
                for (packet, _) in passed {
                    alike.push(packet, |origin, bufs| hand_over(ctx, origin, bufs, sa));
                }
                alike.end(|origin, bufs| hand_over(ctx, origin, bufs, sa));
            }
            Self::Clear { port, to, own, .. } => send_clear(ctx, passed, port, to, own),
        }
    }
}

/// Sends packets out of a port in clear; those of one account together.
#[inline]
fn send_clear<'p, P: Ports, K>(
    ctx: &mut Context<'_, P, K>,
    packets: impl Iterator<Item = (Packet<P::Buf>, &'p Plain)>,
    port: PortId,
    to: Mac,
    own: Mac,
) {
    let [four, six] = [Family::V4, Family::V6].map(|family| eth::header(to, own, ethertype(family)));
    let mut alike = Alike::new();
    for (mut packet, plain) in packets {
        let grown = packet.buf.prepend(eth::HEADER_OCTETS);
        let Some(place) = packet.buf.data_mut().first_chunk_mut().filter(|_| grown) else {
            ctx.drop(packet, DropReason::NoHeadroom);
            continue;
        };
        *place = if plain.family() == Family::V4 { four } else { six };
        alike.push(packet, |origin, frames| ctx.send_all(port, origin, frames));
    }
    alike.end(|origin, frames| ctx.send_all(port, origin, frames));
}

/// Packets in a row of one account, which go on together.
struct Alike<B> {
    origin: Option<Origin>,
    bufs: List<B>,
}

impl<B> Alike<B> {
    const fn new() -> Self {
        Self { origin: None, bufs: List::new_const() }
    }

    /// Adds a packet; those before it go on by `flush` if theirs is another account, or if there are as many as go together.
    #[inline]
    fn push(&mut self, packet: Packet<B>, flush: impl FnOnce(Origin, arrayvec::Drain<'_, B, MAX_BURST>)) {
        if self.origin != Some(packet.origin) || self.bufs.is_full() {
            self.flush(flush);
            self.origin = Some(packet.origin);
        }
        self.bufs.push(packet.buf);
    }

    /// The last of them go on.
    fn end(mut self, flush: impl FnOnce(Origin, arrayvec::Drain<'_, B, MAX_BURST>)) {
        self.flush(flush);
    }

    #[inline]
    fn flush(&mut self, flush: impl FnOnce(Origin, arrayvec::Drain<'_, B, MAX_BURST>)) {
        if let Some(origin) = self.origin.take() {
            flush(origin, self.bufs.drain(..));
        }
    }
}
