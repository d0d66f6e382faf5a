//! The words of `espctl` against a running bridge: adding, listing, batches and what is said when something fails.
#![allow(clippy::unwrap_used, missing_docs, reason = "a failed step of a test is the test's failure")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KEY: &str = "0x000102030405060708090a0b0c0d0e0f10111213";

struct Bridge {
    child: Child,
    dir: tempfile::TempDir,
}

/// What a command said.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Bridge {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("espctl-test").tempdir_in("/dev/shm").unwrap();
        let child = Command::new(bridge_program())
            .arg("--runtime-dir")
            .arg(dir.path())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program ike-bridge: cargo build -p ike-bridge");
        let bridge = Self { child, dir };
        let end = Instant::now() + Duration::from_secs(5);
        while bridge.said("xfrm state count").code != 0 {
            assert!(Instant::now() < end, "the bridge does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        bridge
    }

    fn said(&self, line: &str) -> Said {
        self.said_with(line, "")
    }

    fn said_with(&self, line: &str, input: &str) -> Said {
        run(self.dir.path(), line, input)
    }

    fn out(&self, line: &str) -> String {
        let said = self.said(line);
        assert_eq!(said.code, 0, "{line}: {}", said.err);
        said.out
    }

    fn json(&self, line: &str) -> serde_json::Value {
        serde_json::from_str(&self.out(&format!("{line} --json"))).unwrap()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bridge_program() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_espctl")).with_file_name("ike-bridge");
    std::env::var_os("ESPALIER_BIN_DIR").map_or(beside, |dir| Path::new(&dir).join("ike-bridge"))
}

fn run(dir: &Path, line: &str, input: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_espctl"))
        .arg("--runtime-dir")
        .arg(dir)
        .args(espctl::words::split(line).iter().map(|word| word.as_ref()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn state(spi: u32, more: &str) -> String {
    format!(
        "xfrm state add src 192.0.2.1 dst 198.51.100.2 proto esp spi {spi:#x} reqid 1 mode tunnel aead \
         'rfc4106(gcm(aes))' {KEY} 128 {more}"
    )
}

#[test]
fn a_state_is_added_shown_as_by_ip_and_deleted() {
    let bridge = Bridge::start();
    let added = bridge.said(&state(0x1000, "dir out flag af-unspec replay-oseq 7 if_id 0x2a"));
    assert_eq!((added.code, added.out.as_str()), (0, ""), "{}", added.err);
    assert_eq!(
        bridge.out("xfrm state list"),
        "src 192.0.2.1 dst 198.51.100.2\n\
         \tproto esp spi 0x00001000 reqid 1 mode tunnel\n\
         \treplay-window 0 flag af-unspec\n\
         \taead rfc4106(gcm(aes)) <<Keys hidden>> 128\n\
         \tanti-replay context: seq 0x0, oseq 0x7, bitmap 0x00000000\n\
         \tif_id 0x2a (42)\n"
    );
    assert!(bridge.out("--show-keys xfrm state list").contains(&format!("aead rfc4106(gcm(aes)) {KEY} 128")));
    assert_eq!(bridge.out("xfrm state count"), "\t SAD count 1\n");
    assert_eq!(bridge.json("xfrm state list if_id 42")["states"][0]["spi"], "0x00001000");
    assert_eq!(bridge.out("xfrm state list if_id 43"), "");
    bridge.out("xfrm state delete dst 198.51.100.2 proto esp spi 0x1000");
    assert_eq!(bridge.out("xfrm state list"), "");
}

#[test]
fn a_state_without_dir_between_strangers_serves_both_ways_and_counts_once() {
    let bridge = Bridge::start();
    let line = state(0x1000, "").replace("192.0.2.1", "203.0.113.7");
    assert_eq!(bridge.said(&line).code, 0);
    assert_eq!(bridge.out("xfrm state count"), "\t SAD count 1\n");
    let states = bridge.json("xfrm state list");
    assert_eq!(states["states"].as_array().unwrap().len(), 1);
    assert_eq!(states["states"][0]["dir"], serde_json::Value::Null);
    bridge.out("xfrm state delete dst 198.51.100.2 proto esp spi 0x1000");
    assert_eq!(bridge.out("xfrm state list"), "");
}

#[test]
fn failures_use_the_words_of_linux_and_exit_code_1() {
    let bridge = Bridge::start();
    bridge.out(&state(0x1000, "dir in"));
    let fails = |line: &str, words: &str| {
        let said = bridge.said(line);
        assert_eq!(said.code, 1, "{line}: {}", said.err);
        assert!(said.err.contains(words) && said.err.lines().count() == 1, "{line}: {}", said.err);
    };
    fails(&state(0x1000, "dir in"), "File exists");
    fails("xfrm state delete dst 198.51.100.2 proto esp spi 0x2000", "No such process");
    fails("xfrm state get dst 198.51.100.2 proto esp spi 0x2000", "No such process");
    fails(&state(0x5, "dir in"), "Invalid argument");
    fails(&state(0x2000, "dir in").replace(" 128 ", " 96 "), "Function not implemented");
    fails(&state(0x2000, "dir in limit time-use-hard 5"), "time-hard");
    fails("xfrm policy delete dir in", "No such file or directory");
    bridge.out("xfrm policy add dir in action block");
    fails("xfrm policy add dir in action block", "File exists");
    fails("status", "espalier running");
    fails("reload", "espalier running");
}

#[test]
fn an_update_changes_limits_and_encapsulation_but_no_key() {
    let bridge = Bridge::start();
    bridge.out(&state(0x1000, "dir out"));
    let update =
        state(0x1000, "encap espinudp 4500 4501 0.0.0.0 limit byte-hard 9").replace(" add ", " update ");
    bridge.out(&update);
    let state = &bridge.json("xfrm state list")["states"][0];
    assert_eq!((&state["encap"]["dport"], &state["limits"]["octets"]["hard"]), (&4501.into(), &9.into()));
    let said = bridge.said(&update.replace("0x0001", "0xff01"));
    assert_eq!(said.code, 1);
    assert!(said.err.contains("cannot change the key"), "{}", said.err);
    assert!(!said.err.contains("ff01"), "{}", said.err);
}

#[test]
fn policies_are_added_shown_updated_and_deleted() {
    let bridge = Bridge::start();
    let words = "src 10.1.0.0/16 dst 10.2.0.0/16 dir out if_id 1";
    let tmpl = "tmpl src 192.0.2.1 dst 198.51.100.2 proto esp reqid 1 mode tunnel";
    bridge.out(&format!("xfrm policy add {words} {tmpl}"));
    bridge.out(&format!("xfrm policy update {words} priority 9 {tmpl}"));
    let block = "src 10.1.0.0/16 dst 10.2.0.0/16 \n\
                 \tdir out priority 9 ptype main \n\
                 \ttmpl src 192.0.2.1 dst 198.51.100.2\n\
                 \t\tproto esp reqid 1 mode tunnel\n\
                 \tif_id 0x1 (1)\n";
    assert_eq!(bridge.out("xfrm policy list"), block);
    assert_eq!(bridge.out(&format!("xfrm policy get {words}")), block);
    assert_eq!(bridge.out("xfrm policy count"), "\t SPD IN  0 OUT 1 FWD 0\n");
    bridge.out(&format!("xfrm policy delete {words}"));
    assert_eq!(bridge.out("xfrm policy list"), "");
}

#[test]
fn a_reserved_spi_becomes_a_state() {
    let bridge = Bridge::start();
    let said = bridge.json("xfrm state allocspi src 198.51.100.2 dst 192.0.2.1 proto esp reqid 3");
    let spi = said["spi"].as_str().unwrap();
    assert_eq!(bridge.json("xfrm state list")["states"][0]["larval"], true);
    bridge.out(&format!(
        "xfrm state update src 198.51.100.2 dst 192.0.2.1 proto esp spi {spi} aead 'rfc4106(gcm(aes))' {KEY} 128 dir in"
    ));
    let states = bridge.json("xfrm state list");
    assert_eq!(states["states"].as_array().unwrap().len(), 1);
    assert_eq!(states["states"][0]["larval"], false);
}

#[test]
fn a_batch_of_many_changes_is_few_generations() {
    let bridge = Bridge::start();
    let mut lines = String::from("# keys of a test\n\n");
    for spi in 0..600 {
        lines.push_str(&state(0x1000 + spi, "dir out"));
        lines.push('\n');
    }
    let said = bridge.said_with("-batch -", &lines);
    assert_eq!((said.code, said.out.as_str()), (0, ""), "{}", said.err);
    assert_eq!(said.err.lines().count(), 1, "one warning: {}", said.err);
    assert_eq!(bridge.out("xfrm state count"), "\t SAD count 600\n");
    assert_eq!(bridge.json("xfrm state list")["states"].as_array().unwrap().len(), 600, "over several pages");
    let flushed = bridge.json("xfrm state flush");
    assert_eq!((&flushed["deleted"], &flushed["generation"]), (&600.into(), &6.into()));
}

#[test]
fn a_wrong_word_in_a_batch_names_file_and_line_and_changes_nothing() {
    let bridge = Bridge::start();
    let file = bridge.dir.path().join("batch");
    std::fs::write(&file, format!("{}\n# note\nxfrm state add src nowhere\n", state(0x1000, "dir out")))
        .unwrap();
    let said = bridge.said(&format!("-batch {}", file.display()));
    assert_eq!(said.code, 2);
    assert!(said.err.contains(&format!("{}:3: word 5 \"nowhere\"", file.display())), "{}", said.err);
    assert_eq!(bridge.out("xfrm state count"), "\t SAD count 0\n");
}

#[test]
fn a_refused_change_names_its_line_and_takes_its_generation_with_it() {
    let bridge = Bridge::start();
    let lines = [state(0x1000, "dir out"), state(0x1001, "dir out"), state(0x1000, "dir out")].join("\n");
    let said = bridge.said_with("-batch -", &lines);
    assert_eq!(said.code, 1);
    assert!(said.err.contains("-:3: File exists") && said.err.contains("lines 1-3"), "{}", said.err);
    assert_eq!(bridge.out("xfrm state count"), "\t SAD count 0\n");
    // What was taken back can be added again.
    assert_eq!(bridge.said_with("-batch -", lines.rsplit_once('\n').unwrap().0).code, 0);
}

#[test]
fn a_batch_may_delete_and_add_the_same_policy() {
    let bridge = Bridge::start();
    bridge.out("xfrm policy add dir in action block");
    let said = bridge.said_with("-batch -", "xfrm policy delete dir in\nxfrm policy add dir in priority 5\n");
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(bridge.json("xfrm policy list")["policies"][0]["priority"], 5);
}

#[test]
fn wrong_usage_is_exit_code_2_in_one_line() {
    let nowhere = tempfile::tempdir().unwrap();
    for (line, named) in [
        ("dance", "dance"),
        ("xfrm steak list", "steak"),
        ("xfrm state add src 192.0.2.1 dst nowhere", "word 7 \"nowhere\""),
        ("--frob", "--frob"),
        ("drops --format yaml", "yaml"),
        ("", "the line ends before word 1"),
    ] {
        let said = run(nowhere.path(), line, "");
        assert_eq!(said.code, 2, "{line}: {}", said.err);
        assert!(said.err.contains(named) && said.err.lines().count() == 1, "{line}: {}", said.err);
    }
}

#[test]
fn without_a_server_it_says_so_in_one_line() {
    let nowhere = tempfile::tempdir().unwrap();
    for (line, server) in [("xfrm state list", "ike-bridge"), ("status", "espalier"), ("drops", "espalier")] {
        let said = run(nowhere.path(), line, "");
        assert_eq!((said.code, said.err.lines().count()), (1, 1), "{line}: {}", said.err);
        assert!(said.err.contains(server), "{}", said.err);
    }
}

#[test]
fn help_and_version_need_no_server() {
    let nowhere = tempfile::tempdir().unwrap();
    for line in ["--help", "--version", "help", "xfrm help", "xfrm state help", "xfrm policy help"] {
        let said = run(nowhere.path(), line, "");
        assert!(said.code == 0 && !said.out.is_empty(), "{line}: {}", said.err);
    }
}
