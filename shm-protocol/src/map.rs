//! A mapped segment file as slices of atomics. With `live/part.rs` the only file with `unsafe`.
//!
//! Another process may write what is mapped at any time, so nothing here ever forms a reference to
//! anything but atomics, and every access is checked for bounds and alignment. A read-only map is only
//! loaded from: its users are `SadView` and `LiveView`, which hold no store.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use nix::sys::stat::{fstat, stat};
use nix::sys::statfs::{HUGETLBFS_MAGIC, fstatfs};
use nix::unistd::{Whence, lseek};

use crate::error::Error;
use crate::layout::{LiveHeader, SadHeader, TotalsRecord};
use crate::live::LiveRecord;

/// Types that may be seen through shared memory.
///
/// # Safety
/// The type is `repr(C)`, at most 64-aligned, made of atomics only and valid for any bit pattern.
pub(crate) unsafe trait Shared: Sync {}

// SAFETY: an atomic integer is valid for any bit pattern and made for concurrent access.
unsafe impl Shared for AtomicU64 {}
// SAFETY: as above.
unsafe impl Shared for AtomicU32 {}
// SAFETY: `repr(C)` and atomics only; `layout` asserts that there is no padding.
unsafe impl Shared for SadHeader {}
// SAFETY: as above.
unsafe impl Shared for LiveHeader {}
// SAFETY: as above.
unsafe impl Shared for TotalsRecord {}
// SAFETY: as above.
unsafe impl Shared for LiveRecord {}

/// Smallest unit in which a file gets memory. Units: octets.
const PAGE_OCTETS: u64 = 4096;
/// Unit in which records get memory. Units: octets.
const PIECE_OCTETS: u64 = 64 << 10;

/// What a map is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Loads only.
    Read,
    /// Loads and stores.
    Write,
}

/// A mapped file; unmapped when dropped.
pub(crate) struct Map {
    base: NonNull<u8>,
    octets: usize,
    file: File,
    path: PathBuf,
    identity: (u64, u64),
    /// A bit for each page known to have memory; it never loses it.
    backed: Box<[AtomicU64]>,
}

