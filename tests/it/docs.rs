//! What is written for people agrees with the program: commands, variables, configs that load, the schema. Codes are in
//! `codes`, what a document itself must be in `form`, which there are in `text`.

mod codes;
mod form;
mod text;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::harness::client::finish;
use crate::harness::valetkey::Valetkey;
use text::project;
pub use text::section;

fn configs(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            configs(&path, found);
        } else if path.extension().is_some_and(|e| e == "toml") {
            found.push(path);
        }
    }
}

/// What `check` calls an error in a config, but for secrets' files, which are the reader's to make.
async fn mistakes(config: &Path) -> Vec<String> {
    let home = Valetkey::new().written();
    let done = finish(home.bare_command(&["check", "--json", "--config"]).arg(config)).await;
    let report: serde_json::Value = serde_json::from_str(&done.stdout).expect("one JSON document");
    let text = std::fs::read_to_string(config).unwrap();
    let is_there_to_fill_in = |problem: &serde_json::Value| {
        let said = problem["message"].as_str().unwrap_or_default();
        let file = said.split_once("cannot read ").and_then(|(_, rest)| rest.split(':').next());
        let name = Path::new(file.unwrap_or_default()).file_name().and_then(|name| name.to_str());
        problem["code"] == "secret-file-unreadable" && name.is_some_and(|name| text.contains(name))
    };
    let problems = report["problems"].as_array().expect("problems");
    let errors = problems.iter().filter(|problem| problem["severity"] == "error");
    errors.filter(|problem| !is_there_to_fill_in(problem)).map(ToString::to_string).collect()
}

#[tokio::test]
async fn every_config_loads() {
    let mut found = Vec::new();
    configs(&project("config"), &mut found);
    for name in ["example.toml", "minimal.toml"] {
        assert!(found.iter().any(|p| p.ends_with(name)), "config/{name} is there");
    }
    for path in found {
        let mistakes = mistakes(&path).await;
        assert!(mistakes.is_empty(), "{}: {mistakes:?}", path.display());
    }
}

/// The test above can fail, mistakes around secrets included.
#[tokio::test]
async fn a_config_that_does_not_load_is_found() {
    let minimal = std::fs::read_to_string(project("config/minimal.toml")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    for (right, wrong) in [
        ("{ env = \"ORDERS_CLIENT_SECRET\" }", "\"a-secret\""),
        ("client_secret", "client_secrets"),
        ("{ env = \"ORDERS_CLIENT_SECRET\" }", "{ secret = \"x\" }"),
        ("[credentials.", "[secret."),
    ] {
        assert!(minimal.contains(right), "{right}");
        std::fs::write(&path, minimal.replacen(right, wrong, 1)).unwrap();
        assert!(!mistakes(&path).await.is_empty(), "{wrong}");
    }
}

/// A grant is complete when code, recipe and test exist for its name.
#[test]
fn every_grant_has_its_recipe() {
    for grant in valetkey::config::Grant::NAMES {
        let file = grant.replace('-', "_");
        let recipe = project(&format!("config/recipes/{grant}.toml"));
        let text = std::fs::read_to_string(&recipe).expect("a recipe");
        let named = text.lines().any(|line| {
            let (key, value) = line.split_once('=').unwrap_or_default();
            key.trim() == "grant" && value.trim().starts_with(&format!("\"{grant}\""))
        });
        assert!(named, "{} uses its grant", recipe.display());
        for path in [format!("src/mint/{file}.rs"), format!("tests/it/mint/{file}.rs")] {
            assert!(project(&path).exists(), "{path}");
        }
    }
}

/// What the issue tracker asked for, each by the file that has it.
const SERVICES: [&str; 12] = [
    "auth0",
    "databricks",
    "entra-id",
    "gitlab",
    "keycloak",
    "kubernetes-api",
    "okta",
    "openai-compatible",
    "registries",
    "salesforce",
    "snowflake",
    "trusted-publishing",
];

/// A recipe says what it is for, what to fill in, where, and how to see that it works.
#[test]
fn every_recipe_says_what_to_fill_in_and_how_to_check_it() {
    let mut found = Vec::new();
    configs(&project("config/recipes"), &mut found);
    for service in SERVICES {
        assert!(found.iter().any(|p| p.file_stem().is_some_and(|s| s == service)), "{service}");
    }
    for path in found {
        let text = std::fs::read_to_string(&path).unwrap();
        let (said, rest): (Vec<&str>, Vec<&str>) = text.lines().partition(|l| l.starts_with('#'));
        let says = |words: &str| said.iter().any(|line| line.contains(words));
        let name = path.display();
        assert!(said[0].starts_with("# Recipe: "), "{name} says what it is for");
        assert!(says("Fill in what is marked with <-"), "{name} says what to fill in");
        assert!(rest.iter().any(|line| line.contains("# <-")), "{name} marks it");
        assert!(says("valetkey check") && says("valetkey run --"), "{name} says how to check it");
        // Each file that it names is one that it says how to make, or that is there by itself.
        let keys = rest.iter().filter_map(|line| line.split('#').next());
        let files = keys.filter_map(|keys| keys.split("file = \"").nth(1)?.split('"').next());
        for file in files.filter(|file| !file.starts_with('/')) {
            assert!(says(file), "{name} says how {file} is made");
        }
    }
}

/// Hosts of package registries, in pieces: this file is not to name one either.
const REGISTRIES: [(&str, &str); 12] = [
    ("crates", ".io"),
    ("files.pythonhosted", ".org"),
    ("hex", ".pm"),
    ("nuget", ".org"),
    ("npmjs", ".org"),
    ("packagist", ".org"),
    ("proxy.golang", ".org"),
    ("pypi", ".org"),
    ("repo.maven.apache", ".org"),
    ("repo1.maven", ".org"),
    ("rubygems", ".org"),
    ("yarnpkg", ".com"),
];

/// Those that a text names.
fn registries(text: &str) -> Vec<String> {
    let text = text.to_ascii_lowercase();
    let hosts = REGISTRIES.iter().map(|(name, end)| format!("{name}{end}"));
    hosts.filter(|host| text.contains(host.as_str())).collect()
}

/// Whoever fills a recipe in names the registry that he means: none is built in, and none is recommended.
#[test]
fn no_package_registry_is_named() {
    let mut left = ["config", "README.md", ".github", "src", "tests/it"].map(project).to_vec();
    let mut files = 0;
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
        } else if let Ok(text) = std::fs::read_to_string(&path) {
            let named = registries(&text);
            assert!(named.is_empty(), "{} names {named:?}", path.display());
            files += 1;
        }
    }
    assert!(files > 300, "{files}");
    // It can fail.
    let (name, end) = REGISTRIES[7];
    assert_eq!(registries(&format!("host = \"upload.{name}{end}\"")).len(), 1);
}

