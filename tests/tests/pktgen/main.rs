//! The files of `benches/pktgen` against the commands that Pktgen-DPDK documents, and the scripts run against a device
//! that is made up: pktgen itself is in no distribution.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod files;
mod form;
mod lua;
mod table;

use std::collections::BTreeSet;
use std::process::Command;

use espalier_tests::binaries;
use espalier_tests::topology::{self, Side};

use crate::lua::Wiring;
use crate::table::Commands;

/// A 10 Gbit/s line and a device that carries 3 million frames a second.
const WIRING: Wiring = Wiring { line_bps: 10e9, carries_pps: 3e6, frame_octets: 64.0 };

#[test]
fn every_line_of_every_command_file_is_a_documented_command() {
    let commands = Commands::read();
    for (name, text) in files::with_extension("pkt") {
        for line in files::commands(&text) {
            commands.check_line(line).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn a_command_that_is_not_documented_is_refused() {
    let commands = Commands::read();
    commands.check_line("set 0 rate 12.5").unwrap();
    commands.check_line("set 0,2-3 dst mac 02:00:00:00:0a:01").unwrap();
    for wrong in [
        "set 0 rate",
        "set 0 rate 0",
        "set 0 rate 101",
        "set 0 speed 10",
        "set a rate 10",
        "set 0 size 9000",
        "set 0 proto sctp",
        "set 0 seq_cnt 17",
        "set 0 dst mac 02:00:00:00:0a",
        "set 0 src ip 10.1.0.2",
        "set 0 dst ip 10.2.0.2/24",
        "range 0 dst ip begin 10.2.0.2",
        "range 0 src port 1024 1024 5119 65",
        "range 0 src port 1024 1024 5119",
        "seq 16 0 02:00:00:00:0a:01 02:00:00:00:01:00 10.2.0.2 10.1.0.2/24 1 1 ipv4 udp 1 64",
        "seq 0 0 02:00:00:00:0a:01 02:00:00:00:01:00 10.2.0.2 10.1.0.2/24 1 1 udp ipv4 1 64",
        "latency 0 rate fast",
        "enable 0 everything",
        "start",
        "start 0 now",
        "clear stats",
    ] {
        let error = commands.check_line(wrong).unwrap_err();
        assert!(error.contains(&commands.version) && error.contains(wrong), "{error}");
    }
}

#[test]
fn every_script_names_documented_functions_only() {
    let commands = Commands::read();
    for (name, text) in files::with_extension("lua") {
        let names = lua::names(&text);
        assert!(!names.is_empty(), "{name}");
        for function in names {
            commands.forms_of(&function).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn a_call_that_is_not_documented_stops_the_script() {
    for (wrong, why) in [
        ("pktgen.seqTable(0, \"0\", {})", "seqTable"),
        ("pktgen.portStats(\"0\")", "pktgen.portStats does not take (0)"),
        ("pktgen.set(\"0\", \"speed\", 10)", "pktgen.set does not take (0, speed, 10)"),
        ("pktgen.set(\"0\", \"rate\", 0)", "pktgen.set does not take (0, rate, 0)"),
        ("pktgen.sleep(0.5)", "pktgen.sleep does not take (0.5)"),
        ("pktgen.latency(\"0\", {})", "a table is no argument"),
        ("pktgen.start(\"0\"", "')' expected"),
    ] {
        let error = lua::run(wrong, "", WIRING).unwrap_err();
        assert!(error.contains(why), "{wrong}: {error}");
    }
    let commands = Commands::read();
    let names =
        lua::names("-- pktgen.no()\nlocal x = mypktgen.no\nif x then pktgen.range.gre_key(\"0\", 1) end");
    assert_eq!(names, ["pktgen.range.gre_key"]);
    assert!(commands.forms_of(&names[0]).unwrap_err().contains("has no pktgen.range.gre_key"));
}

/// The share of the line that frames of so many octets take at so many a second. Units: percent.
fn percent(size: f64, pps: f64) -> f64 {
    pps * (size + 20.0) * 8.0 / WIRING.line_bps * 100.0
}

#[test]
fn the_throughput_search_finds_what_the_device_carries() {
    let outcome = lua::run(&files::read("throughput.lua"), "", WIRING).unwrap();
    assert_eq!(outcome.results.len(), 7);
    // 3 million frames of 64 or 128 octets are less than the line; of 512 and more the line is less.
    for (key, size) in [("64", 64.0), ("128", 128.0)] {
        let (found, carried) = (outcome.results[key], percent(size, 3e6));
        assert!(found <= carried && carried - found <= 0.2, "{size}: {found} of {carried}");
    }
    for (key, size, outer) in [("512", 512.0, 566.0), ("1464", 1464.0, 1518.0)] {
        let (found, wan_full) = (outcome.results[key], 100.0 * (size + 20.0) / (outer + 20.0));
        assert!((found - wan_full).abs() < 1e-9, "{size}: {found} of {wan_full}\n{}", outcome.printed);
    }
    assert!(outcome.printed.contains("64 octets, 118 as ESP: at most 60.87 % of the line"));
    // One confirmed trial of a minute a length at least.
    assert!(outcome.took_s > 7 * 60);
}

#[test]
fn the_throughput_search_takes_a_mix_and_some_settings() {
    let mix = "mix = { { 64, 7 }, { 570, 4 }, { 1418, 1 } } settings = { confirm_s = 5 }";
    let weak = Wiring { carries_pps: 1e6, frame_octets: 345.5, ..WIRING };
    let outcome = lua::run(&files::read("throughput.lua"), mix, weak).unwrap();
    let (found, carried) = (outcome.results["mix"], percent(345.5, 1e6));
    assert!(found <= carried && carried - found <= 0.2, "{found} of {carried}");
    assert!(outcome.printed.contains("mix: at most 86.95 % of the line"), "{}", outcome.printed);
    assert!(outcome.printed.contains(" for 5 s") && !outcome.printed.contains(" for 60 s"));
}

#[test]
fn a_device_that_carries_nothing_has_no_throughput() {
    let dead = Wiring { carries_pps: 0.0, ..WIRING };
    let outcome = lua::run(&files::read("throughput.lua"), "", dead).unwrap();
    assert!(outcome.results.values().all(|rate| *rate == 0.0), "{:?}", outcome.results);
    assert!(outcome.printed.contains("64 octets, 118 as ESP: no rate without loss"));
    let unplugged = Wiring { line_bps: 0.0, ..WIRING };
    let error = lua::run(&files::read("throughput.lua"), "", unplugged).unwrap_err();
    assert!(error.contains("port 0 sent nothing"), "{error}");
}

#[test]
fn the_latency_script_measures_at_every_rate() {
    let outcome = lua::run(&files::read("latency.lua"), "", WIRING).unwrap();
    assert_eq!(outcome.results.keys().collect::<Vec<_>>(), ["1", "10", "25", "50"]);
    assert_eq!(outcome.printed.matches("3 probes").count(), 4, "{}", outcome.printed);
}

/// The last words of the commands that begin so.
fn last_words<'a>(commands: &[&'a str], start: &str) -> Vec<&'a str> {
    commands
        .iter()
        .filter(|line| line.starts_with(start))
        .filter_map(|line| line.split_whitespace().next_back())
        .collect()
}

#[test]
fn the_mix_is_seven_to_four_to_one_and_all_of_it_is_sent() {
    let text = files::read("imix.pkt");
    let commands = files::commands(&text);
    let sizes = last_words(&commands, "seq ");
    let count = |size: &str| sizes.iter().filter(|found| **found == size).count();
    assert_eq!((count("64"), count("570"), count("1418"), sizes.len()), (7, 4, 1, 12));
    assert_eq!(last_words(&commands, "set 0 seq_cnt"), ["12"]);
    for (number, line) in commands.iter().filter(|line| line.starts_with("seq ")).enumerate() {
        assert!(line.starts_with(&format!("seq {number} 0 ")), "{line}");
    }
}

#[test]
fn the_range_makes_as_many_flows_as_its_name_says() {
    let text = files::read("range-4096.pkt");
    let ports: Vec<u32> = files::commands(&text)
        .iter()
        .find_map(|line| line.strip_prefix("range 0 src port "))
        .unwrap()
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    assert_eq!((ports[2] - ports[1]) / ports[3] + 1, 4096);
    assert_eq!(ports[0], ports[1]);
}

#[test]
fn all_files_send_to_one_address_that_a_gateway_file_does_not_mistake_for_pktgens() {
    let mut targets = BTreeSet::new();
    for (_, text) in files::with_extension("pkt") {
        for line in files::commands(&text) {
            let words: Vec<_> = line.split_whitespace().collect();
            let at = match words.as_slice() {
                ["set", _, "dst", "mac", mac] => Some(mac),
                ["range", _, "dst", "mac", mac, ..] | ["seq", _, _, mac, ..] => Some(mac),
                _ => None,
            };
            targets.extend(at.map(|mac| (*mac).to_owned()));
        }
    }
    assert_eq!(targets, BTreeSet::from(["02:00:00:00:0a:01".to_owned()]));
    let gateways = files::read("gateway-a.toml") + &files::read("gateway-b.toml");
    for ours in ["02:00:00:00:01:00", "02:00:00:00:01:01", "02:00:00:00:0a:00", "02:00:00:00:0b:00"] {
        assert_eq!(gateways.matches(ours).count(), 1, "{ours}");
    }
}

#[test]
fn the_engine_takes_the_gateway_files() {
    let espalier = binaries::program("espalier").unwrap();
    let folder = std::env::temp_dir().join(format!("espalier-pktgen-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["gateway-a.toml", "gateway-b.toml"] {
        // They name CPU 2, which a small machine may lack.
        let text = files::read(name).replace("= [2]", &format!("= [{}]", topology::worker_cpu(Side::A)));
        let copy = folder.join(name);
        std::fs::write(&copy, text).unwrap();
        let output = Command::new(&espalier).arg("--config").arg(&copy).arg("--check").output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// The outer packet around an inner one of so many octets: IPv4, SPI to IV, padding to 4 with the two octets, ICV.
fn outer_octets(inner: u32) -> u32 {
    20 + 16 + (inner + 2).next_multiple_of(4) + 16
}

#[test]
fn the_page_counts_as_the_packets_do() {
    let page = files::read("README.md");
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.ends_with(" Mpps |"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), 9);
    for row in rows {
        let size: u32 = row[0].parse().unwrap();
        let outer = outer_octets(size - 18);
        let numbers = [size - 18, outer, outer + 18].map(|number| number.to_string());
        assert_eq!(row[1..4], numbers.each_ref().map(String::as_str));
        let (before, after) = (f64::from(size + 20), f64::from(outer + 18 + 20));
        assert_eq!(row[4], format!("{:.2} %", 100.0 * before / after));
        assert_eq!(row[5], format!("{:.3} Mpps", 10e9 / 8.0 / after / 1e6));
    }
    // The longest that an MTU of 1500 holds whole.
    assert_eq!((outer_octets(1446), outer_octets(1447)), (1500, 1504));
}

#[test]
fn the_page_names_every_file_and_the_version() {
    let page = files::read("README.md");
    for entry in std::fs::read_dir(files::folder()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(name == "README.md" || page.contains(&format!("`{name}")), "{name}");
    }
    assert!(page.contains(&format!("Pktgen-DPDK {}", Commands::read().version)));
}
