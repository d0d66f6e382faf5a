//! Stage decap: the window decides once more, now that the ICV has matched; then lifetimes, then the tunnel is
//! taken off. Nothing is delivered before all three. RFC: 4303 sections 3.4.3 and 3.4.4, 6040 section 4.2.

use std::sync::atomic::Ordering::Relaxed;

use esp::DropReason;
use esp::decap::{Arrived, Modes, finish_and_look};
use esp::wire::FlowKey;
use esp::wire::plain::Plain;
use shm_protocol::live::LiveRecord;

use super::context::{Context, From, List, Packet, Transits};
use super::counters::Stage;
use super::known::{Look, entry, look};
use super::lookup::{count_refused, window};
use super::opening::{Openings, Positions};
use super::shared::Notice;
use super::usage::{self, Side};
use crate::ports::{Buffer, Ports};
use crate::tables::sa::InboundSa;

/// An inner packet and the SA it came by; its `buf` starts at its IP header and ends with it.
pub(super) type Inner<'t, B, K> = (Packet<B>, &'t InboundSa<K>);

/// Turns genuine packets into inner ones and takes the first look at each of them; what may not be delivered is dropped.
pub(super) fn decap<'t, P: Ports, K>(ctx: &mut Context<'t, P, K>, list: &mut Openings<'t, P::Buf, K>) {
    let start = (ctx.cycles)();
    let count = list.len();
    let mut verdicts: List<Result<(), DropReason>> = list.fresh.iter().map(|_| Ok(())).collect();
    let mut refused = Positions::NONE;
    let Openings { packets, arrived, sas, fresh, looks } = list;
    let (mut packets, mut arrived) = (packets.as_mut_slice(), arrived.as_slice());
    let (mut fresh, mut verdicts) = (fresh.as_slice(), verdicts.as_mut_slice());
    for sas in sas.chunk_by(|a, b| std::ptr::eq(*a, *b)) {
        let packets = packets.split_off_mut(..sas.len()).zip(arrived.split_off(..sas.len()));
        let numbers = fresh.split_off(..sas.len()).zip(verdicts.split_off_mut(..sas.len()));
        let (Some(sa), Some((packets, arrived)), Some((fresh, verdicts))) = (sas.first(), packets, numbers)
        else {
            break;
        };
        window(sa).advance_burst(fresh, verdicts);
        let run = Run::of(sa);
        run.take_off(ctx, packets.iter_mut().zip(arrived).zip(&*verdicts), looks, &mut refused);
    }
    list.refuse(refused);
    ctx.spent(Stage::Decap, count, start);
}

/// What packets in a row that share an SA have in common.
struct Run<'t, K> {
    sa: &'t InboundSa<K>,
    record: &'t LiveRecord,
    modes: Modes,
    /// Where their inner packets enter.
    entry: Option<u32>,
}

/// A packet, what its octets told, and what the window says.
type Decided<'a, B> = ((&'a mut Packet<B>, &'a Arrived), &'a Result<(), DropReason>);

impl<'t, K> Run<'t, K> {
    #[inline]
    fn of(sa: &'t InboundSa<K>) -> Self {
        Self {
            sa,
            record: &sa.common.live,
            modes: Modes { ecn: sa.ecn, dscp: sa.copy_dscp },
            entry: entry(&From::Tunnel(sa)),
        }
    }

    /// Accounts the packets that the window lets pass to their SA and leaves the inner ones in their buffers.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a run is often one packet")]
    fn take_off<'a, P: Ports>(
        &self,
        ctx: &mut Context<'t, P, K>,
        packets: impl Iterator<Item = Decided<'a, P::Buf>>,
        looks: &mut List<Look>,
        refused: &mut Positions,
    ) where
        P::Buf: 'a,
    {
        let (counts, places) = (self.sa.common.volume.is_some(), ctx.flows.places());
        let (mut octets, mut accepted) = (0, 0);
        for ((packet, arrived), verdict) in packets {
            let taken_off = match verdict {
                Ok(()) if counts && !admit(ctx, self.sa, arrived) => Err(DropReason::InboundExpired),
                Ok(()) => {
                    octets += arrived.text_octets() as u64;
                    accepted += 1;
                    self.strip(ctx, &mut packet.buf, arrived)
                }
                Err(reason) => {
                    count_refused(self.sa, *reason);
                    Err(*reason)
                }
            };
            match taken_off {
                Ok(plain) => looks.push(look(places, plain)),
                Err(reason) => {
                    ctx.counters().dropped(packet.origin, reason);
                    refused.add(looks.len());
                    looks.push(None);
                }
            }
        }
        if accepted > 0 && !counts {
            usage::add(Side::In, self.record, octets, accepted, ctx.now_ns, ctx.workers.len() == 1);
        }
    }

    /// Leaves the inner packet in `buf`.
    /// Errors: why what was inside is not delivered.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "what is found stays where it is written")]
    fn strip<P: Ports>(
        &self,
        ctx: &mut Context<'t, P, K>,
        buf: &mut P::Buf,
        arrived: &Arrived,
    ) -> Result<Option<Plain>, DropReason> {
        notice_mapping(ctx, self.sa, arrived);
        match finish_and_look(buf.data_mut(), arrived, self.modes, self.entry) {
            Ok((inner, plain)) => {
                buf.narrow(inner.at, inner.octets);
                Ok(plain)
            }
            Err(reason) => {
                self.record.err_inner.fetch_add(1, Relaxed);
                Err(reason)
            }
        }
    }
}

/// Accounts a packet to an SA that has limits of octets or packets; false when it would pass one.
#[inline(never)]
fn admit<P: Ports, K>(ctx: &mut Context<'_, P, K>, sa: &InboundSa<K>, arrived: &Arrived) -> bool {
    let common = &sa.common;
    let (octets, now_ns) = (arrived.text_octets() as u64, ctx.now_ns);
    let mut tell = |limit| ctx.notice_once(Notice::Limit { slot: common.slot, uid: common.uid, limit });
    usage::take(Side::In, common, octets, now_ns, &mut tell).map_err(tell).is_ok()
}

/// Reads the flows of inner packets that go the long way.
pub(super) fn read<'t, P: Ports, K>(
    ctx: &mut Context<'t, P, K>,
    packets: &mut List<Inner<'t, P::Buf, K>>,
    out: &mut Transits<'t, P::Buf, K>,
) {
    for (packet, sa) in packets.drain(..) {
        match FlowKey::parse(packet.buf.data()) {
            Ok(flow) => out.push(packet, flow, From::Tunnel(sa)),
            Err(_) => {
                sa.common.live.err_inner.fetch_add(1, Relaxed);
                ctx.drop(packet, DropReason::BadInner);
            }
        }
    }
}

/// An authentic packet from elsewhere: the peer's NAT has moved it. RFC: 7296 section 2.23.
#[inline]
fn notice_mapping<P: Ports, K>(ctx: &mut Context<'_, P, K>, sa: &InboundSa<K>, arrived: &Arrived) {
    let common = &sa.common;
    if let (Some(known), Some(seen)) = (common.encap, arrived.udp)
        && (known.src != seen.src || !arrived.ends.is_from(common.src))
    {
        let (slot, uid) = (common.slot, common.uid);
        ctx.notice_once(Notice::Mapping { slot, uid, address: arrived.ends.src(), port: seen.src });
    }
}
