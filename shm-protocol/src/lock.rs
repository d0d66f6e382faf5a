//! Lock files: separate from what they guard, close-on-exec, never unlinked.

use std::time::Duration;

use crate::error::Error;
use crate::place::RuntimeDir;

/// A process that serves a runtime directory alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Service {
    /// `espalier`, holds `engine.lock`.
    Engine,
    /// `ike-bridge`, holds `bridge.lock`.
    Bridge,
}

/// Keeps a second engine or bridge off while it is held.
#[derive(Debug)]
pub struct ServiceLock {
    _todo: (),
}

impl ServiceLock {
    /// Takes the lock for the life of the process.
    /// Errors: `AlreadyServed` with the holder, `System`.
    pub fn acquire(_dir: &RuntimeDir, _service: Service) -> Result<Self, Error> {
        todo!()
    }
}

/// LOCK_EX on a segment's lock file.
#[derive(Debug)]
pub struct WriteGuard {
    _todo: (),
}

#[allow(dead_code, reason = "placeholder")]
fn placeholder(_: Duration) {}
