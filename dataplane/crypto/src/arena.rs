//! Memory for expanded keys: anonymous, in huge pages if possible, locked, never dumped, never forked.
//!
//! An arena hands out cells of one size and zeroizes each before it is handed out again. Its free list is behind
//! a mutex that only the control thread takes: workers read through [`Cell`], which goes straight to the memory.
//! Nothing is unmapped before the arena and the last cell are gone.
#![allow(unsafe_code, reason = "mapped memory is handed out as typed cells, here and nowhere else")]

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use esp::aead::KeyError;
use nix::errno::Errno;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mlock, mmap_anonymous, munmap};
use zeroize::Zeroize;

#[cfg(target_arch = "x86_64")]
const LINE_OCTETS: usize = 64;
/// One huge page of x86-64, so that the kernel can back a chunk with one.
const CHUNK_OCTETS: usize = 2 << 20;

/// How much memory holds expanded keys, and what the system granted of what was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Mapped. Units: octets.
    pub mapped_octets: usize,
    /// Of these, locked into memory. Units: octets.
    pub locked_octets: usize,
    /// Keys that live in it now.
    pub keys: usize,
    /// The system's error number when it last refused to lock; `RLIMIT_MEMLOCK` is the usual cause.
    pub lock_refused_errno: Option<i32>,
}

/// The memory of all keys of one [`crate::Crypto`]; `T` is an expanded key.
pub(crate) struct Arena<T> {
    shelf: Mutex<Shelf<T>>,
}

/// A value at the start of a cache line, with the lines it needs to itself.
#[repr(C, align(64))]
struct Slot<T>(T);

struct Shelf<T> {
    chunks: Vec<NonNull<c_void>>,
    free: Vec<NonNull<Slot<T>>>,
    locked_octets: usize,
    lock_refused: Option<Errno>,
}

// SAFETY: the pointers of a `Shelf` lead to mappings that it alone owns until `Arena::drop`; no thread is bound to
// them, `Arena` guards them with its mutex, and no value of `T` is reached through them.
unsafe impl<T> Send for Shelf<T> {}

impl<T> Arena<T> {
    /// What a value takes. Units: octets.
    const CELL_OCTETS: usize = size_of::<Slot<T>>();
    const CELLS_PER_CHUNK: usize = CHUNK_OCTETS / Self::CELL_OCTETS;

    pub(crate) fn new() -> Arc<Self> {
        let shelf = Shelf { chunks: Vec::new(), free: Vec::new(), locked_octets: 0, lock_refused: None };
        Arc::new(Self { shelf: Mutex::new(shelf) })
    }

    /// Moves `value` into a cell of its own. Errors: `Memory`, if the system gives no more.
    pub(crate) fn place(self: &Arc<Self>, value: T) -> Result<Cell<T>, KeyError> {
        let mut shelf = self.shelf();
        if shelf.free.is_empty() {
            shelf.grow()?;
        }
        let Some(at) = shelf.free.pop() else {
            return Err(KeyError::Memory { octets: CHUNK_OCTETS, errno: Errno::ENOMEM as i32 });
        };
        // SAFETY: a cell from the free list is mapped, writable, used by nobody else, and aligned: chunks are aligned
        // to their length, and a cell's place in one is a multiple of its size.
        unsafe { at.write(Slot(value)) };
        Ok(Cell { at, arena: Arc::clone(self) })
    }

