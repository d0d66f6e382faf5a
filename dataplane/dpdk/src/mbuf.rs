//! One packet in one buffer, owned, freed exactly once.

use std::fmt;
use std::ptr::NonNull;
use std::slice::{from_raw_parts, from_raw_parts_mut};

use dpdk_sys::rte_mbuf;

use crate::prefetch::prefetch_at;

/// Octets in front of the data of a fresh or received packet; the shim asserts that DPDK was built so.
pub const HEADROOM_OCTETS: u16 = 128;

/// An owned packet: one segment, one reference, freed on drop.
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: the value is the only reference to its mbuf (`from_owned`, `from_rx`), and pools take buffers back on any thread.
unsafe impl Send for Mbuf {}
// SAFETY: `&Mbuf` only reads.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// Takes over a received mbuf. A chained or shared one is copied into a single buffer; `None` (freed) if it does not
    /// fit or the pool is dry.
    ///
    /// # Safety
    /// `raw` is a valid mbuf that the caller owns and gives away.
    #[inline]
    pub(crate) unsafe fn from_rx(raw: NonNull<rte_mbuf>) -> Option<Self> {
        // SAFETY: valid by the caller's promise; no other thread writes these fields of a received mbuf.
        let mbuf = unsafe { raw.as_ref() };
        if mbuf.nb_segs == 1 && mbuf.refcnt == 1 {
            return Some(Self(raw));
        }
        // SAFETY: ownership passes to the call, which returns a fresh single-segment mbuf or nothing.
        NonNull::new(unsafe { dpdk_sys::dpdk_shim_mbuf_single(raw.as_ptr()) }).map(Self)
    }

    /// Takes over a fresh mbuf.
    ///
    /// # Safety
    /// `raw` is a valid mbuf of one segment and one reference that the caller owns and gives away.
    #[inline]
    pub(crate) unsafe fn from_owned(raw: NonNull<rte_mbuf>) -> Self {
        Self(raw)
    }

    /// Returns the packet.
    #[inline]
    #[must_use]
    pub fn data(&self) -> &[u8] {
        let raw = self.raw();
        // SAFETY: `from_rx` checked `nb_segs == 1`, so `data_off..data_off + data_len` lies in one buffer of initialised
        // memory, and `&self` keeps it from being freed or resized.
        unsafe {
            from_raw_parts(
                raw.buf_addr.cast::<u8>().add(usize::from(raw.data_off)),
                usize::from(raw.data_len),
            )
        }
    }

    /// Returns the packet for writing.
    #[inline]
    #[must_use]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let raw = self.raw();
        // SAFETY: as in `data`; `from_rx` checked `refcnt == 1`, so `&mut self` is the only way to the buffer.
        unsafe {
            from_raw_parts_mut(
                raw.buf_addr.cast::<u8>().add(usize::from(raw.data_off)),
                usize::from(raw.data_len),
            )
        }
    }

    /// Returns the length of the packet. Units: octets.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.raw().data_len)
    }

    /// Whether the packet has no octets.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw().data_len == 0
    }

    /// Returns the room in front of the packet. Units: octets.
    #[inline]
    #[must_use]
    pub fn headroom_octets(&self) -> usize {
        usize::from(self.raw().data_off)
    }

    /// Returns the room behind the packet. Units: octets.
    #[inline]
    #[must_use]
    pub fn tailroom_octets(&self) -> usize {
        let raw = self.raw();
        usize::from(raw.buf_len.saturating_sub(raw.data_off).saturating_sub(raw.data_len))
    }

    /// Returns the number DPDK gave the port the packet came by; meaningless for one that was allocated.
    #[inline]
    #[must_use]
    pub fn port(&self) -> u16 {
        self.raw().port
    }

    /// Grows the packet at the front and returns the new octets, of unspecified content; `None` without room.
    #[inline]
    pub fn prepend(&mut self, octets: usize) -> Option<&mut [u8]> {
        if octets > self.headroom_octets() {
            return None;
        }
        let grown = u16::try_from(octets).ok()?;
        let raw = self.raw_mut();
        raw.data_off -= grown;
        raw.data_len += grown;
        raw.pkt_len += u32::from(grown);
        self.data_mut().get_mut(..octets)
    }

    /// Grows the packet at the end and returns the new octets, of unspecified content; `None` without room.
    #[inline]
    pub fn append(&mut self, octets: usize) -> Option<&mut [u8]> {
        if octets > self.tailroom_octets() {
            return None;
        }
        let grown = u16::try_from(octets).ok()?;
        let len = self.len();
        let raw = self.raw_mut();
        raw.data_len += grown;
        raw.pkt_len += u32::from(grown);
        self.data_mut().get_mut(len..)
    }

    /// Grows the packet by `front` octets before and `back` octets behind it, of unspecified content; reports whether there
    /// was room for both, and does nothing without.
    #[inline]
    pub fn grow(&mut self, front: usize, back: usize) -> bool {
        if front > self.headroom_octets() || back > self.tailroom_octets() {
            return false;
        }
        // Both are parts of a buffer, whose length has 16 bits.
        let (Ok(front), Ok(back)) = (u16::try_from(front), u16::try_from(back)) else { return false };
        let raw = self.raw_mut();
        raw.data_off -= front;
        raw.data_len += front + back;
        raw.pkt_len = u32::from(raw.data_len);
        true
    }

    /// Keeps the `octets` from `front` on, fewer where the packet is shorter.
    #[inline]
    pub fn narrow(&mut self, front: usize, octets: usize) {
        let (front, octets) = (low(front), low(octets));
        let raw = self.raw_mut();
        let front = front.min(raw.data_len);
        raw.data_off += front;
        raw.data_len = (raw.data_len - front).min(octets);
        raw.pkt_len = u32::from(raw.data_len);
    }

    /// Removes octets at the front; `None`, and nothing done, if the packet is shorter.
    #[inline]
    pub fn adj(&mut self, octets: usize) -> Option<()> {
        let cut = self.cut(octets)?;
        self.raw_mut().data_off += cut;
        Some(())
    }

    /// Removes octets at the end; `None`, and nothing done, if the packet is shorter.
    #[inline]
    pub fn trim(&mut self, octets: usize) -> Option<()> {
        self.cut(octets).map(|_| ())
    }

    /// Asks the CPU to fetch the mbuf's header.
    #[inline]
    pub fn prefetch_header(&self) {
        prefetch_at(self.0.as_ptr());
    }

    /// Asks the CPU to fetch the first octets of the packet. Reads the mbuf's header.
    #[inline]
    pub fn prefetch_data(&self) {
        prefetch_at(self.data().as_ptr());
    }

    /// Forgets what a driver noted about the packet (checksum, VLAN, offloads), before it is sent as something else.
    #[inline]
    pub fn clear_offloads(&mut self) {
        let raw = self.raw_mut();
        raw.ol_flags &= OL_FLAGS_OF_THE_BUFFER;
        raw.packet_type = 0;
    }

    fn cut(&mut self, octets: usize) -> Option<u16> {
        let cut = u16::try_from(octets).ok()?;
        let raw = self.raw_mut();
        raw.data_len = raw.data_len.checked_sub(cut)?;
        raw.pkt_len -= u32::from(cut);
        Some(cut)
    }

    #[inline]
    fn raw(&self) -> &rte_mbuf {
        // SAFETY: the mbuf is valid until dropped, and this value is its only owner.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn raw_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: as in `raw`, and `&mut self` makes the access exclusive.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this value owns the mbuf, and it is dropped once.
        unsafe { dpdk_sys::dpdk_shim_mbuf_free(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf").field("len", &self.len()).field("port", &self.port()).finish_non_exhaustive()
    }
}

/// A length, as far as 16 bits go: no packet is longer.
#[inline]
fn low(octets: usize) -> u16 {
    u16::try_from(octets).unwrap_or(u16::MAX)
}

/// `RTE_MBUF_F_EXTERNAL` and `RTE_MBUF_F_INDIRECT`: they say whose the buffer is, not what the packet is.
const OL_FLAGS_OF_THE_BUFFER: u64 = (1 << 61) | (1 << 62);
