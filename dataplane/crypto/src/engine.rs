//! A worker's own AEAD: seals and opens bursts without allocating, locking or calling the system.

use esp::aead::{Aead, Job, MAX_BURST};

use crate::choice::{Error, Method};
#[cfg(ipsec_mb)]
use crate::ipsec_mb::Manager;
use crate::key::Key;
#[cfg(target_arch = "x86_64")]
use crate::vaes;

/// A worker's AEAD, made by [`crate::Crypto::engine`]. It takes keys of every backend; keys of its own are fastest.
pub struct Engine {
    call: Call,
}

/// How bursts are worked on.
enum Call {
    #[cfg(target_arch = "x86_64")]
    Vaes(vaes::Cpu),
    #[cfg(ipsec_mb)]
    IpsecMb(Manager),
    /// Packet by packet, as each one's key says.
    Direct,
}

impl Engine {
    /// Makes an engine. Errors: what keeps the method from running.
    pub(crate) fn new(method: Method) -> Result<Self, Error> {
        let call = match method {
            #[cfg(target_arch = "x86_64")]
            Method::Vaes => Call::Vaes(vaes::Cpu::detect()?),
            #[cfg(not(target_arch = "x86_64"))]
            Method::Vaes => return Err(Error::Feature { name: "VAES" }),
            #[cfg(ipsec_mb)]
            Method::IpsecMbBurst => Call::IpsecMb(Manager::new()?),
            #[cfg(ipsec_mb)]
            Method::IpsecMbDirect => Call::Direct,
            #[cfg(not(ipsec_mb))]
            Method::IpsecMbBurst | Method::IpsecMbDirect => return Err(Error::NotBuilt),
            Method::RustCrypto => Call::Direct,
        };
        Ok(Self { call })
    }
}

impl Aead for Engine {
    type Key = Key;

    fn seal(&mut self, jobs: &mut [Job<'_, Key>]) {
        for burst in jobs.chunks_mut(MAX_BURST) {
            match &mut self.call {
                #[cfg(target_arch = "x86_64")]
                Call::Vaes(cpu) => vaes::seal(*cpu, burst),
                #[cfg(ipsec_mb)]
                Call::IpsecMb(manager) => manager.seal(burst),
                Call::Direct => burst.iter_mut().for_each(Key::seal_one),
            }
        }
    }

    fn open(&mut self, jobs: &mut [Job<'_, Key>]) {
        for burst in jobs.chunks_mut(MAX_BURST) {
            match &mut self.call {
                #[cfg(target_arch = "x86_64")]
                Call::Vaes(cpu) => vaes::open(*cpu, burst),
                #[cfg(ipsec_mb)]
                Call::IpsecMb(manager) => manager.open(burst),
                Call::Direct => burst.iter_mut().for_each(Key::open_one),
            }
        }
    }
}