    pub(crate) fn memory(&self) -> Memory {
        let shelf = self.shelf();
        Memory {
            mapped_octets: shelf.chunks.len() * CHUNK_OCTETS,
            locked_octets: shelf.locked_octets,
            keys: shelf.chunks.len() * Self::CELLS_PER_CHUNK - shelf.free.len(),
            lock_refused_errno: shelf.lock_refused.map(|errno| errno as i32),
        }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf<T>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Shelf<T> {
    /// Maps one more chunk. `free` gets room for every cell of every chunk here, so that giving back never allocates.
    fn grow(&mut self) -> Result<(), KeyError> {
        let chunk =
            map_chunk().map_err(|errno| KeyError::Memory { octets: CHUNK_OCTETS, errno: errno as i32 })?;
        // SAFETY: the chunk was mapped above with this length and nothing refers to it yet.
        match unsafe { mlock(chunk, CHUNK_OCTETS) } {
            Ok(()) => self.locked_octets += CHUNK_OCTETS,
            Err(errno) => self.lock_refused = Some(errno),
        }
        self.chunks.push(chunk);
        let cells = Arena::<T>::CELLS_PER_CHUNK;
        self.free.reserve(self.chunks.len() * cells);
        for index in (0..cells).rev() {
            // SAFETY: `index` is below the number of cells, so the cell lies inside the chunk.
            self.free.push(unsafe { chunk.byte_add(index * Arena::<T>::CELL_OCTETS) }.cast());
        }
        Ok(())
    }
}

impl<T> Drop for Arena<T> {
    fn drop(&mut self) {
        let shelf = self.shelf.get_mut().unwrap_or_else(PoisonError::into_inner);
        for chunk in shelf.chunks.drain(..) {
            // SAFETY: each `Cell` holds an `Arc` of the arena, so none is left; the mapping has this length.
            // A refusal leaves the mapping in place, which is harmless.
            let _ = unsafe { munmap(chunk, CHUNK_OCTETS) };
        }
    }
}

/// Maps a chunk, aligned to its own length, with the advice that fits keys. Advice that is refused is not missed:
/// an old kernel may lack it, and the lock above is what is reported.
fn map_chunk() -> Result<NonNull<c_void>, Errno> {
    const TWICE: NonZeroUsize = NonZeroUsize::new(2 * CHUNK_OCTETS).unwrap();
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no memory in use.
    let start = unsafe { mmap_anonymous(None, TWICE, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags)? };
    let before = start.as_ptr().align_offset(CHUNK_OCTETS).min(CHUNK_OCTETS);
    let after = CHUNK_OCTETS - before;
    // SAFETY: `before + CHUNK_OCTETS + after` is the length of the mapping, so all three parts lie inside it; the
    // first and the last were never handed out.
    unsafe {
        let chunk = start.byte_add(before);
        if before > 0 {
            munmap(start, before)?;
        }
        if after > 0 {
            munmap(chunk.byte_add(CHUNK_OCTETS), after)?;
        }
        for advice in [MmapAdvise::MADV_HUGEPAGE, MmapAdvise::MADV_DONTDUMP, MmapAdvise::MADV_DONTFORK] {
            let _ = madvise(chunk, CHUNK_OCTETS, advice);
        }
        Ok(chunk)
    }
}

/// A value in the arena. Dropping it zeroizes the whole cell.
pub(crate) struct Cell<T> {
    at: NonNull<Slot<T>>,
    arena: Arc<Arena<T>>,
}

// SAFETY: a cell owns its value alone, as a `Box` does.
unsafe impl<T: Send> Send for Cell<T> {}
// SAFETY: a shared cell gives out shared references only.
unsafe impl<T: Sync> Sync for Cell<T> {}

impl<T> Cell<T> {
    /// Starts loading a part of the value. Units of `part`: octets; what lies beyond the cell is left out.
    #[inline]
    pub(crate) fn prefetch(&self, part: Range<usize>) {
        #[cfg(target_arch = "x86_64")]
        for line in
            (part.start & !(LINE_OCTETS - 1)..part.end.min(Arena::<T>::CELL_OCTETS)).step_by(LINE_OCTETS)
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a prefetch never faults and changes nothing that a program can see; the address lies in the cell.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(self.at.as_ptr().cast::<i8>().byte_add(line)) };
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = part;
    }
}

impl<T> Deref for Cell<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `place` wrote the value, `drop` alone ends it, and the arena stays mapped while a cell lives.
        unsafe { &self.at.as_ref().0 }
    }
}

impl<T> DerefMut for Cell<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { &mut self.at.as_mut().0 }
    }
}

