//! DPDK on huge pages from a private mount. Reserves 32 pages of 2 MiB while it runs, so it runs when asked:
//! `ESPALIER_TEST_HUGEPAGES=1 cargo test -p dpdk --test huge`, as root.

use std::fs;
use std::path::Path;

use dpdk::{Eal, EalConfig, FilePrefix, Lcore, Memory, Mempool, MempoolConfig};

const RESERVED: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

/// Pages reserved by this test; returned when dropped.
struct Pages(String);

impl Pages {
    fn reserve(pages: u32) -> Self {
        let before = fs::read_to_string(RESERVED).expect("huge pages in this kernel");
        let wanted = before.trim().parse::<u32>().expect("a number") + pages;
        fs::write(RESERVED, wanted.to_string()).expect("root");
        Self(before)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = fs::write(RESERVED, self.0.trim());
    }
}

fn eal(dir: &Path) -> Result<Eal, dpdk::Error> {
    let prefix = format!("espalier-huge-{}", std::process::id());
    let mut config = EalConfig::new(FilePrefix::new(&prefix)?);
    config.memory = Memory::Huge { dir: Some(dir.to_owned()), mib: Some(32), unlink: true };
    Eal::init(&config)
}

/// DPDK reads the mounts of the process's first thread, so the namespace is made before the process.
#[test]
fn a_pool_lies_on_huge_pages_of_a_private_mount_that_return_when_the_process_ends() {
    let name = "a_pool_lies_on_huge_pages_of_a_private_mount_that_return_when_the_process_ends";
    match std::env::var("ESPALIER_TEST_HUGEPAGES").as_deref() {
        Err(_) => eprintln!("left out: ESPALIER_TEST_HUGEPAGES is not set"),
        Ok("inside") => inside(),
        Ok(_) => {
            let _pages = Pages::reserve(32);
            let status = std::process::Command::new("unshare")
                .args(["--mount", "--propagation", "private", "--"])
                .arg(std::env::current_exe().expect("this test"))
                .args(["--exact", name, "--nocapture"])
                .env("ESPALIER_TEST_HUGEPAGES", "inside")
                .status()
                .expect("unshare");
            assert!(status.success());
            let free = fs::read_to_string(RESERVED.replace("nr_", "free_")).expect("huge pages");
            assert!(free.trim().parse::<u32>().expect("a number") >= 32, "pages came back");
        }
    }
}

fn inside() {
    let dir = tempfile::tempdir().expect("a directory");
    nix::mount::mount(
        Some("espalier"),
        dir.path(),
        Some("hugetlbfs"),
        nix::mount::MsFlags::empty(),
        Some("pagesize=2M,mode=0700"),
    )
    .expect("hugetlbfs");
    let eal = eal(dir.path()).expect("EAL on huge pages");
    let pool = Mempool::new(eal, &MempoolConfig::new("huge", 4095)).expect("pool");
    let lcore = Lcore::register(eal);
    assert!(pool.alloc_copy(b"espalier").is_some());
    assert_eq!(fs::read_dir(dir.path()).expect("the mount").count(), 0, "files are unlinked at once");
    drop(lcore);
    nix::mount::umount2(dir.path(), nix::mount::MntFlags::MNT_DETACH).expect("unmount");
    eal.remove_runtime_dir().expect("runtime directory");
}
