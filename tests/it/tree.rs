//! What may enter the tree of crates that the program is built from: these licenses, one registry, one TLS library and
//! one crypto library. Nothing here knows of advisories; the tool that does takes longer to build than all the rest.

use std::process::Command;

/// Whatever else a license lets one choose.
const LICENSES: [&str; 7] = [
    "Apache-2.0",
    // An exception takes a condition away.
    "Apache-2.0 WITH LLVM-exception",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];
/// And why not.
const BANNED: [(&str, &str); 3] = [
    ("openssl", "one TLS library: rustls"),
    ("openssl-sys", "one TLS library: rustls"),
    ("ring", "one crypto library: aws-lc-rs"),
];

/// Whether an SPDX expression can be met with [`LICENSES`]. Older crates write `/` for `OR`.
fn is_allowed(license: &str) -> bool {
    let license = license.replace('/', " OR ");
    if let Some(alternatives) = split(&license, " OR ") {
        return alternatives.iter().any(|license| is_allowed(license));
    }
    if let Some(parts) = split(&license, " AND ") {
        return parts.iter().all(|license| is_allowed(license));
    }
    let bare = license.trim();
    match bare.strip_prefix('(').and_then(|bare| bare.strip_suffix(')')) {
        Some(inner) => is_allowed(inner),
        None => LICENSES.contains(&bare),
    }
}

/// At an operator outside of parentheses; `None` where there is none.
fn split(license: &str, operator: &str) -> Option<Vec<String>> {
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for piece in license.split_inclusive(operator) {
        let text = piece.strip_suffix(operator).unwrap_or(piece);
        depth += text.matches('(').count();
        depth = depth.saturating_sub(text.matches(')').count());
        let last = parts.last_mut()?;
        last.push_str(text);
        if piece.len() > text.len() && depth == 0 {
            parts.push(String::new());
        } else {
            last.push_str(&piece[text.len()..]);
        }
    }
    (parts.len() > 1).then_some(parts)
}

/// Name and license of each crate that is built into the program.
fn tree() -> Vec<(String, String)> {
    let done = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none"])
        .args(["--format", "{p}|{l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once('|'));
    let name = |package: &str| package.split(' ').next().unwrap_or_default().to_owned();
    lines.map(|(package, rest)| (name(package), rest.replace(" (*)", ""))).collect()
}

#[test]
fn every_crate_may_be_there() {
    let tree = tree();
    assert!(tree.len() > 100, "{tree:?}");
    for (name, license) in &tree {
        assert!(is_allowed(license), "{name} is under {license}");
        let banned = BANNED.iter().find(|(banned, _)| banned == name);
        assert_eq!(banned, None, "{name} is in the tree");
    }
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let sources: Vec<_> = lock.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    assert!(sources.len() > 100);
    let is_the_one = |source: &&str| source.starts_with("\"registry+") && *source == sources[0];
    assert!(sources.iter().all(is_the_one), "{sources:?}");
}

#[test]
fn licenses_are_read_as_they_are_meant() {
    for fine in [
        "MIT",
        "GPL-3.0 OR MIT",
        "Unlicense/MIT",
        "ISC AND (Apache-2.0 OR GPL-3.0) AND MIT",
        "(MIT OR GPL-3.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR MIT",
    ] {
        assert!(is_allowed(fine), "{fine}");
    }
    for not in ["", "GPL-3.0", "MIT AND GPL-3.0", "(GPL-3.0 OR AGPL-3.0) AND MIT", "MIT-0"] {
        assert!(!is_allowed(not), "{not}");
    }
}
