//! The layout of both segments in octets: headers of atomics, record images, region offsets.
//!
//! `docs/segment-layout.md` says the same byte by byte and a test compares the two. Integers are in host
//! order (little endian only), addresses in network order.

use std::sync::atomic::{AtomicU32, AtomicU64};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ids::{POLICY_SLOTS, SA_SLOTS};
use crate::sad::MAX_CHANGES;

#[cfg(target_endian = "big")]
compile_error!("the segments are laid out for little-endian machines");

/// Major version both segments are written with.
pub(crate) const MAJOR: u32 = 1;
/// Minor version both segments are written with.
pub(crate) const MINOR: u32 = 0;
/// Header bits a reader must know; none are defined yet.
pub(crate) const FEATURES_KNOWN: u64 = 0;

/// First word of `sad`.
pub(crate) const SAD_MAGIC: u64 = u64::from_le_bytes(*b"ESPAsad\x01");
/// First word of `live`.
pub(crate) const LIVE_MAGIC: u64 = u64::from_le_bytes(*b"ESPAlive");

/// Length of either header. Units: octets.
pub(crate) const HEADER_OCTETS: u32 = 4096;
/// Length of an SA record without the selectors behind the first. Units: octets.
pub(crate) const SA_OCTETS: u32 = 384;
/// Length of what an SA record goes on with where there are more selectors than one. Units: octets.
pub(crate) const SA_MORE_OCTETS: u32 = 256;
/// Length of a policy record. Units: octets.
pub(crate) const POLICY_OCTETS: u32 = 192;
/// Length of a redo entry: two words and a record without its sequence word. Units: octets.
pub(crate) const REDO_ENTRY_OCTETS: u32 = 656;
/// Length of a change ring entry. Units: octets.
pub(crate) const RING_ENTRY_OCTETS: u64 = 16;
/// Entries of the change ring.
pub(crate) const RING_ENTRIES_LOG2: u32 = 16;
/// Length of a live record. Units: octets.
pub(crate) const LIVE_OCTETS: u32 = 448;
/// Length of an event. Units: octets.
pub(crate) const EVENT_OCTETS: u32 = 128;
/// Entries of the event ring.
pub(crate) const EVENTS_LOG2: u32 = 12;
/// Tunnels that can have totals, the first entry being for all beyond.
pub(crate) const TOTALS_LOG2: u32 = 20;
/// Length of the window arena. Units: words of 8 octets.
pub(crate) const ARENA_WORDS: u64 = 1 << 28;

/// Where the regions of a new `sad` begin. Units: octets.
pub(crate) mod sad {
    use super::*;
    /// Redo entries, right behind the header.
    pub(crate) const REDO: u64 = HEADER_OCTETS as u64;
    /// Change ring.
    pub(crate) const RING: u64 = 0x4_0000;
    /// SA records.
    pub(crate) const RECORDS: u64 = 0x20_0000;
    /// Policy records.
    pub(crate) const POLICIES: u64 = RECORDS + SA_SLOTS as u64 * SA_OCTETS as u64;
    /// What SA records go on with.
    pub(crate) const MORE: u64 = POLICIES + POLICY_SLOTS as u64 * POLICY_OCTETS as u64;
    /// End of the file.
    pub(crate) const END: u64 = MORE + SA_SLOTS as u64 * SA_MORE_OCTETS as u64;
}

/// Where the regions of a new `live` begin. Units: octets.
pub(crate) mod live {
    use super::*;
    /// Event ring.
    pub(crate) const EVENTS: u64 = 0x1_0000;
    /// Totals of tunnels.
    pub(crate) const TOTALS: u64 = 0x10_0000;
    /// Live records.
    pub(crate) const RECORDS: u64 = 0x420_0000;
    /// Window arena.
    pub(crate) const ARENA: u64 = RECORDS + SA_SLOTS as u64 * LIVE_OCTETS as u64;
    /// End of the file.
    pub(crate) const END: u64 = ARENA + ARENA_WORDS * 8;
}

