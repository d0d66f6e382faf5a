//! IPSec_MB's burst of jobs: one submission for up to 64 packets, each with its own key and algorithm.
//!
//! No job outlives the call that submitted it: what a submission leaves open is flushed, results are matched by the
//! job's user data, and a job that did not complete is fatal for its packet, never for the others.

use std::ptr;

use esp::aead::{Algorithm, ICV_OCTETS, Job, MAX_BURST};
use zeroize::Zeroize;

use super::ffi::{self, ImbJob};
use super::{Calls, OwnedMgr, Schedule, same_icv};
use crate::choice::Error;
use crate::key::Key;

/// A worker's own manager.
pub(crate) struct Manager {
    mgr: OwnedMgr,
    calls: &'static Calls,
    /// Set when jobs stayed behind in the manager: their pointers are stale, so it must not run again.
    stuck: bool,
}

// SAFETY: the library binds a manager to no thread; `&mut self` keeps its calls apart.
unsafe impl Send for Manager {}

/// Jobs that the manager gave out, the first `filled` of them described.
struct Slots {
    jobs: [*mut ImbJob; MAX_BURST],
    given: u32,
    filled: u32,
}

/// Which of the first 64 packets completed, one bit each.
struct Completed(u64);

impl Completed {
    fn contains(&self, index: usize) -> bool {
        self.0 >> index & 1 == 1
    }
}

impl Manager {
    /// Makes a manager. Errors: why the library does not start.
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self { calls: Calls::current()?, mgr: OwnedMgr::new()?, stuck: false })
    }

    /// Seals at most [`MAX_BURST`] packets in place.
    pub(crate) fn seal(&mut self, jobs: &mut [Job<'_, Key>]) {
        let Some(mut slots) = self.slots(jobs.len()) else {
            jobs.iter_mut().for_each(Key::seal_one);
            return;
        };
        for (index, job) in jobs.iter_mut().enumerate() {
            let tag = job.icv.as_mut_ptr();
            match job.key.ipsec_mb() {
                // SAFETY: packet, key and ICV outlive `run` below, which leaves no job in the manager to run later.
                Some(key) => unsafe { slots.push(job, index, ffi::IMB_DIR_ENCRYPT, key, tag) },
                None => Key::seal_one(job),
            }
        }
        let completed = self.run(slots);
        for (index, job) in jobs.iter_mut().enumerate() {
            // What the library did not finish must not leave in clear.
            if !completed.contains(index) && job.key.ipsec_mb().is_some() {
                job.text.zeroize();
                job.icv.zeroize();
            }
        }
    }

    /// Opens at most [`MAX_BURST`] packets in place. `verified` must be false in each.
    pub(crate) fn open(&mut self, jobs: &mut [Job<'_, Key>]) {
        let Some(mut slots) = self.slots(jobs.len()) else {
            jobs.iter_mut().for_each(Key::open_one);
            return;
        };
        let mut icvs = [[0; ICV_OCTETS]; MAX_BURST];
        for (index, (job, icv)) in jobs.iter_mut().zip(&mut icvs).enumerate() {
            match job.key.ipsec_mb() {
                // SAFETY: as in `seal`; the computed ICV goes to `icvs`, which outlives `run` too.
                Some(key) => unsafe { slots.push(job, index, ffi::IMB_DIR_DECRYPT, key, icv.as_mut_ptr()) },
                None => Key::open_one(job),
            }
        }
        let completed = self.run(slots);
        for (index, (job, icv)) in jobs.iter_mut().zip(&icvs).enumerate() {
            if completed.contains(index) {
                job.verified = same_icv(icv, job.icv);
            }
        }
    }

    /// Asks for one job per packet; none if the manager cannot give that many.
    #[inline]
    fn slots(&mut self, pkts: usize) -> Option<Slots> {
        let wanted = u32::try_from(pkts).ok().filter(|_| pkts <= MAX_BURST && !self.stuck)?;
        let mut slots = Slots { jobs: [ptr::null_mut(); MAX_BURST], given: wanted, filled: 0 };
        // SAFETY: the manager is initialised and ours alone, and the array has room for `wanted` pointers.
        let given = unsafe { (self.calls.next_burst)(self.mgr.0.as_ptr(), wanted, slots.jobs.as_mut_ptr()) };
        (given == wanted).then_some(slots)
    }

    /// Submits the filled jobs, flushes until none is left, and says which completed.
    #[inline]
    fn run(&mut self, mut slots: Slots) -> Completed {
        let mut completed = Completed(0);
        let (mgr, jobs) = (self.mgr.0.as_ptr(), slots.jobs.as_mut_ptr());
        let mut left = slots.filled;
        if left == 0 {
            return completed;
        }
        // SAFETY: the first `filled` jobs are described, in the order the manager gave them.
        let mut done = unsafe { (self.calls.submit_burst)(mgr, left, jobs) };
        loop {
            for job in slots.jobs.iter().take(done as usize) {
                // SAFETY: the library returned this many pointers to jobs that it finished.
                let (status, index) = unsafe { ((**job).status, (**job).user_data) };
                if status == ffi::IMB_STATUS_COMPLETED && index < MAX_BURST {
                    completed.0 |= 1 << index;
                }
            }
            left = left.saturating_sub(done);
            if left == 0 {
                return completed;
            }
            // SAFETY: the array has room for all jobs that are open.
            done = unsafe { (self.calls.flush_burst)(mgr, left, jobs) };
            if done == 0 {
                self.stuck = true;
                return completed;
            }
        }
    }
}

impl Slots {
    /// Describes one more packet to the library; `tag` has room for 16 octets. No more than `given` are taken.
    ///
    /// # Safety
    /// Packet, key and `tag` stay valid until the submission is over.
    #[inline]
    unsafe fn push(
        &mut self,
        job: &mut Job<'_, Key>,
        index: usize,
        direction: u32,
        (algorithm, schedule): (Algorithm, &Schedule),
        tag: *mut u8,
    ) {
        let Some(slot) = self.jobs.get(self.filled as usize).filter(|_| self.filled < self.given) else {
            return;
        };
        self.filled += 1;
        let text = job.text.as_mut_ptr();
        let text_octets = job.text.len() as u64;
        let aad = job.aad.as_slice();
        // SAFETY: the slot is below `given`, so the manager gave it out; the fields are those of the header, as the
        // shim asserts.
        let slot = unsafe { &mut **slot };
        slot.enc_keys = &raw const schedule.key;
        slot.dec_keys = &raw const schedule.key;
        slot.key_octets = algorithm.key_octets() as u64;
        slot.src = text;
        slot.dst = text;
        slot.cipher_start_octets = 0;
        slot.cipher_octets = text_octets;
        slot.hash_start_octets = 0;
        slot.hash_octets = text_octets;
        slot.iv = job.nonce.as_ptr();
        slot.iv_octets = job.nonce.len() as u64;
        slot.tag = tag;
        slot.tag_octets = ICV_OCTETS as u64;
        slot.aad = aad.as_ptr();
        slot.aad_octets = aad.len() as u64;
        slot.context = ptr::null_mut();
        slot.status = 0;
        slot.cipher_mode = ffi::IMB_CIPHER_GCM;
        slot.cipher_direction = direction;
        slot.hash_alg = ffi::IMB_AUTH_AES_GMAC;
        slot.chain_order = match direction {
            ffi::IMB_DIR_ENCRYPT => ffi::IMB_ORDER_CIPHER_HASH,
            _ => ffi::IMB_ORDER_HASH_CIPHER,
        };
        slot.user_data = index;
    }
}
