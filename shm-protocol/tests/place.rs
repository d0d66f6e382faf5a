//! The runtime directory on a disk: the bridge mounts a private tmpfs there. Runs as root only.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::mount::{MntFlags, umount2};
use nix::unistd::geteuid;
use shm_protocol::Error;
use shm_protocol::place::RuntimeDir;
use shm_protocol::sad::SadWriter;

#[test]
fn a_directory_on_a_disk_gets_a_private_tmpfs_or_is_refused_in_one_line() {
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = temp.path().join("below").join("run");
    match RuntimeDir::prepare(&path) {
        Ok(dir) => {
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o700);
            drop(SadWriter::open(&dir, 10, Duration::from_secs(5)).unwrap());
            // Once is enough: a second bridge finds it there.
            RuntimeDir::prepare(&path).unwrap();
            assert_eq!(std::fs::metadata(path.join("sad")).unwrap().permissions().mode() & 0o7777, 0o600);
            umount2(&path, MntFlags::MNT_DETACH).unwrap();
            assert!(!path.join("sad").exists());
        }
        Err(error) => {
            assert!(matches!(error, Error::Mount { .. }) && !geteuid().is_root(), "{error}");
            assert_eq!(error.to_string().lines().count(), 1);
        }
    }
}

#[test]
fn a_tmpfs_that_is_full_refuses_a_change_instead_of_ending_the_process() {
    use nix::mount::{MsFlags, mount};
    use shm_protocol::ids::{IfId, PolicySlot};
    use shm_protocol::policy::{Action, Policy, PolicyDirection};
    use shm_protocol::sad::Transaction;
    use shm_protocol::selector::{Family, SelectorRecord};
    let temp = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    /// Unmounts however the test ends.
    struct Mounted<'a>(&'a std::path::Path);
    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            let _ = umount2(self.0, MntFlags::MNT_DETACH);
        }
    }
    let options = Some("size=4m,mode=0700");
    if mount(Some("tmpfs"), temp.path(), Some("tmpfs"), MsFlags::empty(), options).is_err() {
        return;
    }
    let _mounted = Mounted(temp.path());
    let dir = RuntimeDir::open(temp.path()).unwrap();
    let mut writer = SadWriter::open(&dir, 100_000, Duration::from_secs(5)).unwrap();
    let policy = |slot| Policy {
        slot: PolicySlot::new(slot).unwrap(),
        owner: shm_protocol::ids::Owner(1),
        direction: PolicyDirection::Out,
        if_id: IfId(1),
        selector: SelectorRecord::any(Family::V4),
        priority: 1,
        action: Action::Pass,
        order: 1,
        users: 1,
        mark: Default::default(),
    };
    let full = (0..2000).map(|slot| slot * 1000).find_map(|slot| {
        writer.commit(Transaction::new().put_policy(&policy(slot)), Duration::from_secs(5)).err()
    });
    let full = full.unwrap();
    assert!(
        matches!(full, Error::System { call: "fallocate", errno: nix::errno::Errno::ENOSPC, .. }),
        "{full}"
    );
}
