//! Standard threads as DPDK lcores, so that they have a cache in every mempool.

use std::marker::PhantomData;

use crate::eal::Eal;
use crate::error::{Errno, Error};
use crate::log::reasoned;

/// The calling thread's registration with DPDK; ends when dropped, on the same thread.
#[derive(Debug)]
pub struct Lcore {
    id: u32,
    // Registration is thread-local, so the guard stays on its thread.
    not_send: PhantomData<*const ()>,
}

impl Lcore {
    /// Registers the calling thread. A thread without registration works, but each of its allocations goes to the
    /// pool's shared ring. From the first registration on no secondary process can attach.
    /// Errors: `Register` if DPDK has no lcore id left.
    pub fn register(_eal: Eal) -> Result<Self, Error> {
        // SAFETY: `Eal` proves that DPDK is up; the call touches only this thread's state and DPDK's own.
        reasoned(|| unsafe { dpdk_sys::rte_thread_register() })
            .map_err(|reason| Error::Register { reason })?;
        // SAFETY: reads a thread-local integer.
        Ok(Self { id: unsafe { dpdk_sys::dpdk_shim_lcore_id() }, not_send: PhantomData })
    }

    /// Returns the lcore id DPDK gave.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }
}

impl Drop for Lcore {
    fn drop(&mut self) {
        // SAFETY: `register` succeeded on this thread (the guard is not `Send`) and the guard ends once.
        unsafe { dpdk_sys::rte_thread_unregister() }
    }
}

/// Pins the calling thread to one CPU and tells DPDK.
/// Errors: `Pin` if the machine has no such CPU or the process may not use it.
pub fn pin_thread(_eal: Eal, cpu: u32) -> Result<(), Error> {
    // SAFETY: `Eal` proves that DPDK is up; the call concerns only this thread.
    let rc = unsafe { dpdk_sys::dpdk_shim_pin(cpu) };
    if rc == 0 { Ok(()) } else { Err(Error::Pin { cpu, errno: Errno::of(rc) }) }
}