/// No private key is in the repository's own directories.
#[test]
fn no_private_key_is_committed() {
    let mut directories: Vec<_> =
        ["src", "certs", "config", "tests", "examples", "benches"].map(project).to_vec();
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["dev", ".peers", "node_modules"].contains(&name.as_str()) {
                    directories.push(path);
                }
            } else if let Ok(bytes) = std::fs::read(&path) {
                // The marker and the first byte of DER in base64: the words alone are harmless.
                let begin = concat!("PRIVATE KEY", "-----\nM").as_bytes();
                let found = bytes.windows(begin.len()).any(|w| w == begin);
                assert!(!found, "{} holds a private key", path.display());
            }
        }
    }
}

/// The schema is generated; `VALETKEY_TEST_UPDATE=1` writes it anew.
#[test]
fn the_schema_is_the_generated_one() {
    let generated = serde_json::to_value(valetkey::config::file::schema()).unwrap();
    let path = project("config/schema.json");
    if std::env::var_os("VALETKEY_TEST_UPDATE").is_some() {
        let text = serde_json::to_string_pretty(&generated).unwrap();
        std::fs::write(&path, text + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&path).expect("config/schema.json");
    let written: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(written == generated, "run this test with VALETKEY_TEST_UPDATE=1 and look at the diff");
}

/// Every key of a config.
fn keys() -> BTreeSet<String> {
    fn walk(schema: &serde_json::Value, found: &mut BTreeSet<String>) {
        if let Some(properties) = schema["properties"].as_object() {
            found.extend(properties.keys().cloned());
        }
        match schema {
            serde_json::Value::Object(map) => map.values().for_each(|v| walk(v, found)),
            serde_json::Value::Array(list) => list.iter().for_each(|v| walk(v, found)),
            _ => {}
        }
    }
    let mut all = BTreeSet::new();
    walk(&serde_json::to_value(valetkey::config::file::schema()).unwrap(), &mut all);
    all
}

/// The words of a config that stand where a key does: before `=`, or in the head of a table. What is commented out
/// counts, a word in a sentence does not.
fn named(config: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut named = BTreeSet::new();
    for line in config.lines() {
        let bare = line.trim_start_matches(['#', ' ']);
        if let Some(head) = bare.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            named.extend(head.split(['[', '.']).map(str::to_owned));
        }
        for (at, _) in line.match_indices('=') {
            let before = line[..at].trim_end();
            let start = before.rfind(|c| !is_word(c)).map_or(0, |at| at + 1);
            named.insert(before[start..].to_owned());
        }
    }
    named
}

