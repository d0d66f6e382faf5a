//! One SA's counters in `live`: atomics only, laid out by who touches them.

use std::sync::atomic::AtomicU64;

/// Words of a replay window inside the record; 33 serve a window of 1024.
pub const INLINE_RING_WORDS: usize = 40;

/// Counters of one SA; 512 octets, three lines and the inline window.
#[repr(C, align(64))]
pub struct LiveRecord {
    // Outbound line.
    /// Identity of the SA these counters belong to; 0 is nobody.
    pub uid: AtomicU64,
    /// Sequence number last taken; also the last IV. Taken by `fetch_add` only.
    pub next_seq: AtomicU64,
    /// Octets sealed.
    pub out_octets: AtomicU64,
    /// Packets sealed.
    pub out_packets: AtomicU64,
    /// When a packet was last sealed. Units: nanoseconds of CLOCK_BOOTTIME.
    pub out_last_use_ns: AtomicU64,
    /// Packets refused because numbers or a hard limit ran out.
    pub out_exhausted: AtomicU64,
    #[doc(hidden)]
    pub spare_out: [AtomicU64; 2],
    // Inbound line.
    /// Lower bound of the highest number accepted.
    pub window_top: AtomicU64,
    /// Octets opened.
    pub in_octets: AtomicU64,
    /// Packets opened.
    pub in_packets: AtomicU64,
    /// When a packet was last accepted. Units: nanoseconds of CLOCK_BOOTTIME.
    pub in_last_use_ns: AtomicU64,
    #[doc(hidden)]
    pub spare_in: [AtomicU64; 4],
    // Errors and the window's place.
    /// Packets seen before.
    pub err_replay: AtomicU64,
    /// Packets older than the window.
    pub err_too_old: AtomicU64,
    /// Packets whose ICV was wrong.
    pub err_integrity: AtomicU64,
    /// Packets whose inside was wrong (padding, selectors, version).
    pub err_inner: AtomicU64,
    /// Window size in packets (low 32 bits) and ring length in words (high 32 bits).
    pub(crate) window_shape: AtomicU64,
    /// First word of the ring in the arena plus 1; 0 is the inline ring.
    pub(crate) arena_place: AtomicU64,
    /// Tunnel whose totals get these counters when the SA goes.
    pub(crate) if_id: AtomicU64,
    #[doc(hidden)]
    pub spare_window: [AtomicU64; 1],
    /// Inline ring of window words {block 32 | bits 32}.
    pub(crate) ring: [AtomicU64; INLINE_RING_WORDS],
}