// SAFETY: the map is plain shared memory, reached through atomics only; `base` is never handed out.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `octets` of `file`, which has at least that many (checked here again).
    /// Errors: `Truncated`, `System`.
    pub(crate) fn new(file: File, path: &Path, octets: u64, access: Access) -> Result<Self, Error> {
        let system = |call| move |errno| Error::System { call, path: path.to_path_buf(), errno };
        let status = fstat(file.as_fd()).map_err(system("fstat"))?;
        let found = u64::try_from(status.st_size).unwrap_or(0);
        if found < octets {
            return Err(Error::Truncated { path: path.to_path_buf(), octets: found, needed: octets });
        }
        let length = usize::try_from(octets)
            .ok()
            .and_then(NonZeroUsize::new)
            .ok_or_else(|| system("mmap")(Errno::EINVAL))?;
        let protection = match access {
            Access::Read => ProtFlags::PROT_READ,
            Access::Write => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        };
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing of this process.
        let base =
            unsafe { mmap(None, length, protection, flags, file.as_fd(), 0) }.map_err(system("mmap"))?;
        let base = base.cast::<u8>();
        let map = Self {
            base,
            octets: length.get(),
            file,
            path: path.to_path_buf(),
            identity: (status.st_dev, status.st_ino),
            backed: (0..octets.div_ceil(PAGE_OCTETS * 64)).map(|_| AtomicU64::new(0)).collect(),
        };
        map.protect_keys();
        Ok(map)
    }

    /// Keeps keys out of swap and core dumps as far as the limits of this process allow.
    fn protect_keys(&self) {
        // Huge pages are never swapped, and locking a map of them would fill it up, on fault or not.
        if fstatfs(&self.file).is_ok_and(|found| found.filesystem_type() != HUGETLBFS_MAGIC) {
            // SAFETY: base..base+octets is this map; locking changes no contents. A refusal
            // (RLIMIT_MEMLOCK) is accepted: the tmpfs is mounted without swap where the kernel can.
            let _ = unsafe { libc::mlock2(self.base.as_ptr().cast(), self.octets, libc::MLOCK_ONFAULT) };
        }
        // SAFETY: as above; the advice changes no contents.
        let _ = unsafe { madvise(self.base.cast(), self.octets, MmapAdvise::MADV_DONTDUMP) };
    }

    /// Returns the file's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether the path still names the mapped file, at its full length.
    pub(crate) fn is_current(&self) -> bool {
        stat(&self.path).is_ok_and(|status| {
            (status.st_dev, status.st_ino) == self.identity
                && usize::try_from(status.st_size).is_ok_and(|size| size >= self.octets)
        })
    }

    /// Gives memory to a range of the sparse file, so that a store cannot end in SIGBUS on a full tmpfs.
    /// Errors: `System` with ENOSPC.
    pub(crate) fn provide(&self, offset: u64, octets: u64) -> Result<(), Error> {
        let pages = || offset / PAGE_OCTETS..(offset + octets).div_ceil(PAGE_OCTETS);
        if pages().all(|page| self.is_noted(page)) {
            return Ok(());
        }
        let system = |errno| Error::System { call: "fallocate", path: self.path.clone(), errno };
        let signed = |value: u64| i64::try_from(value).map_err(|_| system(Errno::EOVERFLOW));
        loop {
            match fallocate(&self.file, FallocateFlags::empty(), signed(offset)?, signed(octets)?) {
                Ok(()) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(system(errno)),
            }
        }
        pages().for_each(|page| self.note_backed(page));
        Ok(())
    }

    /// Gives memory to a record and to what stands around it: the next ones come beside it, and to ask the system for each
    /// page, and to fault on each, takes longer than to clear it. Errors: as [`Self::provide`].
    pub(crate) fn provide_around(&self, offset: u64, octets: u64) -> Result<(), Error> {
        let start = offset - offset % PIECE_OCTETS;
        let file_octets = u64::try_from(self.octets).unwrap_or(u64::MAX);
        let end = (offset + octets).next_multiple_of(PIECE_OCTETS).min(file_octets).max(offset + octets);
        if (offset / PAGE_OCTETS..(offset + octets).div_ceil(PAGE_OCTETS)).all(|page| self.is_noted(page)) {
            return Ok(());
        }
        match self.provide(start, end - start) {
            Ok(()) => {
                self.map_in(start, end - start);
                Ok(())
            }
            // Where there is no room for so much there may be for what is needed.
            Err(_) => self.provide(offset, octets),
        }
    }

    /// Enters pages that have memory into this process's map, for one call takes less than a fault on each of them.
    fn map_in(&self, offset: u64, octets: u64) {
        let Some(words) = usize::try_from(octets / 8).ok().and_then(|count| self.words(offset, count)) else {
            return;
        };
        // SAFETY: `words` lies in this map, and the advice changes no contents. A kernel that does not know it enters each
        // page when it is first used.
        let _ = unsafe {
            madvise(NonNull::from(words).cast(), size_of_val(words), MmapAdvise::MADV_POPULATE_WRITE)
        };
    }

    fn note_backed(&self, page: u64) {
        if let Some(word) = usize::try_from(page / 64).ok().and_then(|word| self.backed.get(word)) {
            word.fetch_or(1 << (page % 64), Ordering::Relaxed);
        }
    }

    fn is_noted(&self, page: u64) -> bool {
        let word = usize::try_from(page / 64).ok().and_then(|word| self.backed.get(word));
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (page % 64) & 1 == 1)
    }

    /// Tells whether a range of the sparse file was ever written or given memory by us. Loading from one that has none would give it
    /// some, a whole region in a scan, or end in SIGBUS on a full tmpfs. It reads as 0.
    pub(crate) fn is_backed(&self, offset: u64, octets: u64) -> bool {
        let first = offset / PAGE_OCTETS;
        let last = offset.saturating_add(octets.max(1) - 1) / PAGE_OCTETS;
        (first..=last).all(|page| self.page_is_backed(page))
    }

    fn page_is_backed(&self, page: u64) -> bool {
        if self.is_noted(page) {
            return true;
        }
        let start = i64::try_from(page * PAGE_OCTETS).unwrap_or(i64::MAX);
        // Where the file system knows no holes (hugetlbfs), everything counts as data.
        let backed = match lseek(&self.file, start, Whence::SeekData) {
            Ok(data) => data == start,
            Err(errno) => errno != Errno::ENXIO,
        };
        if backed {
            self.note_backed(page);
        }
        backed
    }

    /// Returns `count` words of 64 bits at `offset`, or `None` outside the map or unaligned.
    #[inline]
    pub(crate) fn words(&self, offset: u64, count: usize) -> Option<&[AtomicU64]> {
        let start = self.place::<AtomicU64>(offset, count)?;
        // SAFETY: `place` checked bounds and alignment for `count` atomics; the map lives as long as `&self`.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), count) })
    }

    /// Returns the shared value at `offset`, or `None` outside the map or unaligned.
    #[inline]
    pub(crate) fn at<T: Shared>(&self, offset: u64) -> Option<&T> {
        let start = self.place::<T>(offset, 1)?;
        // SAFETY: `place` checked bounds and alignment; `Shared` promises atomics only.
        Some(unsafe { start.as_ref() })
    }

    #[inline]
    fn place<T: Shared>(&self, offset: u64, count: usize) -> Option<NonNull<T>> {
        let offset = usize::try_from(offset).ok()?;
        let octets = count.checked_mul(size_of::<T>())?;
        if offset.checked_add(octets)? > self.octets || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: offset is within the map, and the map's base is page-aligned, at least 64.
        Some(unsafe { self.base.add(offset) }.cast())
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: base..base+octets is this map and no reference into it outlives `self`.
        let _ = unsafe { munmap(self.base.cast(), self.octets) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(octets: u64) -> Map {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(octets).unwrap();
        Map::new(file.reopen().unwrap(), file.path(), octets, Access::Write).unwrap()
    }

    #[test]
    fn a_word_outside_the_map_or_unaligned_is_not_given() {
        let map = map(4096);
        assert_eq!(map.words(4088, 1).map(<[_]>::len), Some(1));
        assert!(map.words(4096, 1).is_none() && map.words(4088, 2).is_none());
        assert!(map.words(4, 1).is_none() && map.words(u64::MAX - 7, 1).is_none());
        assert!(map.words(0, usize::MAX / 4).is_none());
    }

    #[test]
    fn a_hole_has_no_memory_until_some_is_given() {
        let map = map(1 << 20);
        assert!(!map.is_backed(8192, 640));
        map.provide(8192, 640).unwrap();
        assert!(map.is_backed(8192, 4096) && !map.is_backed(8192, 4097));
        assert!(!map.is_backed(1 << 20, 1) && !map.is_backed(u64::MAX - 10, 1));
    }

    #[test]
    fn a_record_gets_its_memory_with_those_around_it() {
        let map = map(1 << 20);
        map.provide_around(PIECE_OCTETS - 8, 16).unwrap();
        assert!(map.is_backed(0, 2 * PIECE_OCTETS) && !map.is_backed(2 * PIECE_OCTETS, 1));
        map.provide_around((1 << 20) - 8, 8).unwrap();
        assert!(map.is_backed((1 << 20) - PIECE_OCTETS, PIECE_OCTETS));
    }

    #[test]
    fn a_piece_that_gets_memory_is_in_the_map_before_it_is_used() {
        let map = map(1 << 20);
        let resident = || {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let start = format!("{:x}-", map.base.as_ptr() as usize);
            let own = maps.lines().skip_while(|line| !line.starts_with(&start));
            let found = own.filter_map(|line| line.strip_prefix("Rss:")).next().unwrap();
            found.trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
        };
        assert_eq!(resident(), 0);
        map.provide_around(PIECE_OCTETS + 8, 8).unwrap();
        assert_eq!(resident(), PIECE_OCTETS);
    }

    #[test]
    fn a_file_shorter_than_the_map_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(100).unwrap();
        let refused = Map::new(file.reopen().unwrap(), file.path(), 4096, Access::Read);
        assert!(matches!(refused, Err(Error::Truncated { octets: 100, needed: 4096, .. })));
    }
}
