//! The table, as that of the hostile cases is made: the tests run in a process of their own, and what they say of
//! themselves stands beside what is wanted.

use std::collections::BTreeSet;
use std::path::Path;

use crate::hostile::table::{Ran, myself};

/// Rows of the contract's table.
const ROWS: usize = 23;

/// One fault.
struct Fault {
    /// What its tests call it in their figures.
    name: &'static str,
    fault: &'static str,
    expected: &'static str,
    wanted: &'static str,
    shown_by: Vec<&'static str>,
    /// Tests beside the code: `src/FILE.rs::NAME`.
    beside: Vec<&'static str>,
}

fn all() -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    for line in include_str!("faults.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(test) = line.strip_prefix("    ") {
            let fault = faults.last_mut().expect("a fault before its tests");
            let list =
                if test.starts_with("src/") { &mut fault.beside } else { &mut fault.shown_by };
            list.push(test);
            continue;
        }
        let [name, fault, expected, wanted] = line.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("four parts in {line}");
        };
        let (shown_by, beside) = Default::default();
        faults.push(Fault { name, fault, expected, wanted, shown_by, beside });
    }
    faults
}

#[tokio::test]
async fn each_fault_is_shown_by_tests_that_there_are() {
    let faults = all();
    assert_eq!(faults.len(), ROWS);
    let list = myself(&["--list"]).await;
    let tests: BTreeSet<&str> =
        list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    for fault in &faults {
        assert!(!fault.shown_by.is_empty() || !fault.beside.is_empty(), "{}", fault.name);
        for name in &fault.shown_by {
            assert!(tests.contains(name), "{}: there is no test {name}", fault.name);
        }
        for test in &fault.beside {
            let (file, name) = test.split_once("::").unwrap();
            let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
            let there = text.is_ok_and(|text| text.contains(&format!("fn {name}(")));
            assert!(there, "{}: there is no test {test}", fault.name);
        }
    }
}

/// Runs every test of every fault, and prints.
#[tokio::test]
#[ignore = "prints the fault table: run tests/faults"]
async fn print() {
    let faults = all();
    let tests: BTreeSet<&str> = faults.iter().flat_map(|fault| &fault.shown_by).copied().collect();
    // One after the other: what they measure is time.
    let mut arguments = vec!["--exact", "--include-ignored", "--show-output", "--test-threads=1"];
    arguments.extend(&tests);
    let ran = Ran::read(&myself(&arguments).await);
    println!("| fault | expected | wanted | measured | verdict |");
    println!("|---|---|---|---|---|");
    let mut bad = Vec::new();
    for fault in &faults {
        let prefix = format!("figure {}: ", fault.name);
        let mut measured = Vec::new();
        let mut verdict = Vec::new();
        for test in &fault.shown_by {
            measured.extend(ran.all(test, &prefix));
            verdict.extend(ran.verdict(test).err());
        }
        let mut seen = measured.join("; ");
        if seen.is_empty() {
            seen = "no figure, but the tests' own assertions".to_owned();
        }
        if !fault.beside.is_empty() {
            seen += &format!(" (and {}, by `cargo test --lib`)", fault.beside.join(", "));
        }
        bad.extend(verdict.iter().cloned());
        let verdict = match verdict.is_empty() {
            true => format!("as wanted, {} tests", fault.shown_by.len() + fault.beside.len()),
            false => verdict.join("; "),
        };
        let Fault { fault, expected, wanted, .. } = fault;
        println!("| {fault} | {expected} | {wanted} | {seen} | {verdict} |");
    }
    println!("\n{} faults, {} tests", faults.len(), tests.len());
    assert!(bad.is_empty(), "{bad:#?}");
}
