//! A burst of owned packets.

use arrayvec::ArrayVec;
use dpdk_sys::rte_mbuf;

use crate::mbuf::Mbuf;

/// Most packets of one burst.
pub const MAX_BURST: usize = 64;

/// Packets that travel together; whatever is left in it when it is dropped is freed.
pub type Burst = ArrayVec<Mbuf, MAX_BURST>;

/// Frees every packet of `burst` in one call per pool, which is cheaper than dropping them one by one.
#[inline]
pub fn free_burst(burst: &mut Burst) {
    let len = burst.len();
    // SAFETY: 0 elements are initialised; ownership of the `len` mbufs passes to the call below.
    unsafe { burst.set_len(0) };
    let Ok(count) = u32::try_from(len) else { return };
    // SAFETY: the first `count` elements are owned mbufs (`Mbuf` is a pointer, transparently) that nobody reaches any more.
    unsafe { dpdk_sys::rte_pktmbuf_free_bulk(burst.as_mut_ptr().cast::<*mut rte_mbuf>(), count) }
}
