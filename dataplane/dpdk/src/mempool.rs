//! Pools of packet buffers.

use std::ffi::CString;
use std::ptr::NonNull;

use dpdk_sys::{rte_mbuf, rte_mempool};

use crate::burst::Burst;
use crate::eal::Eal;
use crate::error::{Errno, Error, Reason};
use crate::log::reasoned;
use crate::mbuf::{HEADROOM_OCTETS, Mbuf};

/// How a pool is made.
#[derive(Clone, Debug)]
pub struct MempoolConfig {
    /// Its name, unique in the process, at most 25 octets.
    pub name: String,
    /// How many buffers it has; 2^n - 1 wastes least.
    pub buffers: u32,
    /// Buffers each registered thread keeps at hand, at most 512 and two thirds of `buffers`.
    pub cache: u32,
    /// Octets of one buffer, headroom counted.
    pub data_room_octets: u16,
    /// The NUMA node of the memory; none: any.
    pub numa_socket: Option<i32>,
}

impl MempoolConfig {
    /// Makes a configuration with buffers for an MTU of 1500 and a cache of 256.
    #[must_use]
    pub fn new(name: &str, buffers: u32) -> Self {
        Self {
            name: name.to_owned(),
            buffers,
            cache: (buffers / 2).min(256),
            data_room_octets: HEADROOM_OCTETS + 2048,
            numa_socket: None,
        }
    }
}

/// A pool of packet buffers. It lives until the process ends, as its buffers may be anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Mempool {
    raw: NonNull<rte_mempool>,
    buffers: u32,
}

// SAFETY: allocating and freeing is safe from any thread at once: a registered thread has its own cache, any other goes to
// the pool's multi-producer, multi-consumer ring. The pool is never freed.
unsafe impl Send for Mempool {}
// SAFETY: as above.
unsafe impl Sync for Mempool {}

impl Mempool {
    /// Makes a pool. Errors: `Mempool` with DPDK's reason; `Nul`.
    pub fn new(_eal: Eal, config: &MempoolConfig) -> Result<Self, Error> {
        let name = CString::new(config.name.as_str())
            .map_err(|_| Error::Nul { text: config.name.as_str().into() })?;
        let socket = config.numa_socket.unwrap_or(-1);
        let mut made = None;
        let refused =
            |reason| Error::Mempool { name: config.name.as_str().into(), buffers: config.buffers, reason };
        reasoned(|| {
            // SAFETY: `Eal` proves that DPDK is up; `name` lives through the call, which copies it.
            made = NonNull::new(unsafe {
                dpdk_sys::rte_pktmbuf_pool_create(
                    name.as_ptr(),
                    config.buffers,
                    config.cache,
                    0,
                    config.data_room_octets,
                    socket,
                )
            });
            if made.is_some() { 0 } else { -Errno::last().0 }
        })
        .map_err(refused)?;
        let raw = made.ok_or_else(|| refused(Reason::new(Errno::last(), "")))?;
        Ok(Self { raw, buffers: config.buffers })
    }

    /// Returns how many buffers the pool was made with.
    #[must_use]
    pub fn buffers(&self) -> u32 {
        self.buffers
    }

    /// Returns how many buffers are free, in caches too. Exact only while no thread allocates or frees.
    #[must_use]
    pub fn available(&self) -> u32 {
        // SAFETY: the pool is never freed.
        unsafe { dpdk_sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }

    /// Takes an empty buffer with the default headroom, or `None` when the pool is dry.
    #[inline]
    #[must_use]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is never freed; a fresh mbuf has one segment and one owner.
        NonNull::new(unsafe { dpdk_sys::dpdk_shim_mbuf_alloc(self.raw.as_ptr()) })
            .map(|raw| unsafe { Mbuf::from_owned(raw) })
    }

    /// Takes `n` empty buffers into `burst`, all or none; `false` if the pool is dry or `burst` has no room.
    #[inline]
    pub fn alloc_into(&self, burst: &mut Burst, n: usize) -> bool {
        let len = burst.len();
        if n > burst.remaining_capacity() {
            return false;
        }
        let Ok(wanted) = u32::try_from(n) else { return false };
        // SAFETY: `n` more elements fit, as checked above.
        let free = unsafe { burst.as_mut_ptr().add(len) }.cast::<*mut rte_mbuf>();
        // SAFETY: `free` has room for `wanted` pointers (`Mbuf` is one, transparently); the pool is never freed.
        if unsafe { dpdk_sys::dpdk_shim_mbuf_alloc_bulk(self.raw.as_ptr(), free, wanted) } != 0 {
            return false;
        }
        // SAFETY: the call above wrote `n` fresh, owned, single-segment mbufs behind the first `len`.
        unsafe { burst.set_len(len + n) };
        true
    }

    /// Takes a buffer and copies `octets` into it; `None` when the pool is dry or they do not fit.
    #[must_use]
    pub fn alloc_copy(&self, octets: &[u8]) -> Option<Mbuf> {
        let mut mbuf = self.alloc()?;
        mbuf.append(octets.len())?.copy_from_slice(octets);
        Some(mbuf)
    }

    pub(crate) fn as_ptr(&self) -> *mut rte_mempool {
        self.raw.as_ptr()
    }
}
