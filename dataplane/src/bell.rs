//! Wakes the control thread when it sleeps and there is something for it; costs a worker one load otherwise.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// An eventfd that is written only while its owner waits for it.
#[derive(Debug)]
pub struct Bell {
    event: EventFd,
    waiting: AtomicBool,
}

impl Bell {
    /// Makes a bell.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> nix::Result<Self> {
        let event = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { event, waiting: AtomicBool::new(false) })
    }

    /// Wakes the owner if it waits. Several threads may ring; one of them pays for the system call.
    #[inline]
    pub fn ring(&self) {
        if self.waiting.load(Ordering::Relaxed) && self.waiting.swap(false, Ordering::AcqRel) {
            // A full counter means that the owner has been woken already.
            let _ = self.event.write(1);
        }
    }

    /// Says that the owner is about to wait; it looks for work once more afterwards.
    pub fn wait_from_now(&self) {
        self.waiting.store(true, Ordering::SeqCst);
    }

    /// Says that the owner is awake, and empties the counter.
    pub fn awake(&self) {
        self.waiting.store(false, Ordering::Relaxed);
        let _ = self.event.read();
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_waiting_owner_is_woken_and_only_once() {
        let bell = Bell::new().unwrap();
        bell.ring();
        assert!(bell.event.read().is_err(), "nobody waits");
        bell.wait_from_now();
        bell.ring();
        bell.ring();
        assert_eq!(bell.event.read().unwrap(), 1);
    }
}
