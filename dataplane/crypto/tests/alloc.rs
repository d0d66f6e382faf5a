//! Sealing, opening and prefetching allocate nothing; making and dropping keys is not part of it.
#![allow(unsafe_code, reason = "a counting allocator is an allocator")]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crypto::{Crypto, Method};
use esp::aead::{Aead as _, Algorithm, KeySchedule as _};
use support::{packet, run};

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn bursts_are_sealed_opened_and_prefetched_without_the_allocator() {
    for method in Method::built() {
        let crypto = Crypto::with_method(method).unwrap();
        let mut engine = crypto.engine().unwrap();
        let mut packets: Vec<_> =
            (0..150).map(|n| packet(n, Algorithm::ALL[n % 3], n % 2 == 0, 10 * n)).collect();
        let keys: Vec<_> =
            packets.iter().map(|packet| crypto.expand(packet.algorithm, &packet.key).unwrap()).collect();
        let mut counted = (0, 0);
        run(&mut packets, &keys, |jobs| {
            counted.0 = COUNT.get();
            jobs.iter().for_each(|job| job.key.prefetch_for(job.text.len()));
            engine.seal(jobs);
            engine.open(jobs);
            counted.1 = COUNT.get();
            assert!(jobs.iter().all(|job| job.verified));
        });
        assert_eq!(counted.0, counted.1, "{method}");
    }
}