impl<T> Drop for Cell<T> {
    fn drop(&mut self) {
        let octets = self.at.cast::<MaybeUninit<u8>>();
        // SAFETY: the value is dropped once and not touched again; then the cell is plain memory of CELL_OCTETS
        // octets that nobody else refers to until it is on the free list.
        unsafe {
            self.at.drop_in_place();
            NonNull::slice_from_raw_parts(octets, Arena::<T>::CELL_OCTETS).as_mut().zeroize();
        }
        self.arena.shelf().free.push(self.at);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Finds the octets of a cell, in use or given back.
    pub(crate) fn address<T>(cell: &Cell<T>) -> usize {
        cell.at.as_ptr() as usize
    }

    /// Reads a cell that was given back.
    pub(crate) fn free_octets<T>(arena: &Arena<T>, address: usize) -> Vec<u8> {
        let shelf = arena.shelf();
        let cell = shelf.free.iter().find(|cell| cell.as_ptr() as usize == address).expect("a free cell");
        // SAFETY: the cell is on the free list, so it is mapped, was zeroized as octets, and nobody writes it while
        // the mutex is held.
        unsafe { std::slice::from_raw_parts(cell.as_ptr().cast::<u8>(), Arena::<T>::CELL_OCTETS) }.to_vec()
    }

    #[test]
    fn a_dropped_cell_leaves_only_zeros() {
        let arena = Arena::new();
        let cell = arena.place([0xa5_u8; 1000]).unwrap();
        let at = address(&cell);
        assert_eq!(cell.iter().filter(|octet| **octet == 0xa5).count(), 1000);
        drop(cell);
        assert_eq!(free_octets(&arena, at), [0; 1024]);
    }

    #[test]
    fn a_freed_cell_is_used_again_and_cells_never_overlap() {
        let arena = Arena::new();
        let first = arena.place([1_u8; 100]).unwrap();
        let at = address(&first);
        let second = arena.place([2_u8; 100]).unwrap();
        drop(first);
        let third = arena.place([3_u8; 100]).unwrap();
        assert_eq!(address(&third), at);
        assert!(second.iter().all(|octet| *octet == 2) && third.iter().all(|octet| *octet == 3));
    }

    #[test]
    fn the_arena_grows_by_chunks_and_counts_its_keys() {
        let arena = Arena::<usize>::new();
        assert_eq!(arena.memory(), Memory::default());
        let one_more = CHUNK_OCTETS / LINE_OCTETS + 1;
        let cells: Vec<_> = (0..one_more).map(|n| arena.place(n).unwrap()).collect();
        assert!(cells.iter().enumerate().all(|(n, cell)| **cell == n));
        let memory = arena.memory();
        assert_eq!((memory.mapped_octets, memory.keys), (2 * CHUNK_OCTETS, one_more));
        assert!(memory.locked_octets == memory.mapped_octets || memory.lock_refused_errno.is_some());
        drop(cells);
        assert_eq!(arena.memory().keys, 0);
    }

    #[test]
    fn a_cell_outlives_the_arena_handle_that_made_it() {
        let cell = Arena::new().place(7_u64).unwrap();
        assert_eq!(*cell, 7);
    }

    /// Sandboxes without `VmFlags` have nothing to check.
    #[test]
    fn the_kernel_is_told_neither_to_dump_nor_to_fork_keys() {
        let arena = Arena::new();
        let at = address(&arena.place(0_u8).unwrap());
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let holds_cell = |line: &str| {
            let (from, to) = line.split_once(' ')?.0.split_once('-')?;
            let number = |hex| usize::from_str_radix(hex, 16).ok();
            Some((number(from)?..number(to)?).contains(&at))
        };
        let ours = maps.lines().skip_while(|line| holds_cell(line) != Some(true));
        if let Some(flags) = ours.filter_map(|line| line.strip_prefix("VmFlags:")).next() {
            let has = |flag| flags.split_whitespace().any(|found| found == flag);
            assert!(has("dd") && has("dc"), "VmFlags:{flags}");
        }
    }
}
