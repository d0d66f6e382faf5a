//! What a burst of packets of many SAs will read, asked for ahead.
//!
//! Nothing of it is in a cache when there are many SAs. Each wait here is one for the whole burst: for the SAs, then for what
//! those point to. With one SA nothing is asked for.

use std::sync::Arc;

use esp::decap::Arrived;

use super::context::List;
use super::lookup::window;
use super::turn::Stretch;
use crate::ports::Buffer;
use crate::tables::Tables;
use crate::tables::sa::{InboundSa, OutboundSa};

/// Looks the SAs up that seal the packets of a burst; where there are several, asks for them, their next hops and their
/// counters.
#[inline]
pub(super) fn outbound<'t, K>(tables: &'t Tables<K>, stretches: &mut List<Stretch<'t, K>>) {
    match stretches.as_mut_slice() {
        [one] => one.sa = one.way.slot().and_then(|slot| tables.outbound.get(slot)).map(Arc::as_ref),
        several => {
            let entry = |stretch: &Stretch<'_, K>| {
                let entry = stretch.way.slot().and_then(|slot| tables.outbound.entry(slot));
                entry.into_iter().for_each(dpdk::prefetch);
                entry
            };
            let entries: List<_> = several.iter().map(entry).collect();
            for (stretch, entry) in several.iter_mut().zip(entries) {
                stretch.sa = entry.and_then(Option::as_deref);
                stretch.sa.into_iter().for_each(OutboundSa::prefetch);
            }
            for sa in several.iter().filter_map(|stretch| stretch.sa) {
                sa.hop.prefetch();
                // Its first line is all of the record that sealing uses.
                dpdk::prefetch(&sa.common.live.next_seq);
            }
        }
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
        dpdk::prefetch(&sa.common.live.window_top);
        if let Some(word) = window(sa).likely_word(seq_lo) {
            dpdk::prefetch(word);
        }
    }
}
