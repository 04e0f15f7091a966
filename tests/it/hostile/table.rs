//! The table: each case with what came of the tests that show it, and of the same checks against the naive proxy.
//! It runs them in a process of their own and reads what that one says, so that a test that is missing or did not
//! run cannot be in it as passed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use super::cases::{Case, all};
use crate::harness::stage::Stage;
use crate::invariant::checks;

/// All numbers there are; the others are no cases.
const NUMBERS: &str = "1-5 8-21 23-25 27-28 30 32-40 42-44 46-47 49 51 55-64 68-71 73-74 76-77 81-91 93 95-98 101-112";

/// This test's own tests.
pub async fn myself(arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let done = command.output().await.unwrap();
    String::from_utf8_lossy(&done.stdout).into_owned()
}

fn numbers() -> BTreeSet<u8> {
    let range = |part: &str| {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        from.parse::<u8>().unwrap()..=to.parse().unwrap()
    };
    NUMBERS.split(' ').flat_map(range).collect()
}

/// Each case is there once, and shown by tests that there are and that any run runs.
#[tokio::test]
async fn each_case_is_shown_by_tests_that_run() {
    let (cases, absent) = all();
    let mut known: Vec<u8> = cases.iter().map(|case| case.id).collect();
    known.extend(absent.iter().map(|absent| absent.id));
    let unique: BTreeSet<u8> = known.iter().copied().collect();
    assert_eq!(unique.len(), known.len(), "each once");
    let missing: Vec<u8> = numbers().symmetric_difference(&unique).copied().collect();
    assert!(missing.is_empty(), "cases that are not as numbered: {missing:?}");
    let list = |text: String| -> BTreeSet<String> {
        text.lines().filter_map(|line| line.strip_suffix(": test").map(str::to_owned)).collect()
    };
    let tests = list(myself(&["--list"]).await);
    let ignored = list(myself(&["--list", "--ignored"]).await);
    for case in &cases {
        assert!(!case.shown_by.is_empty(), "case {}", case.id);
        for name in &case.shown_by {
            assert!(tests.contains(*name), "case {}: there is no test {name}", case.id);
            assert!(!ignored.contains(*name), "case {}: {name} is not always run", case.id);
        }
    }
    // What the naive proxy must fail is shown with a case.
    for check in checks() {
        let shown = |case: &Case| case.shown_by.iter().any(|name| is(name, check.name));
        assert!(cases.iter().any(shown) || UNNUMBERED.contains(&check.name), "{}", check.name);
    }
}

/// Checks of invariants that no case is about.
const UNNUMBERED: &[&str] = &[
    "a_client_hello_byte_by_byte_is_intercepted",
    "a_header_without_an_end_is_refused",
    "a_mint_that_hangs_holds_up_nobody_else",
    "a_target_without_an_end_is_refused",
    "issuer_breaks",
    "issuer_is_down",
    "the_ca_is_good_for_routed_names_alone",
    "two_clients_share_no_token",
    "what_is_written_down_holds_no_token",
    "what_was_withdrawn_is_not_given_on_an_open_tunnel",
    "without_an_audit_no_token_leaves",
];

/// Whether a test is this check's.
fn is(test: &str, check: &str) -> bool {
    test.rsplit_once("::holds::").is_some_and(|(_, name)| name == check)
}

/// What a run said of its tests: `None` for those that did not end well, with what they printed.
pub struct Ran {
    passed: BTreeSet<String>,
    printed: BTreeMap<String, String>,
}

impl Ran {
    /// Reads libtest's own report.
    pub fn read(text: &str) -> Self {
        let mut ran = Self { passed: BTreeSet::new(), printed: BTreeMap::new() };
        let mut block = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("test ").and_then(|l| l.strip_suffix(" ... ok")) {
                ran.passed.insert(name.to_owned());
            }
            let head = line.strip_prefix("---- ").and_then(|l| l.strip_suffix(" stdout ----"));
            match head {
                Some(name) => block = Some(name.to_owned()),
                None if line.starts_with("successes:") || line.starts_with("failures:") => {
                    block = None
                }
                None => {}
            }
            if let (Some(name), None) = (&block, head) {
                let printed = ran.printed.entry(name.clone()).or_default();
                printed.push_str(line);
                printed.push('\n');
            }
        }
        ran
    }

    /// What a test printed of itself: how much it sent, or why it could not be run.
    fn said(&self, test: &str, what: &str) -> Option<&str> {
        self.printed.get(test)?.lines().find_map(|line| line.strip_prefix(what)).map(str::trim)
    }

    /// All that a test printed of itself behind this.
    pub fn all(&self, test: &str, what: &str) -> Vec<String> {
        let lines = self.printed.get(test).into_iter().flat_map(|printed| printed.lines());
        lines.filter_map(|line| line.strip_prefix(what)).map(str::to_owned).collect()
    }

    pub fn verdict(&self, test: &str) -> Result<(), String> {
        if let Some(why) = self.said(test, "skipped:") {
            return Err(format!("{test} NOT RUN: {why}"));
        }
        if self.passed.contains(test) {
            return Ok(());
        }
        let Some(printed) = self.printed.get(test) else { return Err(format!("{test} NOT RUN")) };
        Err(format!("{test} FAILED: {}", brief(printed)))
    }
}

