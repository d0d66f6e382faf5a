//! A segment file: opened only if it is ours, of this boot, of our major version and of its full length;
//! made under another name and renamed, so that no reader ever sees half a header.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::sys::uio::pread;
use nix::unistd::{UnlinkatFlags, ftruncate};
use zerocopy::FromBytes;

use crate::error::Error;
use crate::layout::{FEATURES_KNOWN, HEADER_OCTETS, MAJOR, MINOR, Prefix};
use crate::map::{Access, Map};
use crate::place::RuntimeDir;

/// What tells one segment from the other.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) magic: u64,
    pub(crate) record_octets: u32,
    pub(crate) second_octets: u32,
    pub(crate) regions: [u64; 4],
    pub(crate) file_octets: u64,
}

impl Kind {
    fn path(&self, dir: &RuntimeDir) -> PathBuf {
        dir.path().join(self.name)
    }
}

/// Maps the segment if it is whole, ours and of this boot.
/// Errors: `Missing`, `OtherBoot`, `Version`, `Truncated`, `NotASegment`, `Header`, `System`.
pub(crate) fn attach(dir: &RuntimeDir, kind: &Kind, access: Access) -> Result<(Map, Prefix), Error> {
    let path = kind.path(dir);
    let flag = match access {
        Access::Read => OFlag::O_RDONLY,
        Access::Write => OFlag::O_RDWR,
    };
    let file = match open(&path, flag | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::ENOENT) => return Err(Error::Missing { path }),
        Err(errno) => return Err(Error::System { call: "open", path, errno }),
    };
    let prefix = read_prefix(&file, &path)?;
    check(&prefix, dir, kind, &path)?;
    let map = Map::new(File::from(file), &path, prefix.file_octets, access)?;
    Ok((map, prefix))
}

fn read_prefix(file: &OwnedFd, path: &Path) -> Result<Prefix, Error> {
    let system = |call| move |errno| Error::System { call, path: path.to_path_buf(), errno };
    let status = fstat(file.as_fd()).map_err(system("fstat"))?;
    let found = u64::try_from(status.st_size).unwrap_or(0);
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(Error::NotASegment { path: path.to_path_buf(), magic: 0 });
    }
    let needed = u64::from(HEADER_OCTETS);
    if found < needed {
        return Err(Error::Truncated { path: path.to_path_buf(), octets: found, needed });
    }
    let mut octets = [0; size_of::<Prefix>()];
    let read = pread(file, &mut octets, 0).map_err(system("pread"))?;
    match Prefix::read_from_bytes(&octets) {
        Ok(prefix) if read == octets.len() => Ok(prefix),
        Ok(_) | Err(_) => Err(Error::Truncated { path: path.to_path_buf(), octets: 0, needed }),
    }
}

fn check(prefix: &Prefix, dir: &RuntimeDir, kind: &Kind, path: &Path) -> Result<(), Error> {
    let path = || path.to_path_buf();
    if prefix.magic != kind.magic {
        return Err(Error::NotASegment { path: path(), magic: prefix.magic });
    }
    if prefix.boot_id != dir.boot().0 {
        return Err(Error::OtherBoot { path: path() });
    }
    if prefix.major != MAJOR || prefix.features_required & !FEATURES_KNOWN != 0 {
        return Err(Error::Version {
            path: path(),
            found_major: prefix.major,
            found_minor: prefix.minor,
            features: prefix.features_required,
            major: MAJOR,
        });
    }
    let header = |field, value| Err(Error::Header { segment: kind.name, field, value });
    // A minor version may only make records longer; a stride that is no multiple of a line would tear words.
    let longer = |found: u32, ours: u32| found >= ours && found.is_multiple_of(8) && found <= 1 << 16;
    if !longer(prefix.record_octets, kind.record_octets) {
        return header("record_octets", prefix.record_octets.into());
    }
    if !longer(prefix.second_octets, kind.second_octets) {
        return header("second_octets", prefix.second_octets.into());
    }
    if prefix.slots_log2 != crate::ids::SA_SLOTS.trailing_zeros() {
        return header("slots_log2", prefix.slots_log2.into());
    }
    if prefix.header_octets != HEADER_OCTETS {
        return header("header_octets", prefix.header_octets.into());
    }
    if prefix.file_octets < kind.file_octets || prefix.file_octets > 1 << 44 {
        return header("file_octets", prefix.file_octets);
    }
    Ok(())
}

/// Makes a new, empty segment in the place of whatever is there; `fill` sets what is not zero.
/// The caller holds the lock that keeps other writers off.
/// Errors: `System`, and those of [`attach`].
pub(crate) fn create(
    dir: &RuntimeDir,
    kind: &Kind,
    instance: [u64; 2],
    fill: impl FnOnce(&Map) -> Result<(), Error>,
) -> Result<(Map, Prefix), Error> {
    let path = kind.path(dir);
    let fresh = path.with_extension("new");
    let system = |call| {
        let path = fresh.clone();
        move |errno| Error::System { call, path, errno }
    };
    match nix::unistd::unlinkat(nix::fcntl::AT_FDCWD, &fresh, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(system("unlink")(errno)),
    }
    let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let file = open(&fresh, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(system("open"))?;
    let length = i64::try_from(kind.file_octets).map_err(|_| system("ftruncate")(Errno::EFBIG))?;
    ftruncate(&file, length).map_err(system("ftruncate"))?;
    let prefix = Prefix {
        magic: kind.magic,
        major: MAJOR,
        minor: MINOR,
        header_octets: HEADER_OCTETS,
        record_octets: kind.record_octets,
        second_octets: kind.second_octets,
        slots_log2: crate::ids::SA_SLOTS.trailing_zeros(),
        features_required: 0,
        features_optional: 0,
        boot_id: dir.boot().0,
        instance,
        writer_pid: std::process::id(),
        reserved: 0,
        file_octets: kind.file_octets,
        regions: kind.regions,
    };
    let map = Map::new(File::from(file), &fresh, kind.file_octets, Access::Write)?;
    fill(&map)?;
    // By the map and not by write, which hugetlbfs has not.
    let words: [u64; size_of::<Prefix>() / 8] = zerocopy::transmute!(prefix);
    for (place, word) in map.words(0, words.len()).into_iter().flatten().zip(words) {
        place.store(word, Ordering::Relaxed);
    }
    drop(map);
    std::fs::rename(&fresh, &path)
        .map_err(|error| system("rename")(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)))?;
    attach(dir, kind, Access::Write)
}
