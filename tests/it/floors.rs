//! The shape of the source: floors, opening words, size and names, as `.github/CONTRIBUTING.md` has them.

use std::path::{Path, PathBuf};

/// Which floor a top-level module stands on.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["model", "local"]),
    (1, &["config"]),
    (2, &["http1", "masking", "net", "store", "telemetry"]),
    (3, &["policy", "mint", "ca", "client", "audit"]),
    (4, &["broker", "inject", "limits"]),
    (5, &["passage"]),
    (6, &["proxy", "admin", "adapter"]),
    (7, &["daemon"]),
    (8, &["cli"]),
];

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(_, modules)| modules.contains(&module)).map(|(floor, _)| *floor)
}

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.ends_with("tests.rs") {
                // A module's tests in a file of their own.
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    assert!(found.len() > 5, "the source is there");
    found
}

/// The top-level module that a file belongs to; `None` for `lib.rs` and `main.rs`.
fn module_of(path: &Path) -> Option<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let inner = path.strip_prefix(source).unwrap();
    let first = inner.components().next()?.as_os_str().to_str()?.to_owned();
    let name = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
    (name != "lib" && name != "main").then_some(name)
}

/// What stands before the tests, without comments.
fn code(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules that `crate::` paths and `use crate::{…}` groups name.
fn named_modules(code: &str) -> Vec<String> {
    let mut named = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `valetkey::` and `pub(in crate::…)` are no imports; a longer word ends before.
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            named.extend(group_heads(group));
        } else {
            named.push(word(rest));
        }
    }
    named.retain(|name| !name.is_empty());
    named
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// First words of the items of a `use` group, up to its closing brace.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut start, mut heads) = (0, 0, Vec::new());
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                heads.push(word(group[start..at].trim_start()));
                start = at + 1;
            }
            '}' if depth == 0 => {
                heads.push(word(group[start..at].trim_start()));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    heads
}

/// Every edge that goes up or sideways, and every module without a floor.
fn edges(files: &[(String, String)]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (module, text) in files {
        let Some(own) = floor(module) else {
            wrong.push(format!("`{module}` stands on no floor"));
            continue;
        };
        for name in named_modules(&code(text)) {
            if name == *module {
                continue;
            }
            match floor(&name) {
                Some(other) if other < own => {}
                Some(other) => wrong.push(format!("{module} ({own}) imports {name} ({other})")),
                // Macros and items at the crate's root: there are none.
                None => wrong.push(format!("{module} names crate::{name}, which has no floor")),
            }
        }
    }
    wrong
}

