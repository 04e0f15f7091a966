//! How the documents are made: a README for newcomers, no paragraph that nobody reads to its end, and links, places and
//! documents that are there when something names them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::codes::by_hand;
use super::text::{DOCS, project, prose, read};

/// What a document may have.
struct Bounds {
    lines: usize,
    words: usize,
    /// Of a paragraph, an item of a list, a cell of a table.
    together: usize,
    columns: usize,
}

/// Whoever is new reads all of it.
const README: Bounds = Bounds { lines: 130, words: 1_300, together: 60, columns: 120 };
/// Rows of tables may be long there.
const OTHERS: Bounds = Bounds { lines: 400, words: 2_500, together: 100, columns: usize::MAX };

/// Paragraphs, items and cells.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for line in prose(text) {
        let item = line.trim_start();
        let number = item.trim_start_matches(|c: char| c.is_ascii_digit());
        let is_item =
            item.starts_with("- ") || (number.len() < item.len() && number.starts_with(". "));
        if line.starts_with('|') {
            pieces.extend(line.split('|').map(str::to_owned));
            pieces.push(String::new());
        } else if line.trim().is_empty() || line.starts_with('#') {
            pieces.push(String::new());
        } else if is_item {
            pieces.push(line.to_owned());
        } else if let Some(last) = pieces.last_mut() {
            last.push(' ');
            last.push_str(line);
        }
    }
    pieces
}

/// What is more than it may be.
fn excesses(text: &str, bounds: &Bounds) -> Vec<String> {
    let mut found = Vec::new();
    let (lines, words) = (text.lines().count(), text.split_whitespace().count());
    if lines > bounds.lines {
        found.push(format!("{lines} lines"));
    }
    if words > bounds.words {
        found.push(format!("{words} words"));
    }
    let wide = text.lines().filter(|line| line.chars().count() > bounds.columns);
    found.extend(wide.map(|line| format!("wide: {line}")));
    let pieces = pieces(text).into_iter();
    let counted = pieces.map(|piece| (piece.split_whitespace().count(), piece));
    let long = counted.filter(|(words, _)| *words > bounds.together);
    found.extend(long.map(|(words, piece)| format!("{words} words: {piece}")));
    found
}

#[test]
fn the_readme_is_for_newcomers_and_no_paragraph_is_long() {
    for name in DOCS {
        let bounds = if name == "README.md" { &README } else { &OTHERS };
        // A generated table is looked up and not read.
        let text = read(name);
        let found = excesses(by_hand(&text), bounds);
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

/// The test above can fail.
#[test]
fn what_is_too_long_is_found() {
    let words = |n: usize| "word ".repeat(n);
    for (text, found) in [
        (words(60), 0),
        (words(61), 1),
        (format!("{}\n\n{}", words(40), words(40)), 0),
        (format!("{}\n{}", words(40), words(40)), 1),
        (format!("- {}\n- {}", words(40), words(40)), 0),
        (format!("10. {}\n  {}", words(40), words(40)), 1),
        (format!("| {} | {} |", words(40), words(40)), 0),
        (format!("| {} | {} |", words(40), words(70)), 1),
        (format!("```\n{}\n```\n", words(70)), 0),
        ("x\n".repeat(131) + &"\n".repeat(9), 2),
        ("word \n\n".repeat(1_301), 2),
    ] {
        let bounds = Bounds { columns: usize::MAX, ..README };
        assert_eq!(excesses(&text, &bounds).len(), found, "{text}");
    }
    assert_eq!(excesses(&"x".repeat(121), &README).len(), 1);
}

/// All documents of the repository, by their paths in it.
fn there(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if path.is_dir() {
            if !["target", ".git", ".peers", "dev", "node_modules"].contains(&&*name) {
                there(&path, found);
            }
        } else if name.ends_with(".md") {
            let path = path.strip_prefix(project("")).unwrap();
            found.insert(path.to_string_lossy().into_owned());
        }
    }
}

#[test]
fn every_document_is_known() {
    let mut found = BTreeSet::new();
    there(&project(""), &mut found);
    assert_eq!(found, DOCS.iter().map(|name| (*name).to_owned()).collect());
}

/// The address of a heading, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter_map(|line| line.strip_prefix('#')?.split_once(' '))
        .map(|(_, h)| anchor(h))
        .collect()
}

/// Where the links of a document lead, but for those to other sites.
fn links(text: &str) -> Vec<String> {
    let bare: String = prose(text).collect::<Vec<_>>().join("\n").split('`').step_by(2).collect();
    let targets =
        bare.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()));
    targets.filter(|target| !target.contains("://")).collect()
}

/// Those of a document at `name` that lead nowhere.
fn broken(name: &str, text: &str) -> Vec<String> {
    let leads = |target: &String| {
        let (path, heading) = target.split_once('#').unwrap_or((target, ""));
        let whole = match path {
            "" => project(name),
            path => project(name).parent().map(|beside| beside.join(path)).unwrap_or_default(),
        };
        let headings = || match path {
            "" => Some(text.to_owned()),
            _ => std::fs::read_to_string(&whole).ok(),
        };
        whole.exists()
            && (heading.is_empty()
                || headings().is_some_and(|text| anchors(&text).contains(heading)))
    };
    links(text).into_iter().filter(|target| !leads(target)).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut all = 0;
    for name in DOCS {
        let text = read(name);
        all += links(&text).len();
        let broken = broken(name, &text);
        assert!(broken.is_empty(), "{name}: {broken:?}");
    }
    assert!(all > 50, "{all}");
}

/// The test above can fail.
#[test]
fn a_link_to_nowhere_is_found() {
    let text = "# Here\n\n## It's `all` here\n\n\
        [a](README.md) [b](../src) [c](#its-all-here) [d](example.toml) [e](https://x.example/y) `[f](g)`\n\
        [h](nothing.md) [i](README.md#no-such-heading) [j](#nor-this) [k](example.toml#no)\n```\n[l](m)\n```\n";
    let found = broken("config/README.md", text);
    assert_eq!(found, ["nothing.md", "README.md#no-such-heading", "#nor-this", "example.toml#no"]);
}

/// Files of ours that documents name in code, and documents that the source names.
#[test]
fn every_place_that_is_named_is_there() {
    let ours = ["src/", "tests/", "config/", "benches/", "certs/", ".github/", "examples/"];
    for name in DOCS {
        let text = prose(&read(name)).collect::<Vec<_>>().join("\n");
        let words =
            text.split('`').skip(1).step_by(2).filter_map(|code| code.split_whitespace().next());
        for word in words.filter(|word| ours.iter().any(|top| word.starts_with(top))) {
            let is_pattern = word.contains(['*', '{', '<']) || word.contains("NAME");
            assert!(is_pattern || project(word).exists(), "{name} names {word}");
        }
    }
    for (path, text) in sources() {
        let is_of_a_path = |c: char| c.is_ascii_alphanumeric() || "./_-".contains(c);
        for (end, _) in text.match_indices(".md") {
            let before = text[..end].rfind(|c| !is_of_a_path(c)).map_or(0, |at| at + 1);
            let named = text[before..end].trim_start_matches('/').to_owned() + ".md";
            let is_one = named.contains('/') && !named.starts_with('.');
            assert!(!is_one || project(&named).exists(), "{} names {named}", path.display());
        }
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut directories = vec![project("src"), project("benches")];
    let mut found = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push((path.clone(), std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    found
}
