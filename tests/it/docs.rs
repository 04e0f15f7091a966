//! What is written for people agrees with the program: codes in the README, configs that load, the schema.

use std::path::{Path, PathBuf};

use valetkey::model::reason::Reason;

use crate::harness::client::finish;
use crate::harness::valetkey::Valetkey;

fn project(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn every_reason_is_in_the_readme() {
    let readme = std::fs::read_to_string(project("README.md")).expect("README.md");
    let missing: Vec<_> = Reason::ALL
        .iter()
        .map(|r| r.code())
        .filter(|code| !readme.contains(&format!("`{code}`")))
        .collect();
    assert!(missing.is_empty(), "not in the README: {missing:?}");
}

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

/// Secrets that the examples name are given, so that nothing but the config is judged.
#[tokio::test]
async fn every_config_loads() {
    let mut found = Vec::new();
    configs(&project("config"), &mut found);
    for name in ["example.toml", "minimal.toml"] {
        assert!(found.iter().any(|p| p.ends_with(name)), "config/{name} is there");
    }
    let home = Valetkey::new().written();
    for path in found {
        let mut command = home.bare_command(&["check", "--config"]);
        let done = finish(command.arg(&path)).await;
        // A missing variable or file is the reader's to fill in; anything else is a mistake.
        let said = format!("{}{}", done.stdout, done.stderr);
        let errors: Vec<_> = said.lines().filter(|l| l.contains("error[")).collect();
        let secrets_only = errors.iter().all(|l| l.contains("secret"));
        assert!(done.code == Some(0) || secrets_only, "{}: {said}", path.display());
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

/// The example names every key that there is.
#[test]
fn the_example_names_every_key() {
    fn keys(schema: &serde_json::Value, found: &mut std::collections::BTreeSet<String>) {
        if let Some(properties) = schema["properties"].as_object() {
            found.extend(properties.keys().cloned());
        }
        match schema {
            serde_json::Value::Object(map) => map.values().for_each(|v| keys(v, found)),
            serde_json::Value::Array(list) => list.iter().for_each(|v| keys(v, found)),
            _ => {}
        }
    }
    let example =
        std::fs::read_to_string(project("config/example.toml")).expect("config/example.toml");
    let mut all = std::collections::BTreeSet::new();
    keys(&serde_json::to_value(valetkey::config::file::schema()).unwrap(), &mut all);
    assert!(all.contains("config_version") && all.len() > 30, "{all:?}");
    let words: std::collections::BTreeSet<&str> =
        example.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let missing: Vec<_> = all.iter().filter(|key| !words.contains(key.as_str())).collect();
    assert!(missing.is_empty(), "not in config/example.toml: {missing:?}");
}
