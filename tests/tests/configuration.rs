//! Bad configuration, missing parts and twins: one clear line each, the promised exit code, nothing lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use std::path::Path;

use espalier_tests::gateway::Gateway;
use espalier_tests::topology::{self, Side, Sites, Stack};
use espalier_tests::{Netns, World, binaries, netns};

/// Runs a program to its end and returns its exit code and what it complained.
fn outcome(netns: &Netns, program: &str, arguments: &[&str]) -> (i32, String) {
    let path = binaries::program(program).unwrap();
    // A program that starts after all must not hold the test for ever.
    let path = path.display().to_string();
    let mut words = vec!["--kill-after=5", "20", path.as_str()];
    words.extend_from_slice(arguments);
    let output = netns::output(&mut netns.command("timeout", &words)).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), said)
}

fn one_line(said: &str) -> String {
    let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    assert_eq!(lines.len(), 1, "one line was promised: {said}");
    lines[0].to_owned()
}

fn good(runtime_dir: &Path) -> String {
    topology::espalier_toml(Side::A).interface("ipsec1", 1).route("10.2.0.0/24", "ipsec1").render(runtime_dir)
}

/// An edit of a good file, and what the complaint must name.
const FAULTS: [(&str, &str, &[&str]); 10] = [
    ("netdevs = true", "netdevs = true\nturbo = true", &["turbo"]),
    ("hugepages = false", "hugepages = \"never\"", &["hugepages"]),
    ("unprotected = \"drop\"", "unprotected = \"maybe\"", &["unprotected", "maybe"]),
    ("if_id = 1", "if_id = 0", &["if_id"]),
    ("mtu = 1500", "mtu = 20", &["mtu", "20"]),
    ("\"192.0.2.1/24\"", "\"192.0.2.1/33\"", &["192.0.2.1/33"]),
    ("to = \"10.2.0.0/24\"\ndev = \"ipsec1\"", "to = \"10.2.0.0/24\"\ndev = \"ipsec9\"", &["ipsec9"]),
    ("name = \"lan\"", "name = \"wan\"", &["wan"]),
    ("idle = \"sleep\"", "idle = \"dream\"", &["idle", "dream"]),
    ("[engine]", "[engine", &[]),
];

#[test]
fn a_fault_in_the_file_is_one_line_with_file_and_line_and_exit_code_2() {
    let world = World::new("configuration").unwrap();
    let netns = world.netns("gw").unwrap();
    let runtime_dir = world.run_dir("gw").unwrap();
    let file = world.logs().join("gateway.toml");
    let path = file.display().to_string();
    std::fs::write(&file, good(&runtime_dir)).unwrap();
    let (code, said) = outcome(&netns, "espalier", &["--config", &path, "--check"]);
    assert_eq!((code, said.as_str()), (0, ""), "a good file passes without a word");
    for (from, to, named) in FAULTS {
        let text = good(&runtime_dir);
        assert!(text.contains(from), "{from} is in the good file");
        let broken = text.replacen(from, to, 1);
        std::fs::write(&file, &broken).unwrap();
        let (code, said) = outcome(&netns, "espalier", &["--config", &path, "--check"]);
        assert_eq!(code, 2, "{to}: {said}");
        let line = one_line(&said);
        assert!(line.contains("gateway.toml:"), "{to}: {line}");
        assert!(named.iter().all(|word| line.contains(word)), "{to}: {line}");
    }
    let (code, said) = outcome(&netns, "espalier", &["--config", "/nowhere/gateway.toml"]);
    assert!(code == 2 && one_line(&said).contains("/nowhere/gateway.toml"), "{code}: {said}");
    for program in ["espalier", "ike-bridge", "espctl"] {
        let (code, said) = outcome(&netns, program, &["--no-such-flag"]);
        assert!(code == 2 && said.contains("--no-such-flag"), "{program}: {code}: {said}");
        for flag in ["--help", "--version"] {
            assert_eq!(outcome(&netns, program, &[flag]).0, 0, "{program} {flag}");
        }
    }
}

#[test]
fn a_missing_device_is_named_with_its_port_and_the_engine_ends() {
    let world = World::new("missing-device").unwrap();
    let netns = world.netns("gw").unwrap();
    let mut gateway = Gateway::new(&world, &netns, "gateway", topology::espalier_toml(Side::A)).unwrap();
    gateway.start_bridge(&world).unwrap();
    let config = gateway.config().display().to_string();
    let (code, said) = outcome(&netns, "espalier", &["--config", &config]);
    assert_eq!(code, 1, "{said}");
    let complaint = said.lines().last().unwrap_or_default();
    assert!(complaint.contains("wan") && complaint.contains("veth-wan"), "{said}");
}

