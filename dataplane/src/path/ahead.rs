//! What a burst of packets of many SAs will read, asked for ahead.
//!
//! Nothing of it is in a cache when there are many SAs. Each wait here is one for the whole burst: for the SAs, then for what
//! those point to. With one SA nothing is asked for.

use std::sync::Arc;

use esp::decap::Arrived;

use super::context::List;
use super::flows::Packed;
use super::lookup::window;
use crate::ports::Buffer;
use crate::tables::Tables;
use crate::tables::sa::{InboundSa, OutboundSa};

/// Asks for the SAs that seal the packets of a burst, their next hops and their counters.
#[inline]
pub(super) fn outbound<K>(tables: &Tables<K>, ways: &List<Packed>) {
    // A burst of several SAs that begins and ends with the same one goes without.
    if ways.first() != ways.last() {
        outbound_of_many(tables, ways);
    }
}

#[inline(never)]
fn outbound_of_many<K>(tables: &Tables<K>, ways: &List<Packed>) {
    let mut slots: List<u32> = List::new();
    for slot in ways.iter().filter_map(|way| way.slot()) {
        if slots.last() != Some(&slot) {
            tables.outbound.prefetch(slot);
            slots.push(slot);
        }
    }
    let mut sas: List<&OutboundSa<K>> = List::new();
    for slot in slots {
        if let Some(sa) = tables.outbound.get(slot).map(Arc::as_ref) {
            sa.prefetch();
            sas.push(sa);
        }
    }
    for sa in sas {
        sa.hop.prefetch();
        // Its first line is all of the record that sealing uses.
        dpdk::prefetch(sa.common.live.record());
    }
}

/// Asks for both ends of a text that another worker has opened and so has in its cache: inner headers and trailer.
#[inline]
pub(super) fn opened<B: Buffer>(buf: &B, arrived: &Arrived) {
    let first = arrived.text_at();
    let text = buf.data().get(first..first + arrived.text_octets()).unwrap_or_default();
    for octet in [text.first(), text.last()].into_iter().flatten() {
        dpdk::prefetch(octet);
    }
}

/// Asks for the SAs that the packets of a burst arrived on, for their windows and their counters.
#[inline]
pub(super) fn inbound<K>(tables: &Tables<K>, arrived: &List<Arrived>) {
    let spi = |arrived: &Arrived| arrived.spi;
    if arrived.first().map(spi) != arrived.last().map(spi) {
        inbound_of_many(tables, arrived);
    }
}

#[inline(never)]
fn inbound_of_many<K>(tables: &Tables<K>, arrived: &List<Arrived>) {
    for arrived in arrived {
        tables.prefetch_inbound(arrived.spi);
    }
    let mut sas: List<(&InboundSa<K>, u32)> = List::new();
    let mut last = None;
    for &Arrived { spi, seq_lo, .. } in arrived {
        if last.replace(spi) == Some(spi) {
            continue;
        }
        if let Some(sa) = tables.inbound_by_slot_of(spi) {
            sa.prefetch();
            sas.push((sa, seq_lo));
        }
    }
    for (sa, seq_lo) in sas {
        dpdk::prefetch(&sa.common.live.record().window_top);
        if let Some(word) = window(sa).likely_word(seq_lo) {
            dpdk::prefetch(word);
        }
    }
}
