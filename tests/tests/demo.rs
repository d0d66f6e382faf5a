//! The demo itself, run as a user would.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use std::process::Command;

#[test]
fn the_demo_ends_with_a_clean_table_and_leaves_nothing_behind() {
    let output = Command::new(env!("CARGO_BIN_EXE_demo")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{complained}");
    let row = |name: &str| said.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    for name in ["lost", "duplicated"] {
        let figures: Vec<_> = row(name).split_whitespace().skip(1).map(str::to_owned).collect();
        assert_eq!(figures, ["0", "0"], "{said}");
    }
    assert!(row("(SPI, IV) repeats").contains(" 0 in "), "{said}");
    assert!(row("new SPIs").ends_with("2 2 2 2 2 2"), "{said}");
    let rates: Vec<u64> =
        row("  per second").split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(rates.len() == 2 && rates.iter().all(|rate| *rate >= 5000), "{said}");
}