const _: () = {
    assert!(sad::REDO + MAX_CHANGES as u64 * REDO_ENTRY_OCTETS as u64 <= sad::RING);
    assert!(sad::RING + (RING_ENTRY_OCTETS << RING_ENTRIES_LOG2) <= sad::RECORDS);
    assert!(live::EVENTS + ((EVENT_OCTETS as u64) << EVENTS_LOG2) <= live::TOTALS);
    assert!(live::TOTALS + ((size_of::<TotalsRecord>() as u64) << TOTALS_LOG2) <= live::RECORDS);
    assert!(size_of::<Prefix>() == 128 && size_of::<SadHeader>() == 320 && size_of::<LiveHeader>() == 320);
    assert!(std::mem::offset_of!(SaImage, more_selectors) == SA_OCTETS as usize);
    assert!(size_of::<SaImage>() == (SA_OCTETS + SA_MORE_OCTETS) as usize);
    assert!(size_of::<PolicyImage>() == POLICY_OCTETS as usize);
    assert!(size_of::<crate::live::LiveRecord>() == LIVE_OCTETS as usize);
    // 2 MiB, so that the files fit hugetlbfs.
    assert!(sad::END.is_multiple_of(0x20_0000) && live::END.is_multiple_of(0x20_0000));
};

/// The start of either segment: never changes after the file got its name, except `instance` in `sad`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct Prefix {
    pub(crate) magic: u64,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) header_octets: u32,
    pub(crate) record_octets: u32,
    pub(crate) second_octets: u32,
    pub(crate) slots_log2: u32,
    pub(crate) features_required: u64,
    pub(crate) features_optional: u64,
    pub(crate) boot_id: [u64; 2],
    pub(crate) instance: [u64; 2],
    pub(crate) writer_pid: u32,
    pub(crate) reserved: u32,
    pub(crate) file_octets: u64,
    /// `sad`: redo, change ring, SA records, policy records. `live`: events, totals, records, arena.
    pub(crate) regions: [u64; 4],
}

/// Header of `sad`.
#[repr(C, align(64))]
pub(crate) struct SadHeader {
    pub(crate) fixed: [AtomicU64; 8],
    pub(crate) instance: [AtomicU64; 2],
    pub(crate) writer_pid: AtomicU32,
    pub(crate) reserved: AtomicU32,
    pub(crate) file_octets: AtomicU64,
    pub(crate) regions: [AtomicU64; 4],
    pub(crate) capacity: AtomicU32,
    pub(crate) policy_capacity: AtomicU32,
    pub(crate) sa_count: AtomicU32,
    pub(crate) policy_count: AtomicU32,
    pub(crate) sa_used: AtomicU32,
    pub(crate) policy_used: AtomicU32,
    pub(crate) redo_entry_octets: AtomicU32,
    pub(crate) ring_entries_log2: AtomicU32,
    pub(crate) more_offset: AtomicU64,
    pub(crate) more_octets: AtomicU32,
    pub(crate) spare_line: [AtomicU32; 5],
    pub(crate) generation: AtomicU64,
    pub(crate) ring_head: AtomicU64,
    pub(crate) spare_generation: [AtomicU64; 6],
    pub(crate) redo_state: AtomicU32,
    pub(crate) redo_count: AtomicU32,
    pub(crate) redo_generation: AtomicU64,
    pub(crate) redo_ring_head: AtomicU64,
    pub(crate) redo_sa_count: AtomicU32,
    pub(crate) redo_policy_count: AtomicU32,
    pub(crate) redo_sa_used: AtomicU32,
    pub(crate) redo_policy_used: AtomicU32,
    pub(crate) redo_instance: [AtomicU64; 2],
    pub(crate) spare_redo: AtomicU64,
}

/// Header of `live`.
#[repr(C, align(64))]
pub(crate) struct LiveHeader {
    pub(crate) fixed: [AtomicU64; 8],
    pub(crate) instance: [AtomicU64; 2],
    pub(crate) writer_pid: AtomicU32,
    pub(crate) reserved: AtomicU32,
    pub(crate) file_octets: AtomicU64,
    pub(crate) regions: [AtomicU64; 4],
    pub(crate) records_used: AtomicU32,
    pub(crate) totals_used: AtomicU32,
    pub(crate) events_log2: AtomicU32,
    pub(crate) totals_log2: AtomicU32,
    pub(crate) arena_words: AtomicU64,
    pub(crate) ring_words: AtomicU32,
    pub(crate) spare_line: [AtomicU32; 9],
    pub(crate) adopted_generation: AtomicU64,
    pub(crate) heartbeat_ns: AtomicU64,
    pub(crate) event_head: AtomicU64,
    pub(crate) spare_event: [AtomicU64; 5],
    pub(crate) journal_state: AtomicU32,
    pub(crate) journal_slot: AtomicU32,
    pub(crate) journal_uid: AtomicU64,
    pub(crate) journal_totals_index: AtomicU32,
    pub(crate) journal_reserved: AtomicU32,
    pub(crate) journal_totals: [AtomicU64; 5],
}

