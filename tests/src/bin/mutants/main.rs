//! `make mutants`: takes the guarding line of each safety property away, in a copy of the tree, and shows that a named
//! test turns red.
//!
//! What is taken away stands in `tests/mutants.toml`; a text that is not found any more is an error, so that the list
//! cannot outlive the code. Each named test is green before. Exit code 1 if a mutant survives.
//! Words on the command line choose mutants whose property or test contains one of them.
#![forbid(unsafe_code)]

mod cargo;
mod list;
mod tree;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use espalier_tests::{Result, binaries};

use cargo::{Cargo, Outcome};
use list::{Mutant, Test};
use tree::Tree;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns whether every mutant died.
fn run(words: &[String]) -> Result<bool> {
    let repository = binaries::repository();
    let mut mutants = list::read(&repository.join("tests/mutants.toml"))?;
    let wanted = |mutant: &Mutant| {
        words.is_empty()
            || words.iter().any(|word| mutant.property.contains(word) || mutant.test.name.contains(word))
    };
    mutants.retain(wanted);
    if mutants.is_empty() {
        bail!("no mutant is called {words:?}");
    }
    let tree = Tree::copy(&repository)?;
    for mutant in &mutants {
        mutant.check(&tree)?;
    }
    let cargo = Cargo::new(&tree);
    green_before(&cargo, &mutants)?;
    let mut lines = Vec::new();
    for mutant in &mutants {
        let begin = Instant::now();
        let outcome = try_out(&cargo, &tree, mutant)?;
        eprintln!("{}: {} ({:.0} s)", mutant.property, outcome.word(), begin.elapsed().as_secs_f64());
        lines.push((mutant, outcome));
    }
    print(&tree, &lines)?;
    Ok(lines.iter().all(|(_, outcome)| outcome.is_red()))
}

/// A test that is red without a mutant proves nothing.
fn green_before(cargo: &Cargo, mutants: &[Mutant]) -> Result<()> {
    let tests: BTreeMap<&Test, ()> = mutants.iter().map(|mutant| (&mutant.test, ())).collect();
    for test in tests.keys() {
        eprintln!("unchanged: {test}");
        let outcome = cargo.run(test)?;
        if !outcome.is_green() {
            bail!("{test} is {} without a mutant:\n{}", outcome.word(), outcome.said());
        }
    }
    Ok(())
}

fn try_out(cargo: &Cargo, tree: &Tree, mutant: &Mutant) -> Result<Outcome> {
    mutant.apply(tree)?;
    let outcome = cargo.run(&mutant.test);
    // Also after a failure: the next mutant starts from the tree as it is.
    mutant.undo(tree)?;
    outcome
}

fn print(tree: &Tree, lines: &[(&Mutant, Outcome)]) -> Result<()> {
    let mut table =
        vec![["property", "line taken away", "test that must turn red", "result"].map(str::to_owned)];
    for (mutant, outcome) in lines {
        let row = [
            mutant.property.clone(),
            mutant.place(tree)?,
            mutant.test.to_string(),
            outcome.word().to_owned(),
        ];
        table.push(row);
    }
    let width = |column: usize| table.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    println!();
    for [property, place, test, result] in &table {
        let [a, b, c] = widths;
        println!("{property:a$}  {place:b$}  {test:c$}  {result}");
    }
    for (mutant, outcome) in lines.iter().filter(|(_, outcome)| !outcome.is_red()) {
        println!("\n{} with {}:\n{}", mutant.property, mutant.place(tree)?, outcome.said());
    }
    let red = lines.iter().filter(|(_, outcome)| outcome.is_red()).count();
    println!("\n{red} of {} mutants turned their test red", lines.len());
    Ok(())
}
