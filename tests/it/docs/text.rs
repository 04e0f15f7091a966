//! The documents themselves: which there are, and how to look things up in them. What a test wants to be written down may
//! stand in any of them: it asks for a heading, not for a file.

use std::path::{Path, PathBuf};

/// All of them, in the order in which one would read them.
pub const DOCS: [&str; 14] = [
    "README.md",
    "config/README.md",
    "config/commands.md",
    "config/policies.md",
    "config/logins.md",
    "config/tools.md",
    "config/errors.md",
    "config/metrics.md",
    "config/container/README.md",
    ".github/SECURITY.md",
    "src/local/README.md",
    ".github/CONTRIBUTING.md",
    "benches/README.md",
    "certs/README.md",
];

/// A place in the repository.
pub fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

pub fn read(name: &str) -> String {
    std::fs::read_to_string(project(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What stands below the one `## title` that there is in all documents.
pub fn section(title: &str) -> String {
    let head = format!("\n## {title}\n");
    let texts: Vec<String> = DOCS.iter().map(|name| read(name)).collect();
    let mut found = texts.iter().flat_map(|text| text.split(head.as_str()).skip(1));
    let own = found.next().unwrap_or_else(|| panic!("no document has `## {title}`"));
    assert!(found.next().is_none(), "`## {title}` is there twice");
    own.split("\n## ").next().unwrap_or_default().to_owned()
}

/// The lines of a document that are no code.
pub fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_fence && !is_code
    })
}
