//! Publication of immutable tables from the control thread to the workers.
//!
//! A worker reads one snapshot per burst: [`Subscriber::current`] is one atomic load while nothing changed. The
//! publisher keeps every snapshot it ever handed out until each worker has moved past it, so the last reference is
//! always dropped on the control thread and no worker ever frees memory or waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::utils::CachePadded;

/// A snapshot with the number it was published under.
type Numbered<T> = (u64, Arc<T>);

#[derive(Debug)]
struct Shared<T> {
    /// Number of the newest snapshot; moves after `newest` does.
    number: CachePadded<AtomicU64>,
    newest: Mutex<Numbered<T>>,
    /// Number of the snapshot each worker uses.
    used: Vec<CachePadded<AtomicU64>>,
}

/// The control thread's end.
#[derive(Debug)]
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    /// Snapshots that a worker may still hold, oldest first.
    kept: VecDeque<Numbered<T>>,
}

/// A worker's end.
#[derive(Debug)]
pub struct Subscriber<T> {
    shared: Arc<Shared<T>>,
    worker: usize,
    held: Numbered<T>,
}

/// Makes a publisher of `first` and one subscriber for each of `workers`.
#[must_use]
pub fn channel<T>(first: T, workers: usize) -> (Publisher<T>, Vec<Subscriber<T>>) {
    let first = (1, Arc::new(first));
    let shared = Arc::new(Shared {
        number: CachePadded::new(AtomicU64::new(first.0)),
        newest: Mutex::new(first.clone()),
        used: (0..workers).map(|_| CachePadded::new(AtomicU64::new(first.0))).collect(),
    });
    let subscribers = (0..workers)
        .map(|worker| Subscriber { shared: Arc::clone(&shared), worker, held: first.clone() })
        .collect();
    (Publisher { shared, kept: VecDeque::from([first]) }, subscribers)
}

impl<T> Publisher<T> {
    /// Makes `next` what every worker reads from its next burst on.
    pub fn publish(&mut self, next: Arc<T>) {
        let number = self.shared.number.load(Ordering::Relaxed) + 1;
        *self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner) = (number, Arc::clone(&next));
        self.kept.push_back((number, next));
        self.shared.number.store(number, Ordering::Release);
        self.collect();
    }

    /// Returns the newest snapshot.
    #[must_use]
    pub fn newest(&self) -> Arc<T> {
        Arc::clone(&self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner).1)
    }

    /// Frees the snapshots that every worker has moved past.
    pub fn collect(&mut self) {
        let oldest_used = self.shared.used.iter().map(|used| used.load(Ordering::Acquire)).min();
        let newest = self.shared.number.load(Ordering::Relaxed);
        let keep_from = oldest_used.unwrap_or(newest);
        while self.kept.front().is_some_and(|(number, _)| *number < keep_from) {
            self.kept.pop_front();
        }
    }

    /// Whether every worker reads the newest snapshot: what was removed before it is in nobody's hands.
    #[must_use]
    pub fn settled(&self) -> bool {
        let newest = self.shared.number.load(Ordering::Relaxed);
        self.shared.used.iter().all(|used| used.load(Ordering::Acquire) == newest)
    }
}

impl<T> Subscriber<T> {
    /// Returns the snapshot for the coming burst and its number, which no other snapshot has and is never 0; never
    /// waits, never frees.
    #[must_use]
    pub fn current(&mut self) -> (u64, &T) {
        if self.shared.number.load(Ordering::Acquire) != self.held.0 {
            self.refresh();
        }
        (self.held.0, &*self.held.1)
    }

    #[cold]
    fn refresh(&mut self) {
        // A publisher in the middle of its store is not waited for: the next burst sees the change.
        if let Ok(newest) = self.shared.newest.try_lock() {
            self.held = newest.clone();
            drop(newest);
            if let Some(used) = self.shared.used.get(self.worker) {
                used.store(self.held.0, Ordering::Release);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_sees_what_was_published_at_its_next_burst() {
        let (mut publisher, mut subscribers) = channel(1, 1);
        assert_eq!(*subscribers[0].current().1, 1);
        publisher.publish(Arc::new(2));
        assert_eq!(*subscribers[0].current().1, 2);
    }

    #[test]
    fn a_snapshot_lives_until_the_slowest_worker_moved_past_it() {
        let (mut publisher, mut subscribers) = channel(0, 2);
        let old = Arc::downgrade(&publisher.newest());
        publisher.publish(Arc::new(1));
        let _ = subscribers[0].current();
        publisher.collect();
        assert!(old.upgrade().is_some(), "worker 1 may still read it");
        assert!(!publisher.settled());
        let _ = subscribers[1].current();
        assert!(old.upgrade().is_some(), "a worker never frees");
        publisher.collect();
        assert!(old.upgrade().is_none());
        assert!(publisher.settled());
    }

    #[test]
    fn workers_race_with_a_publisher_and_never_see_a_number_go_back() {
        let (mut publisher, subscribers) = channel(0_u64, 2);
        std::thread::scope(|scope| {
            for mut subscriber in subscribers {
                scope.spawn(move || {
                    let mut last = 0;
                    while last < 2_000 {
                        let now = *subscriber.current().1;
                        assert!(now >= last);
                        last = now;
                    }
                });
            }
            for number in 1..=2_000 {
                publisher.publish(Arc::new(number));
            }
        });
        publisher.collect();
        assert_eq!(publisher.kept.len(), 1);
    }
}