/// Totals of a tunnel's SAs that are gone.
#[repr(C, align(64))]
pub(crate) struct TotalsRecord {
    pub(crate) if_id: AtomicU32,
    pub(crate) reserved: AtomicU32,
    /// in_octets, in_packets, out_octets, out_packets, errors.
    pub(crate) sums: [AtomicU64; 5],
    pub(crate) spare: [AtomicU64; 2],
}

/// A selector inside a record.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct SelectorImage {
    pub(crate) family: u8,
    pub(crate) proto: u8,
    pub(crate) reserved: [u8; 2],
    pub(crate) sport_lo: u16,
    pub(crate) sport_hi: u16,
    pub(crate) dport_lo: u16,
    pub(crate) dport_hi: u16,
    pub(crate) src_lo: [u8; 16],
    pub(crate) src_hi: [u8; 16],
    pub(crate) dst_lo: [u8; 16],
    pub(crate) dst_hi: [u8; 16],
}

/// An SA record as octets; never `Debug`, it holds a key.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct SaImage {
    pub(crate) sequence: u64,
    pub(crate) state: u8,
    pub(crate) direction: u8,
    pub(crate) mode: u8,
    pub(crate) algorithm: u8,
    pub(crate) key_octets: u8,
    pub(crate) selector_count: u8,
    pub(crate) family: u8,
    pub(crate) copy_dscp: u8,
    pub(crate) flags: u32,
    pub(crate) spi: u32,
    pub(crate) if_id: u32,
    pub(crate) reqid: u32,
    pub(crate) owner: u64,
    pub(crate) uid: u64,
    pub(crate) generation: u64,
    pub(crate) replay_window_pkts: u32,
    pub(crate) encap_sport: u16,
    pub(crate) encap_dport: u16,
    pub(crate) src: [u8; 16],
    pub(crate) dst: [u8; 16],
    pub(crate) key: [u8; 32],
    pub(crate) salt: [u8; 4],
    pub(crate) tfc_pad: u32,
    pub(crate) mark_value: u32,
    pub(crate) mark_mask: u32,
    pub(crate) set_mark_value: u32,
    pub(crate) set_mark_mask: u32,
    pub(crate) cpu: u32,
    pub(crate) reserved: u32,
    pub(crate) installed_ns: u64,
    pub(crate) soft_deadline_ns: u64,
    pub(crate) hard_deadline_ns: u64,
    pub(crate) soft_octets: u64,
    pub(crate) hard_octets: u64,
    pub(crate) soft_packets: u64,
    pub(crate) hard_packets: u64,
    pub(crate) initial_oseq: u64,
    pub(crate) initial_iseq_top: u64,
    pub(crate) freed_ns: u64,
    pub(crate) last_high: [u16; 16],
    pub(crate) selector: SelectorImage,
    pub(crate) spare: [u8; 36],
    // The rest stands in a region of its own, which has no memory where it is not needed.
    pub(crate) more_selectors: [SelectorImage; 3],
    pub(crate) more_spare: [u8; 28],
}

