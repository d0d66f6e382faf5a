//! The bridge's side of `sad`: transactions under the write lock, one generation each.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::plan::Plan;
use super::shape::{KIND, Shape};
use super::{SadReader, Step, Transaction, apply};
use crate::error::Error;
use crate::ids::{Generation, POLICY_SLOTS, SA_SLOTS};
use crate::lock;
use crate::map::Access;
use crate::place::RuntimeDir;
use crate::segment;

/// The one writer of `sad`.
pub struct SadWriter {
    reader: SadReader,
    hook: Option<Box<dyn FnMut(Step) + Send>>,
}

impl SadWriter {
    /// Opens the segment or makes a new one (none there, other boot), finishing what a killed writer began.
    /// `capacity` is how many SAs and reserved SPIs are admitted; twice as many policies are.
    /// Errors: `Locked` after `deadline`, `Version`, `Truncated`, `NotASegment`, `System`.
    pub fn open(dir: &RuntimeDir, capacity: u32, deadline: Duration) -> Result<Self, Error> {
        let guard = lock::exclusive(&lock::sad_lock(dir), deadline)?;
        let mapped = match segment::attach(dir, &KIND, Access::Write) {
            Err(Error::Missing { .. } | Error::OtherBoot { .. }) => {
                segment::create(dir, &KIND, [0, 0], Shape::fill)?
            }
            attached => attached?,
        };
        let reader = SadReader::over(dir, mapped)?;
        apply::recover(&reader.shape)?;
        let header = reader.shape.header()?;
        header.writer_pid.store(std::process::id(), Ordering::Relaxed);
        header.capacity.store(capacity.min(SA_SLOTS), Ordering::Relaxed);
        header.policy_capacity.store(capacity.saturating_mul(2).min(POLICY_SLOTS), Ordering::Relaxed);
        drop(guard);
        Ok(Self { reader, hook: None })
    }

    /// Reads the segment as the engine does; for a restarted bridge.
    pub fn reader(&self) -> &SadReader {
        &self.reader
    }

    /// Makes the changes as one generation, all or none, waiting at most `deadline` for the lock.
    /// An empty transaction changes nothing and returns the generation there is.
    /// Errors: `Locked`, `Full`, `PoliciesFull`, `TooManyChanges`, `ChangedTwice`, `InstanceInUse`,
    /// `SaField`, `PolicyField`, `Replaced`, `System`; nothing is changed then.
    pub fn commit(&mut self, changes: &Transaction, deadline: Duration) -> Result<Generation, Error> {
        let guard = lock::exclusive(&self.reader.lock, deadline)?;
        let mut silent = |_: Step| {};
        let hook: apply::Hook<'_> = match &mut self.hook {
            Some(hook) => hook,
            None => &mut silent,
        };
        hook(Step::Locked);
        if !self.reader.is_current() {
            return Err(Error::Replaced { path: self.reader.shape.map.path().to_path_buf() });
        }
        apply::recover(&self.reader.shape)?;
        if changes.is_empty() {
            return Ok(self.reader.generation());
        }
        let plan = Plan::new(&self.reader, changes)?;
        apply::commit(&self.reader.shape, &plan, hook)?;
        drop(guard);
        Ok(plan.generation)
    }

    /// Calls `hook` at every step of every commit.
    #[doc(hidden)]
    pub fn set_step_hook(&mut self, hook: Option<Box<dyn FnMut(Step) + Send>>) {
        self.hook = hook;
    }
}
