//! Every file under `configs/` is read by the program it is for.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use std::path::{Path, PathBuf};
use std::process::Command;

use espalier_tests::charon::{Charon, Kernel};
use espalier_tests::{World, binaries, topology};

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let folder = binaries::repository().join("configs").join(folder);
    let mut found: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no .{extension} in {}", folder.display());
    found
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("espalier-configs-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn the_engine_takes_every_gateway_file() {
    let espalier = binaries::program("espalier").unwrap();
    let folder = scratch("toml");
    for path in files("", "toml") {
        // The examples name CPU 1, which a small machine may lack.
        let cpu = topology::worker_cpu(topology::Side::A);
        let text = std::fs::read_to_string(&path).unwrap().replace("= [1]", &format!("= [{cpu}]"));
        let copy = folder.join(name_of(&path));
        std::fs::write(&copy, text).unwrap();
        let output = Command::new(&espalier).arg("--config").arg(&copy).arg("--check").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", path.display());
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn charon_loads_every_connection() {
    let world = World::new("configs").unwrap();
    let netns = world.netns("gw").unwrap();
    let mut charon = Charon::new(&world, &netns, "gateway", Kernel::Libipsec).unwrap();
    charon.configure(&[]).unwrap();
    charon.start(&world).unwrap();
    for path in files("swanctl", "conf") {
        let path = path.display().to_string();
        let said = charon.swanctl(&["--load-all", "--noprompt", "--file", &path]).unwrap();
        assert!(said.contains("successfully loaded 1 connections"), "{path}: {said}");
        assert!(said.contains("loaded ike secret"), "{path}: {said}");
    }
    charon.stop().unwrap();
}

#[test]
fn systemd_finds_no_fault_in_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("systemd-analyze is not installed: the units are not verified");
        return;
    }
    let folder = scratch("units");
    for path in files("systemd", "service") {
        let mut text = std::fs::read_to_string(&path).unwrap();
        for (installed, program) in [
            ("/usr/sbin/espalier", "espalier"),
            ("/usr/sbin/ike-bridge", "ike-bridge"),
            ("/usr/bin/espctl", "espctl"),
        ] {
            let built = binaries::program(program).unwrap().display().to_string();
            text = text.replace(installed, &built);
        }
        std::fs::write(folder.join(name_of(&path)), text).unwrap();
    }
    for path in files("systemd", "service") {
        let copy = folder.join(name_of(&path));
        let output =
            Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let ours: Vec<_> = said.lines().filter(|line| line.contains(&name_of(&path))).collect();
        assert!(ours.is_empty(), "{}: {ours:?}", path.display());
    }
    std::fs::remove_dir_all(folder).unwrap();
}