/// A policy record as octets.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(crate) struct PolicyImage {
    pub(crate) sequence: u64,
    pub(crate) state: u8,
    pub(crate) direction: u8,
    pub(crate) action: u8,
    pub(crate) template_mode: u8,
    pub(crate) template_family: u8,
    pub(crate) template_has_spi: u8,
    pub(crate) reserved: [u8; 2],
    pub(crate) if_id: u32,
    pub(crate) priority: u32,
    pub(crate) owner: u64,
    pub(crate) order: u64,
    pub(crate) generation: u64,
    pub(crate) template_src: [u8; 16],
    pub(crate) template_dst: [u8; 16],
    pub(crate) template_reqid: u32,
    pub(crate) template_spi: u32,
    pub(crate) users: u32,
    pub(crate) mark_value: u32,
    pub(crate) mark_mask: u32,
    pub(crate) selector: SelectorImage,
    pub(crate) spare: [u8; 16],
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::LiveRecord;
    use std::mem::offset_of;

    const PAGE: &str = include_str!("../../docs/segment-layout.md");

    /// Returns the rows under a heading, cells trimmed of blanks and backticks.
    fn rows(heading: &str) -> Vec<Vec<String>> {
        let (_, section) = PAGE.split_once(&format!("\n## {heading}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let table = section.lines().filter(|line| line.starts_with("| ")).skip(1);
        table
            .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`').to_owned()).collect())
            .collect()
    }

    fn octets<T, F>(_: impl Fn(&T) -> &F) -> usize {
        size_of::<F>()
    }

    /// Compares a struct with the table of its name, field by field and end to end.
    macro_rules! table {
        ($name:ident { $($field:ident),* }) => {{
            let code = [$((stringify!($field), offset_of!($name, $field), octets(|of: &$name| &of.$field))),*];
            let page: Vec<(String, usize, usize)> = rows(stringify!($name))
                .iter()
                .map(|row| (row[3].clone(), row[1].parse().unwrap(), row[2].parse().unwrap()))
                .collect();
            let code: Vec<_> = code.into_iter().map(|(name, at, len)| (name.to_owned(), at, len)).collect();
            assert_eq!(page, code, "{}", stringify!($name));
            let ends = code.iter().map(|(_, at, len)| at + len);
            let starts = code.iter().skip(1).map(|(_, at, _)| *at).chain([size_of::<$name>()]);
            assert!(ends.eq(starts), "{} has a hole or a field that is not listed", stringify!($name));
        }};
    }

    #[test]
    #[rustfmt::skip]
    fn the_page_says_where_every_field_is() {
        table!(Prefix {
            magic, major, minor, header_octets, record_octets, second_octets, slots_log2, features_required,
            features_optional, boot_id, instance, writer_pid, reserved, file_octets, regions
        });
        table!(SadHeader {
            fixed, instance, writer_pid, reserved, file_octets, regions, capacity, policy_capacity,
            sa_count, policy_count, sa_used, policy_used, redo_entry_octets, ring_entries_log2, more_offset,
            more_octets, spare_line, generation, ring_head, spare_generation, redo_state, redo_count, redo_generation,
            redo_ring_head, redo_sa_count, redo_policy_count, redo_sa_used, redo_policy_used, redo_instance,
            spare_redo
        });
        table!(SaImage {
            sequence, state, direction, mode, algorithm, key_octets, selector_count, family, copy_dscp,
            flags, spi, if_id, reqid, owner, uid, generation, replay_window_pkts, encap_sport, encap_dport,
            src, dst, key, salt, tfc_pad, mark_value, mark_mask, set_mark_value, set_mark_mask, cpu,
            reserved, installed_ns, soft_deadline_ns, hard_deadline_ns, soft_octets, hard_octets,
            soft_packets, hard_packets, initial_oseq, initial_iseq_top, freed_ns, last_high, selector,
            spare, more_selectors, more_spare
        });
        table!(SelectorImage {
            family, proto, reserved, sport_lo, sport_hi, dport_lo, dport_hi, src_lo, src_hi, dst_lo, dst_hi
        });
        table!(PolicyImage {
            sequence, state, direction, action, template_mode, template_family, template_has_spi, reserved,
            if_id, priority, owner, order, generation, template_src, template_dst, template_reqid,
            template_spi, users, mark_value, mark_mask, selector, spare
        });
        table!(LiveHeader {
            fixed, instance, writer_pid, reserved, file_octets, regions, records_used, totals_used,
            events_log2, totals_log2, arena_words, ring_words, spare_line, adopted_generation, heartbeat_ns, event_head,
            spare_event, journal_state, journal_slot, journal_uid, journal_totals_index, journal_reserved,
            journal_totals
        });
        table!(LiveRecord {
            uid, next_seq, out_octets, out_packets, out_last_use_ns, out_exhausted, retired_uid, if_id,
            window_top, in_octets, in_packets, in_last_use_ns, err_replay, err_too_old, err_integrity,
            err_inner, place, spare, ring
        });
        table!(TotalsRecord {
            if_id, reserved, sums, spare
        });
    }

    #[test]
    fn the_page_says_where_every_region_is() {
        let regions = |heading| -> Vec<u64> {
            rows(heading).iter().map(|row| u64::from_str_radix(&row[1][2..], 16).unwrap()).collect()
        };
        let expected = [0, sad::REDO, sad::RING, sad::RECORDS, sad::POLICIES, sad::MORE, sad::END];
        assert_eq!(regions("Regions of `sad`"), expected);
        let expected = [0, live::EVENTS, live::TOTALS, live::RECORDS, live::ARENA, live::END];
        assert_eq!(regions("Regions of `live`"), expected);
    }
}
