//! An EAL that does not start, in a process of its own.

use dpdk::{Eal, EalConfig, FilePrefix};

#[test]
fn an_argument_the_eal_does_not_know_is_one_line_that_names_it() {
    let mut config = EalConfig::new(FilePrefix::new("espalier-bad").expect("a plain prefix"));
    config.extra = vec!["--nonesuch".into()];
    let said = Eal::init(&config).expect_err("no such argument").to_string();
    assert!(said.contains("--nonesuch"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    eprintln!("{said}");
}
