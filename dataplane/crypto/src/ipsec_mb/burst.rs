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

    /// Opens at most [`MAX_BURST`] packets in place and sets each `verified`.
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
            if job.key.ipsec_mb().is_some() {
                job.verified = completed.contains(index) && same_icv(icv, job.icv);
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
        let described = ImbJob {
            enc_keys: &raw const schedule.key,
            dec_keys: &raw const schedule.key,
            key_octets: algorithm.key_octets() as u64,
            src: text,
            dst: text,
            cipher_start_octets: 0,
            cipher_octets: text_octets,
            hash_start_octets: 0,
            hash_octets: text_octets,
            iv: job.nonce.as_ptr(),
            iv_octets: job.nonce.len() as u64,
            tag,
            tag_octets: ICV_OCTETS as u64,
            aad: aad.as_ptr(),
            aad_octets: aad.len() as u64,
            context: ptr::null_mut(),
            status: 0,
            cipher_mode: ffi::IMB_CIPHER_GCM,
            cipher_direction: direction,
            hash_alg: ffi::IMB_AUTH_AES_GMAC,
            chain_order: match direction {
                ffi::IMB_DIR_ENCRYPT => ffi::IMB_ORDER_CIPHER_HASH,
                _ => ffi::IMB_ORDER_HASH_CIPHER,
            },
            user_data: index,
        };
        // SAFETY: the slot is below `given`, so the manager gave it out; `ImbJob` is the start of its structure, as
        // the shim asserts.
        unsafe { slot.write(described) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::ipsec_mb::ffi::{BurstCall, Mgr};
    use esp::aead::Aad;
    use std::cell::Cell;

    thread_local! {
        static HELD_BACK: Cell<*mut ImbJob> = const { Cell::new(ptr::null_mut()) };
    }

    unsafe extern "C" fn nothing_done(_: *mut Mgr, _: u32, _: *mut *mut ImbJob) -> u32 {
        0
    }

    unsafe extern "C" fn submit_and_reverse(mgr: *mut Mgr, pkts: u32, jobs: *mut *mut ImbJob) -> u32 {
        // SAFETY: the arguments are those of the real call.
        let done = unsafe { (Calls::current().unwrap().submit_burst)(mgr, pkts, jobs) };
        // SAFETY: the library wrote this many pointers.
        unsafe { std::slice::from_raw_parts_mut(jobs, done as usize) }.reverse();
        done
    }

    unsafe extern "C" fn submit_and_hold_one_back(mgr: *mut Mgr, pkts: u32, jobs: *mut *mut ImbJob) -> u32 {
        // SAFETY: the arguments are those of the real call, which completes every job of GCM.
        let done = unsafe { submit_and_reverse(mgr, pkts, jobs) } - 1;
        // SAFETY: the library wrote one pointer more than is passed on.
        HELD_BACK.set(unsafe { *jobs.add(done as usize) });
        done
    }

    unsafe extern "C" fn flush_the_held_back(_: *mut Mgr, _: u32, jobs: *mut *mut ImbJob) -> u32 {
        // SAFETY: the caller has room for at least one pointer.
        unsafe { jobs.write(HELD_BACK.get()) };
        1
    }

    unsafe extern "C" fn submit_and_fail_the_first(mgr: *mut Mgr, pkts: u32, jobs: *mut *mut ImbJob) -> u32 {
        // SAFETY: the arguments are those of the real call, and at least one job completed.
        unsafe {
            let done = (Calls::current().unwrap().submit_burst)(mgr, pkts, jobs);
            (**jobs).status = 4;
            done
        }
    }

    /// A manager whose library has the faults that the two functions imitate.
    fn manager(submit_burst: BurstCall, flush_burst: BurstCall) -> Manager {
        let calls = Box::leak(Box::new(Calls { submit_burst, flush_burst, ..*Calls::current().unwrap() }));
        Manager { calls, ..Manager::new().unwrap() }
    }

    /// Runs 40 packets of growing length and returns their text and ICV, and whether they are verified.
    fn run(packets: &mut [([u8; 40], [u8; 16])], work: impl FnOnce(&mut [Job<'_, Key>])) -> Vec<bool> {
        let arena = Arena::new();
        let calls = Calls::current().unwrap();
        let key = Key::for_ipsec_mb(calls, &arena, Algorithm::Aes128Gcm16, &[9; 16]).unwrap();
        let mut jobs: Vec<_> = packets
            .iter_mut()
            .enumerate()
            .map(|(n, (text, icv))| Job::new(&key, [3; 12], Aad::Short([1; 8]), &mut text[..n], icv))
            .collect();
        // Left over by a caller; no path may take it for a verdict.
        jobs.iter_mut().for_each(|job| job.verified = true);
        work(&mut jobs);
        jobs.iter().map(|job| job.verified).collect()
    }

    fn clear() -> Vec<([u8; 40], [u8; 16])> {
        (0..40).map(|n| ([n; 40], [0; 16])).collect()
    }

    fn sealed() -> Vec<([u8; 40], [u8; 16])> {
        let mut packets = clear();
        run(&mut packets, |jobs| Manager::new().unwrap().seal(jobs));
        packets
    }

    #[test]
    fn results_in_any_order_go_to_their_own_packets() {
        let mut packets = sealed();
        packets[7].1[0] ^= 1;
        let mut manager = manager(submit_and_reverse, nothing_done);
        let verified = run(&mut packets, |jobs| manager.open(jobs));
        assert!(verified.iter().enumerate().all(|(n, verified)| *verified == (n != 7)));
    }

    #[test]
    fn what_a_submission_leaves_open_is_flushed() {
        let mut packets = clear();
        let mut manager = manager(submit_and_hold_one_back, flush_the_held_back);
        run(&mut packets, |jobs| manager.seal(jobs));
        assert!(packets == sealed() && !manager.stuck);
        assert!(run(&mut packets, |jobs| manager.open(jobs)).iter().all(|verified| *verified));
    }

    #[test]
    fn a_job_that_failed_is_neither_verified_nor_left_in_clear() {
        let mut manager = manager(submit_and_fail_the_first, nothing_done);
        let mut packets = clear()[39..].to_vec();
        let text = &mut packets[0];
        text.0 = [0x77; 40];
        let arena = Arena::new();
        let key =
            Key::for_ipsec_mb(Calls::current().unwrap(), &arena, Algorithm::Aes128Gcm16, &[9; 16]).unwrap();
        let mut jobs = [Job::new(&key, [3; 12], Aad::Short([1; 8]), &mut text.0, &mut text.1)];
        manager.seal(&mut jobs);
        manager.open(&mut jobs);
        assert!(!jobs[0].verified);
        let mut jobs = [Job::new(&key, [3; 12], Aad::Short([1; 8]), &mut text.0, &mut text.1)];
        jobs[0].text.fill(0x77);
        manager.seal(&mut jobs);
        assert_eq!((text.0, text.1), ([0; 40], [0; 16]));
    }

    #[test]
    fn a_manager_that_keeps_jobs_is_not_called_again() {
        let mut manager = manager(nothing_done, nothing_done);
        let mut packets = clear();
        run(&mut packets, |jobs| manager.seal(jobs));
        assert!(
            packets.iter().enumerate().all(|(n, (text, icv))| text[..n].iter().chain(icv).all(|o| *o == 0))
        );
        assert!(manager.stuck);
        // The next burst goes packet by packet and is right again.
        let mut packets = clear();
        run(&mut packets, |jobs| manager.seal(jobs));
        assert!(packets == sealed());
        assert!(run(&mut packets, |jobs| manager.open(jobs)).iter().all(|verified| *verified));
    }

    #[test]
    fn nothing_is_verified_when_nothing_completes() {
        // `clear` has ICVs of zeros, which is what the library would have overwritten.
        for mut packets in [sealed(), clear()] {
            let mut manager = manager(nothing_done, nothing_done);
            assert!(run(&mut packets, |jobs| manager.open(jobs)).iter().all(|verified| !verified));
        }
    }
}