#[test]
fn a_second_engine_or_bridge_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let world = World::new("second-engine").unwrap();
    let sites = Sites::new(&world, Stack::Espalier, Stack::Kernel).unwrap();
    let toml = topology::espalier_toml(Side::A);
    let mut gateway = Gateway::new(&world, &sites.gw_a, "gateway", toml).unwrap();
    gateway.start(&world).unwrap();
    sites.gw_b.ping(&Side::A.outer_v4(), 1).unwrap();
    let config = gateway.config().display().to_string();
    let (code, said) = outcome(&sites.gw_a, "espalier", &["--config", &config]);
    assert_eq!(code, 1, "{said}");
    assert!(said.lines().last().unwrap_or_default().contains("already serves"), "{said}");
    let directory = gateway.runtime_dir().display().to_string();
    let (code, said) = outcome(&sites.gw_a, "ike-bridge", &["--runtime-dir", &directory]);
    assert_eq!(code, 1, "{said}");
    gateway.must_run().unwrap();
    sites.gw_b.ping(&Side::A.outer_v4(), 2).unwrap();
    espalier_tests::ledger::Ledger::settled(&gateway.espctl()).unwrap().check().unwrap();
}

#[test]
fn wrong_words_are_named_by_espctl_with_exit_code_2_and_change_nothing() {
    let world = World::new("espctl-words").unwrap();
    let netns = world.netns("gw").unwrap();
    let mut gateway = Gateway::new(&world, &netns, "gateway", topology::espalier_toml(Side::A)).unwrap();
    gateway.start_bridge(&world).unwrap();
    let espctl = gateway.espctl();
    for (words, named) in [
        ("xfrm state add src 192.0.2.1 dst nowhere proto esp spi 0x1000", "nowhere"),
        ("xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi twelve", "twelve"),
        ("xfrm steak list", "steak"),
        ("dance", "dance"),
    ] {
        let (code, out, err) = espctl.outcome(words).unwrap();
        assert_eq!(code, 2, "{words}: {out}{err}");
        assert!(err.contains(named), "{words}: {err}");
    }
    // A wish that is well said but cannot be granted.
    let refused = "xfrm state add src 192.0.2.2 dst 192.0.2.1 proto esp spi 0x1000 mode tunnel \
                   aead rfc4106(gcm(aes)) 0x00112233445566778899aabbccddeeff01020304 64 dir in";
    let (code, out, err) = espctl.outcome(refused).unwrap();
    assert_eq!(code, 1, "{out}{err}");
    assert!(!format!("{out}{err}").contains("00112233445566778899aabbccddeeff"), "a key was printed");
    assert_eq!(espctl.run("xfrm state list").unwrap().trim(), "");
    let (code, _, err) = espctl.outcome("status").unwrap();
    assert!(code == 1 && !err.is_empty(), "without an engine: {code} {err}");
}

/// Writes another major version into a segment; the word stands behind the magic.
fn set_major(segment: &Path, major: u32) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::options().write(true).open(segment).unwrap();
    file.write_all_at(&major.to_le_bytes(), 8).unwrap();
}

#[test]
fn a_segment_of_another_version_is_refused_in_one_line_and_left_as_it_is() {
    let world = World::new("segment-version").unwrap();
    let sites = Sites::new(&world, Stack::Espalier, Stack::Kernel).unwrap();
    let mut gateway = Gateway::new(&world, &sites.gw_a, "gateway", topology::espalier_toml(Side::A)).unwrap();
    gateway.start(&world).unwrap();
    gateway.stop_engine().unwrap();
    gateway.stop_bridge().unwrap();
    let directory = gateway.runtime_dir().display().to_string();
    let config = gateway.config().display().to_string();
    for segment in ["sad", "live"] {
        let path = gateway.runtime_dir().join(segment);
        set_major(&path, 77);
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        let (program, arguments): (_, [&str; 2]) = match segment {
            "sad" => ("ike-bridge", ["--runtime-dir", &directory]),
            _ => ("espalier", ["--config", &config]),
        };
        let (code, said) = outcome(&sites.gw_a, program, &arguments);
        assert_eq!(code, 1, "{segment}: {said}");
        let complaint = said.lines().last().unwrap_or_default();
        assert!(complaint.contains(segment) && complaint.contains("77"), "{segment}: {said}");
        assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before, "{segment} was touched");
        set_major(&path, 1);
    }
    gateway.start(&world).unwrap();
    gateway.must_run().unwrap();
}