/// The example names every key that there is.
#[test]
fn the_example_names_every_key() {
    let example =
        std::fs::read_to_string(project("config/example.toml")).expect("config/example.toml");
    let all = keys();
    assert!(all.contains("config_version") && all.len() > 30, "{all:?}");
    let named_there = named(&example);
    let missing: Vec<_> = all.difference(&named_there).collect();
    assert!(missing.is_empty(), "not in config/example.toml: {missing:?}");
    // It can fail: a key that is only talked about is missed.
    for key in &all {
        let talk: String = format!("# {key} is a key, see `{key}`\nother = \"{key}\"\n");
        assert!(!named(&talk).contains(key) || key == "other", "{key}");
    }
}

/// All commands of the program with their options, by its own help.
async fn commands() -> Vec<(String, BTreeSet<String>)> {
    let home = Valetkey::new().written();
    let (mut found, mut left) = (Vec::new(), vec![Vec::<String>::new()]);
    while let Some(path) = left.pop() {
        let mut words: Vec<&str> = path.iter().map(String::as_str).collect();
        words.push("--help");
        let help = finish(&mut home.bare_command(&words)).await.stdout;
        let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
        let rows = listed.lines().take_while(|line| line.starts_with("  "));
        let names = rows.filter_map(|line| line.get(2..)?.split(' ').next());
        let mut inner = 0;
        for name in names.filter(|name| !name.is_empty() && *name != "help") {
            left.push([&path[..], &[name.to_owned()]].concat());
            inner += 1;
        }
        if inner == 0 {
            let options = help.split("Options:\n").nth(1).unwrap_or_default();
            let options = options.lines().filter_map(|line| {
                let line = line.trim_start();
                let long = line.find("--").filter(|at| line.starts_with('-') && *at <= 4)?;
                let rest = &line[long..];
                let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '-');
                Some(rest[..end.unwrap_or(rest.len())].to_owned())
            });
            found.push((path.join(" "), options.collect()));
        }
    }
    found
}

/// The docs have a row for each command, with each of its options, and no others.
#[tokio::test]
async fn every_command_and_option_is_in_the_docs() {
    let table = section("Commands");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    let commands = commands().await;
    assert!(commands.len() > 20, "{commands:?}");
    let mut wrong = Vec::new();
    for (command, options) in &commands {
        let row = rows.iter().find(|row| {
            let rest = row.strip_prefix("| `").and_then(|row| row.strip_prefix(command.as_str()));
            rest.is_some_and(|rest| rest.starts_with([' ', '`']))
        });
        let Some(row) = row else {
            wrong.push(format!("no row for `{command}`"));
            continue;
        };
        let code = row.split('`').nth(1).unwrap_or_default();
        let named: Vec<_> = code.split([' ', '[', ']']).filter(|w| w.starts_with("--")).collect();
        let everywhere = ["--color", "--config", "--help", "--json", "--verbose"];
        let missing = options.iter().map(String::as_str);
        let missing = missing.filter(|o| !everywhere.contains(o) && !named.contains(o));
        wrong.extend(missing.map(|option| format!("`{command}` without {option}")));
        let unknown = named.iter().filter(|word| word.len() > 2 && !options.contains(**word));
        wrong.extend(unknown.map(|option| format!("`{command}` has no {option}")));
    }
    let known = |row: &&str| {
        let code = row.split('`').nth(1).unwrap_or_default();
        let is = |command: &str| {
            code.strip_prefix(command).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        is("valetkey") || commands.iter().any(|(command, _)| is(command))
    };
    wrong.extend(rows.iter().filter(|row| !known(row)).map(|row| format!("no command: {row}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The variables of ours that the program reads have a row each; `config/env.rs` names them.
#[test]
fn every_variable_is_in_the_docs() {
    let docs = section("Variables");
    let source = std::fs::read_to_string(project("src/config/env.rs")).expect("src/config/env.rs");
    let read =
        source.split('"').filter(|text| text.starts_with("VALETKEY_") && *text != "VALETKEY_");
    let missing: Vec<_> = read.filter(|name| !docs.contains(&format!("\n| `{name}` |"))).collect();
    assert!(missing.is_empty(), "not in the docs: {missing:?}");
    assert!(source.contains("VALETKEY_STATE_DIR"));
}
