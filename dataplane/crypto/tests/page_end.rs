//! Text at the very end and the very start of mapped memory: nothing outside it is touched, not even read.
#![allow(unsafe_code, reason = "maps pages and forbids access to their neighbours")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod support;

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use esp::aead::{Aead as _, Algorithm, ICV_OCTETS, Job, KeySchedule as _};
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};
use support::{Packet, packet};

use crypto::{Crypto, Method};

const PAGE_OCTETS: usize = 4096;

/// One page that may be used between two that may not.
struct Fenced(NonNull<c_void>);

impl Fenced {
    fn new() -> Self {
        let length = NonZeroUsize::new(3 * PAGE_OCTETS).unwrap();
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory in use.
        let start =
            unsafe { mmap_anonymous(None, length, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE) }.unwrap();
        // SAFETY: the second of the three pages was mapped just now.
        unsafe {
            let middle = start.byte_add(PAGE_OCTETS);
            mprotect(middle, PAGE_OCTETS, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE).unwrap();
        }
        Self(start)
    }

    fn page(&mut self) -> &mut [u8; PAGE_OCTETS] {
        // SAFETY: the second page is readable and writable as long as `self` lives, which is borrowed mutably.
        unsafe { self.0.byte_add(PAGE_OCTETS).cast().as_mut() }
    }
}

impl Drop for Fenced {
    fn drop(&mut self) {
        // SAFETY: `new` mapped these pages and nothing refers to them any more.
        unsafe { munmap(self.0, 3 * PAGE_OCTETS).unwrap() };
    }
}

/// Seals and opens a burst of copies, each at the same place of a page of its own; its ICV lies apart.
fn runs_at(method: Method, at: impl Fn(usize) -> usize, clear: &Packet, sealed: &Packet) {
    let crypto = Crypto::with_method(method).unwrap();
    let mut engine = crypto.engine().unwrap();
    let key = crypto.expand(clear.algorithm, &clear.key).unwrap();
    let mut pages: Vec<_> = (0..3).map(|_| (Fenced::new(), [0; ICV_OCTETS])).collect();
    let octets = clear.text.len();
    let range = at(octets)..at(octets) + octets;
    for opening in [false, true] {
        let mut jobs = Vec::new();
        for (page, icv) in &mut pages {
            let text = &mut page.page()[range.clone()];
            text.copy_from_slice(if opening { &sealed.text } else { &clear.text });
            jobs.push(Job::new(&key, clear.nonce, clear.aad, text, icv));
        }
        if opening {
            engine.open(&mut jobs)
        } else {
            engine.seal(&mut jobs)
        }
        assert!(jobs.iter().all(|job| job.verified == opening), "{method} {octets}");
        for (page, icv) in &mut pages {
            let (text, before) =
                if opening { (&clear.text, &sealed.icv) } else { (&sealed.text, &sealed.icv) };
            assert!(page.page()[range.clone()] == **text && icv == before, "{method} {octets}");
            let page = page.page();
            assert!(page[..range.start].iter().chain(&page[range.end..]).all(|octet| *octet == 0));
        }
    }
}

fn lengths() -> impl Iterator<Item = usize> {
    (0..=420).chain((421..PAGE_OCTETS).step_by(97)).chain([1404, 4000, 4001, PAGE_OCTETS])
}

fn every_method_at(at: impl Fn(usize) -> usize + Copy) {
    for octets in lengths() {
        let algorithm = Algorithm::ALL[octets % 3];
        let clear = packet(octets, algorithm, octets % 2 == 0, octets);
        let mut sealed = [clear.clone()];
        support::Rig::new(Method::RustCrypto).seal(&mut sealed);
        for method in Method::built() {
            runs_at(method, at, &clear, &sealed[0]);
        }
    }
}

#[test]
fn text_that_ends_where_a_page_ends_is_sealed_and_opened() {
    every_method_at(|octets| PAGE_OCTETS - octets);
}

#[test]
fn text_that_starts_where_a_page_starts_is_sealed_and_opened() {
    every_method_at(|_| 0);
}