#[test]
fn imports_go_down() {
    let mut files = Vec::new();
    for (path, text) in sources() {
        if let Some(module) = module_of(&path) {
            files.push((module, text));
        }
    }
    let wrong = edges(&files);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Engines that could be used anywhere: they name nothing of ours.
const ENGINES: &[&str] = &["http1", "masking"];

#[test]
fn engines_know_nobody() {
    for (path, text) in sources() {
        let Some(module) = module_of(&path).filter(|own| ENGINES.contains(&own.as_str())) else {
            continue;
        };
        let named = named_modules(&code(&text));
        assert!(named.iter().all(|name| *name == module), "{} names {named:?}", path.display());
    }
}

#[test]
fn an_upward_or_sideways_edge_is_found() {
    let found = |module: &str, text: &str| edges(&[(module.to_owned(), text.to_owned())]).len();
    assert_eq!(found("policy", "use crate::model::host::Host;"), 0);
    assert_eq!(found("policy", "use crate::policy::route::Route;"), 0);
    assert_eq!(found("policy", "use crate::broker::Broker;"), 1, "up");
    assert_eq!(found("policy", "use crate::mint::Minter;"), 1, "sideways");
    assert_eq!(found("policy", "use crate::{model::id, proxy::{serve, peek}, cli};"), 2, "group");
    assert_eq!(found("policy", "fn f() -> crate::daemon::World { }"), 1, "path");
    assert_eq!(found("policy", "// use crate::daemon::World;"), 0, "comment");
    assert_eq!(found("policy", "#[cfg(test)]\nmod tests { use crate::cli::x; }"), 0, "tests");
    assert_eq!(found("helpers", ""), 1, "no floor");
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in sources() {
        assert!(text.starts_with("//! "), "{} opens without `//!`", path.display());
    }
}

#[test]
fn no_file_is_over_400_lines_before_its_tests() {
    for (path, text) in sources() {
        let own = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let lines = own.lines().count();
        assert!(lines <= 400, "{} has {lines} lines", path.display());
    }
}

/// The types and constants that a file defines at the margin.
fn names(code: &str) -> Vec<String> {
    let name = |line: &str| {
        let bare = match line.strip_prefix("pub(") {
            Some(rest) => rest.split_once(") ").map_or("", |(_, rest)| rest),
            None => line.strip_prefix("pub ").unwrap_or(line),
        };
        let (kind, rest) = bare.split_once(' ')?;
        let defines = ["const", "enum", "static", "struct", "trait", "type"].contains(&kind);
        defines.then(|| word(rest)).filter(|name| !["", "_", "fn"].contains(&name.as_str()))
    };
    code.lines().filter_map(name).collect()
}

/// The floors on which a name means one thing: whoever reads it need not look where it comes from.
const NAMED_ONCE: std::ops::RangeInclusive<u8> = 0..=8;

#[test]
fn a_name_stands_once_on_a_floor() {
    let mut seen = std::collections::BTreeMap::new();
    let mut twice = Vec::new();
    for (path, text) in sources() {
        let own = module_of(&path).and_then(|module| floor(&module));
        let Some(own) = own.filter(|own| NAMED_ONCE.contains(own)) else { continue };
        for name in names(&code(&text)) {
            if let Some(before) = seen.insert((own, name.clone()), path.clone()) {
                twice.push(format!("{name}: {} and {}", before.display(), path.display()));
            }
        }
    }
    assert!(twice.is_empty(), "{}", twice.join("\n"));
    let found = names(
        "pub(in crate::a) struct A<T>;\npub const fn f() {}\n  type Own = u8;\nstatic B: u8 = 0;",
    );
    assert_eq!(found, ["A", "B"]);
}

/// The files and folders below `src` that `src/lib.rs` says may see a secret.
fn seers(map: &str) -> Vec<String> {
    let section = map.split("//! # Who may see a secret\n").nth(1).expect("who may see a secret");
    let section = section.split("//! # ").next().unwrap_or_default();
    let words = section.split('`').skip(1).step_by(2).filter(|word| !word.contains("::"));
    words.map(str::to_owned).collect()
}

/// What is wrong with a list of who may see a secret: those that do and are not on it, and entries that are none.
fn unlike(list: &[String], files: &[(String, String)]) -> Vec<String> {
    let sees = |text: &str| {
        let code = code(text);
        // By its name as well, as in `map(Secret::expose)`; `Error::exposed` is something else.
        let named = code.match_indices("Secret::expose").map(|(at, it)| &code[at + it.len()..]);
        code.contains(".expose()") || named.into_iter().any(|rest| word(rest).is_empty())
    };
    let is_below = |path: &str, entry: &str| {
        path.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mut wrong = Vec::new();
    for (path, _) in files.iter().filter(|(_, text)| sees(text)) {
        if !list.iter().any(|entry| is_below(path, entry)) {
            wrong.push(format!("{path} exposes a secret and is not on the list"));
        }
    }
    for entry in list {
        let mut below = files.iter().filter(|(path, _)| is_below(path, entry)).peekable();
        if below.peek().is_none() {
            wrong.push(format!("{entry} is on the list and not there"));
        } else if !below.any(|(_, text)| sees(text)) {
            wrong.push(format!("{entry} is on the list and exposes nothing"));
        }
    }
    wrong
}

/// `expose` is called where bytes must leave, where the map in `src/lib.rs` says so, and nowhere else.
#[test]
fn secrets_are_exposed_only_where_the_map_says() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let path = |path: &Path| path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned();
    let files: Vec<_> = sources().iter().map(|(p, text)| (path(p), text.clone())).collect();
    let map = std::fs::read_to_string(source.join("lib.rs")).unwrap();
    let list = seers(&map);
    assert!(list.len() > 4, "{list:?}");
    let wrong = unlike(&list, &files);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_wrong_list_of_who_sees_secrets_is_found() {
    let map = "//! # Who may see a secret\n//!\n//! `Secret::expose` is called in `a/b.rs` and in `store`.\n//!\n//! # Threads\n//!\n//! `c.rs`\n";
    let list = seers(map);
    assert_eq!(list, ["a/b.rs", "store"]);
    let found = |files: &[(&str, &str)]| {
        let files: Vec<_> = files.iter().map(|(p, t)| ((*p).into(), (*t).into())).collect();
        unlike(&list, &files).join("; ")
    };
    let (b, store) = (("a/b.rs", "x.expose()"), ("store/mod.rs", "map(Secret::expose)"));
    assert_eq!(found(&[b, store, ("c.rs", "// x.expose()")]), "");
    assert!(found(&[store]).contains("a/b.rs is on the list and not there"));
    assert!(found(&[("a/b.rs", "x"), store]).contains("a/b.rs is on the list and exposes nothing"));
    assert!(found(&[b, store, ("c.rs", "x.expose()")]).contains("c.rs exposes a secret"));
    assert!(found(&[b, store, ("x/a/b.rs", "x.expose()")]).contains("x/a/b.rs exposes"), "suffix");
    assert!(
        found(&[b, store, ("stores.rs", "x.expose()")]).contains("stores.rs exposes"),
        "prefix"
    );
    assert!(found(&[b, store, ("x/store/y.rs", "x.expose()")]).contains("y.rs exposes"), "folder");
}
