//! A worker's own AEAD: seals and opens bursts without allocating, locking or calling the system.

use esp::aead::{Aead, Job, MAX_BURST};

use crate::choice::{Error, Method};
#[cfg(ipsec_mb)]
use crate::ipsec_mb::Manager;
use crate::key::Key;

/// A worker's AEAD, made by [`crate::Crypto::engine`]. It takes keys of every backend; keys of its own are fastest.
pub struct Engine {
    #[cfg(ipsec_mb)]
    manager: Option<Manager>,
}

impl Engine {
    /// Makes an engine. Errors: what keeps the method from running.
    #[cfg(ipsec_mb)]
    pub(crate) fn new(method: Method) -> Result<Self, Error> {
        let manager = (method == Method::IpsecMbBurst).then(Manager::new).transpose()?;
        Ok(Self { manager })
    }

    /// Makes an engine. Errors: `NotBuilt`.
    #[cfg(not(ipsec_mb))]
    pub(crate) fn new(method: Method) -> Result<Self, Error> {
        if method == Method::RustCrypto { Ok(Self {}) } else { Err(Error::NotBuilt) }
    }
}

impl Aead for Engine {
    type Key = Key;

    fn seal(&mut self, jobs: &mut [Job<'_, Key>]) {
        for burst in jobs.chunks_mut(MAX_BURST) {
            #[cfg(ipsec_mb)]
            if let Some(manager) = &mut self.manager {
                manager.seal(burst);
                continue;
            }
            burst.iter_mut().for_each(Key::seal_one);
        }
    }

    fn open(&mut self, jobs: &mut [Job<'_, Key>]) {
        for burst in jobs.chunks_mut(MAX_BURST) {
            #[cfg(ipsec_mb)]
            if let Some(manager) = &mut self.manager {
                manager.open(burst);
                continue;
            }
            burst.iter_mut().for_each(Key::open_one);
        }
    }
}
