//! Codes: the page of them is the generated one, and every code that the program can say is on it.

use std::collections::BTreeSet;
use std::path::Path;

use valetkey::cli::codes;
use valetkey::model::reason::Reason;

use super::text::{project, read};

const PAGE: &str = "config/errors.md";
/// What stands before the tables; they go on to the end of the page.
const HEAD: &str = "\n## Codes\n\nThe tables are written from `src/cli/codes` by a test.\n";

/// A document without the tables, where it has them.
pub fn by_hand(text: &str) -> &str {
    text.split(HEAD).next().unwrap_or_default()
}

/// The tables of all areas, as the page has them.
fn tables() -> String {
    let mut text = String::new();
    for area in codes::areas() {
        text.push_str(&format!("\n### {}\n\n", area.title));
        let has_status = area.codes.iter().any(|code| code.status.is_some());
        text.push_str(match has_status {
            true => {
                "| code | status | fault | what it means | what to do |\n|---|---|---|---|---|\n"
            }
            false => "| code | what it means | what to do |\n|---|---|---|\n",
        });
        for code in area.codes {
            let (means, next) = (cell(code.means), cell(&code.next));
            match code.status {
                Some(status) => text.push_str(&format!(
                    "| `{}` | {status} | {} | {means} | {next} |\n",
                    code.code, code.fault
                )),
                None => text.push_str(&format!("| `{}` | {means} | {next} |\n", code.code)),
            }
        }
    }
    text
}

/// A text with what Markdown would take for something else.
fn cell(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let plain = |(at, part): (usize, &str)| match at % 2 {
        0 => part.replace('[', "\\[").replace('<', "\\<").replace('*', "\\*").replace('_', "\\_"),
        _ => format!("`{part}`"),
    };
    parts.map(plain).collect()
}

/// The page is generated from its head on; `VALETKEY_TEST_UPDATE=1` writes it anew.
#[test]
fn the_codes_on_the_page_are_the_generated_ones() {
    let page = read(PAGE);
    let (before, there) = page.split_once(HEAD).expect("the head of the tables");
    let generated = tables();
    if std::env::var_os("VALETKEY_TEST_UPDATE").is_some() {
        std::fs::write(project(PAGE), format!("{before}{HEAD}{generated}")).unwrap();
    } else {
        assert!(
            there == generated,
            "run this test with VALETKEY_TEST_UPDATE=1 and look at the diff"
        );
    }
}

/// Words of the source that look like codes and are none: header fields, grants, states, kinds, names of the demo's.
const NO_CODES: &[&str] = &[
    "accept-encoding",
    "authorization-code",
    "aws-secret",
    "cache-control",
    "client-credentials",
    "complete-names",
    "content-length",
    "content-type",
    "credential-rotated",
    "cross-origin-resource-policy",
    "dpop-nonce",
    "https-proxy",
    "hugging-face",
    "jwt-bearer",
    "kebab-case",
    "keep-alive",
    "kernel-keyring",
    "key-file",
    "left-behind",
    "logged-in",
    "logged-out",
    "no-proxy",
    "no-referrer",
    "no-store",
    "openai-compatible",
    "orders-cli",
    "orders-no-delete",
    "orders-read",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "proxy-status",
    "proxy-url",
    "refresh-token",
    "revocation-failed",
    "same-origin",
    "sec-fetch-site",
    "sentry-cli",
    "socks5-hostname",
    "static-key",
    "systemd-run",
    "token-exchange",
    "transfer-encoding",
    "trusted-publishing",
    "utf-8",
    "valetkey-audit-1",
    "valetkey-bench",
    "valetkey-log",
    "valetkey-watch",
    "vk-p",
    "x-api-key",
    "xdg-open",
];

/// Floors below that have no code of their own: what they say becomes a [`Reason`] above.
const WITHOUT: [&str; 4] = ["src/http1", "src/masking", "src/inject", "src/model/overriding.rs"];
/// Where codes are explained and not said.
const TABLES: [&str; 2] = ["src/cli/codes", "src/model/reason.rs"];

/// All words between quotes that are made like a code of several words.
fn words(text: &str) -> BTreeSet<&str> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices('"') {
        let rest = &text[at + 1..];
        let word = &rest[..rest.find(|c| !plain(c)).unwrap_or(rest.len())];
        let is_one = word.contains('-') && word.split('-').all(|part| !part.is_empty());
        if is_one && rest[word.len()..].starts_with('"') {
            found.insert(word);
        }
    }
    found
}

/// What the program itself holds, without comments and tests.
fn source() -> String {
    let mut whole = String::new();
    let mut left = vec![project("src")];
    while let Some(path) = left.pop() {
        let is = |all: &[&str]| all.iter().any(|one| path == project(one));
        if is(&WITHOUT) || is(&TABLES) || path.file_stem().is_some_and(|stem| stem == "tests") {
            continue;
        }
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
        } else if path.extension() == Some(Path::new("rs").as_os_str()) {
            let text = std::fs::read_to_string(&path).unwrap();
            let own = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let lines = own.lines().filter(|line| !line.trim_start().starts_with("//"));
            whole.extend(lines.flat_map(|line| [line, "\n"]));
        }
    }
    whole
}

fn explained() -> BTreeSet<&'static str> {
    codes::areas().into_iter().flat_map(|area| area.codes).map(|code| code.code).collect()
}

/// Those that are neither explained nor known to be something else.
fn unexplained(source: &str) -> Vec<&str> {
    let explained = explained();
    let is_known = |word: &&str| explained.contains(word) || NO_CODES.contains(word);
    words(source).into_iter().filter(|word| !is_known(word)).collect()
}

#[test]
fn every_code_that_the_program_says_is_explained() {
    let explained = explained();
    let missing: Vec<_> = Reason::ALL.iter().filter(|r| !explained.contains(r.code())).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let source = source();
    let missing = unexplained(&source);
    assert!(
        missing.is_empty(),
        "give each a row in src/cli/codes, or name it in NO_CODES here where it is no code: {missing:?}"
    );
    // And nothing is explained that nobody says any more.
    let reasons: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    let said = words(&source);
    let gone = explained.iter().chain(NO_CODES).filter(|word| {
        let is_said = said.contains(*word) || source.contains(&format!("error[{word}]"));
        !is_said && !reasons.contains(*word)
    });
    let gone: Vec<_> = gone.collect();
    assert!(gone.is_empty(), "nothing says: {gone:?}");
}

/// The test above can fail.
#[test]
fn a_code_without_a_row_is_found() {
    for text in [
        "problems.error(line, \"bad-thing\", \"x\")",
        "Failure::failed(\"bad-thing\", error, \"\")",
        "match self { Self::A => \"bad-thing\", }",
        "const CODE: &str = \"bad-thing\";",
        "(\"name-unresolved\", \"bad-thing\")",
    ] {
        assert_eq!(unexplained(text), ["bad-thing"], "{text}");
    }
    let fine = "\"no-route\" \"content-type\" \"one\" \"a text with-dashes\" \"-x\" \"x-\" \"A-b\"";
    assert!(unexplained(fine).is_empty());
}