fn brief(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "¦").chars().take(120).collect()
}

/// What the naive proxy did, for each of a case's checks that it can be put to.
async fn naive(case: &Case) -> Vec<Result<String, &'static str>> {
    let mut did = Vec::new();
    for check in checks() {
        if case.shown_by.iter().any(|test| is(test, check.name)) {
            let mut stage = Stage::naive().await;
            did.push(match (check.check)(&mut stage).await {
                Ok(()) => Err(check.name),
                Err(violation) => Ok(brief(&violation)),
            });
        }
    }
    did
}

/// Runs every test of every case, and prints.
#[tokio::test]
#[ignore = "prints the hostile table: run tests/hostile"]
async fn print() {
    let (cases, absent) = all();
    let mut arguments = vec!["--exact", "--show-output", "--test-threads=2"];
    let tests: BTreeSet<&str> = cases.iter().flat_map(|case| &case.shown_by).copied().collect();
    arguments.extend(&tests);
    let ran = Ran::read(&myself(&arguments).await);
    println!("| case | invariant | sent | wanted | result | the naive proxy |");
    println!("|---|---|---|---|---|---|");
    let (mut bad, mut count, mut failed_by_naive) = (Vec::new(), 0, 0);
    for case in &cases {
        let mut result = Vec::new();
        let mut sent = case.sent.to_owned();
        for test in &case.shown_by {
            match ran.verdict(test) {
                Ok(()) => count += 1,
                Err(why) => result.push(why),
            }
            if let Some(said) = ran.said(test, "sent:") {
                sent += &format!("; {said}");
            }
        }
        let naive = naive(case).await;
        let passed: Vec<_> = naive.iter().filter_map(|did| did.as_ref().err().copied()).collect();
        let first = naive.iter().find_map(|did| did.as_ref().ok());
        let by_naive = match (first, naive.len()) {
            (None, 0) => "–".to_owned(),
            (None, _) => "PASSED".to_owned(),
            (Some(first), all) => {
                failed_by_naive += 1;
                format!("failed {} of {all}: {first}", all - passed.len())
            }
        };
        bad.extend(result.iter().cloned());
        bad.extend(passed.iter().map(|name| format!("the naive proxy passes {name}")));
        let result = match result.is_empty() {
            true => format!("as wanted, {} tests", case.shown_by.len()),
            false => result.join("; "),
        };
        let Case { id, invariant, wanted, .. } = case;
        println!("| {id} | {invariant} | {sent} | {wanted} | {result} | {by_naive} |");
    }
    for absent in absent {
        println!("| {} | – | – | – | not here: {} | – |", absent.id, absent.why);
    }
    println!(
        "\n{} cases, {count} tests of {} as wanted; the naive proxy fails {failed_by_naive} cases",
        cases.len(),
        cases.iter().map(|case| case.shown_by.len()).sum::<usize>(),
    );
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn a_report_is_read_as_it_is() {
    let text = "running 4 tests\ntest a::b ... ok\ntest c ... FAILED\ntest e ... ok\n\nsuccesses:\n\n\
        ---- a::b stdout ----\nsent: 12 things\n\n---- e stdout ----\nskipped: no root\n\n\
        successes:\n    a::b\n\nfailures:\n\n---- c stdout ----\nbroke here\n\nfailures:\n    c\n";
    let ran = Ran::read(text);
    assert_eq!(ran.verdict("a::b"), Ok(()));
    assert_eq!(ran.said("a::b", "sent:"), Some("12 things"));
    assert_eq!(ran.verdict("c"), Err("c FAILED: broke here".to_owned()));
    assert_eq!(ran.verdict("d"), Err("d NOT RUN".to_owned()));
    assert_eq!(ran.verdict("e"), Err("e NOT RUN: no root".to_owned()));
}
