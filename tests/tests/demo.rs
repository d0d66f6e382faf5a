//! The demo itself, run as a user would.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and the world then prints its logs")]

use std::process::Command;

#[test]
fn the_demo_ends_with_a_clean_table_and_leaves_nothing_behind() {
    let said = run();
    let row = |name: &str| said.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    let figures = |name: &str| -> Vec<String> {
        row(name)
            .rsplit("  ")
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .take(2)
            .map(str::to_owned)
            .collect()
    };
    // What the foreign gateway loses by itself on a busy machine is told apart.
    let lost = if figures("lost") == ["0", "0"] { "lost" } else { "  by gateway A" };
    for name in [lost, "duplicated"] {
        assert_eq!(figures(name), ["0", "0"], "{said}");
    }
    assert!(row("(SPI, IV) repeats").contains(" 0 in "), "{said}");
    assert!(row("new SPIs").ends_with("2 2 2 2 2 2"), "{said}");
    let rates: Vec<u64> =
        row("  per second").split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(rates.len() == 2 && rates.iter().all(|rate| *rate >= 5000), "{said}");
}

/// Runs it and returns what it said. A capture that dropped packets proves nothing, so then it runs again.
fn run() -> String {
    for last in [false, false, true] {
        let output = Command::new(env!("CARGO_BIN_EXE_demo")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            return said;
        }
        let dropped = |line: &str| line.starts_with("drops of the capture itself") && !line.ends_with(" 0");
        assert!(said.lines().any(dropped) && !last, "{said}\n{complained}");
    }
    unreachable!("the last run returns or fails");
}
