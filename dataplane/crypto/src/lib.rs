//! Burst AEAD behind the trait [`esp::aead::Aead`]: IPSec_MB where the build found it, RustCrypto everywhere.
//!
//! The control thread makes one [`Crypto`], expands every key with it and takes one [`Engine`] per worker from it.
//! Which backend runs and how it is called is chosen by measuring when [`Crypto::new`] runs, or by the configuration.
//! A [`Key`] belongs to the backend that expanded it, so any engine of the process may use it.
#![deny(unsafe_code)]

mod arena;
mod choice;
mod engine;
#[cfg(ipsec_mb)]
mod ipsec_mb;
mod key;
mod measure;
mod rustcrypto;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use esp::aead::{Algorithm, KeyError, KeySchedule};

use arena::Arena;
pub use arena::Memory;
pub use choice::{Backend, CallForm, Choice, Error, Method};
pub use engine::Engine;
pub use key::Key;
pub use measure::{Floor, measure_floor};

/// What one trial at start may take. Three methods are tried at three lengths.
const TRIAL: Duration = Duration::from_micros(500);

/// The process's AEAD: a chosen backend and call form, and the memory that holds the expanded keys.
pub struct Crypto {
    method: Method,
    arena: Arc<Arena>,
    trials: Vec<Floor>,
    absent: Option<Error>,
}

impl Crypto {
    /// Makes the AEAD for a choice of the configuration. Takes some milliseconds when there is something to measure.
    /// Errors: what keeps a backend asked for by name from running. `Auto` falls back to RustCrypto instead.
    pub fn new(choice: Choice) -> Result<Self, Error> {
        let _ = (choice, TRIAL);
        todo!()
    }

    /// Makes the AEAD with a backend and call form of the caller's choice, without measuring.
    /// Errors: what keeps the backend from running.
    pub fn with_method(method: Method) -> Result<Self, Error> {
        let _ = method;
        todo!()
    }

    /// Returns the backend and the call form in use.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns how much memory holds expanded keys, and whether it is locked.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.arena.memory()
    }

    /// Makes a worker's engine. Errors: what keeps the backend from running.
    pub fn engine(&self) -> Result<Engine, Error> {
        todo!()
    }

    /// Returns one line for the log: backend, library version, call form, what was measured, where keys live.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut line = String::new();
        let _ = write!(line, "AEAD by {}", self.method);
        let _ = (&self.trials, &self.absent);
        line
    }
}

impl KeySchedule for Crypto {
    type Key = Key;

    fn expand(&self, algorithm: Algorithm, key: &[u8]) -> Result<Key, KeyError> {
        let _ = (algorithm, key);
        todo!()
    }
}
