//! Every kind of bad config has a code and a line, and no value is echoed.

use std::path::{Path, PathBuf};

use super::{LoadError, parse};
use crate::config::Config;
use crate::config::problem::{Problem, Severity};

const GOOD: &str = r#"
config_version = 1
[credentials.orders]
grant = "client-credentials"
token_url = "https://idp.example/token"
client_id = "cli"
client_secret = { env = "S" }
[[routes]]
name = "orders"
host = "api.orders.example"
credential = "orders"
"#;

pub(super) fn load(text: &str) -> Result<Config, Vec<Problem>> {
    match parse(Path::new("/etc/v.toml"), text.as_bytes(), PathBuf::from("/state")) {
        Ok((config, _)) => Ok(config),
        Err(LoadError::Invalid { problems, .. }) => Err(problems),
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn codes(text: &str) -> Vec<(usize, &'static str)> {
    load(text)
        .expect_err("must not load")
        .iter()
        .filter(|p| p.severity == Severity::Error)
        .map(|p| (p.line, p.code))
        .collect()
}

#[test]
fn loads() {
    let config = load(GOOD).unwrap();
    assert_eq!(config.routes[0].value.port, 443);
    assert_eq!(config.routes[0].line, 8);
    assert_eq!(config.audit.path, Path::new("/state/audit.jsonl"));
}

#[test]
fn empty_is_refused() {
    assert_eq!(codes(""), [(1, "config-version")]);
}

#[test]
fn all_problems_at_once() {
    let text = r#"config_version = 1
bogus = 1
[proxy]
listen = "nowhere"
colour = "red"
shape = "round"
[ca]
lifetime = "soon"
[[routes]]
name = "a"
host = "x.example"
credential = "none"
[[routes]]
name = "a"
host = "y.example"
methods = "GET"
"#;
    let found = codes(text);
    for wanted in [
        (2, "unknown-key"),
        (4, "bad-address"),
        (5, "unknown-key"),
        (6, "unknown-key"),
        (8, "bad-duration"),
        (12, "unknown-credential"),
        (14, "duplicate-name"),
        (16, "wrong-type"),
    ] {
        assert!(found.contains(&wanted), "{wanted:?} in {found:?}");
    }
}

#[test]
fn literal_secrets_are_refused_and_never_echoed() {
    for line in [
        "client_secret = \"hunter2-hunter2\"",
        "client_secret = { literal = \"hunter2-hunter2\" }",
        "scope = \"hunter2-hunter2\"",
    ] {
        let text = GOOD.replace("client_secret = { env = \"S\" }", line);
        let problems = load(&text).unwrap_err();
        assert!(problems.iter().any(|p| p.line == 7), "{problems:?}");
        assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
    }
}

#[test]
fn syntax_errors_and_duplicates_name_their_line() {
    assert_eq!(codes("config_version = 1\n[proxy\n")[0].1, "config-syntax");
    assert_eq!(codes("config_version = 1\nconfig_version = 1\n")[0], (2, "config-syntax"));
    assert_eq!(codes(&"[".repeat(100_000))[0].1, "config-syntax");
}

#[test]
fn what_never_was_or_comes_later_is_refused() {
    for (key, code) in [
        ("redact = \"no\"", "wrong-type"),
        ("approval = \"per-request\"", "unknown-key"),
        ("methods = []", "empty-list"),
        ("methods = [\"get\"]", "bad-method"),
        ("methods = [\"TRACE\"]", "bad-method"),
        ("strip = [\"header:host\"]", "bad-placement"),
        ("strip = [\"body:x\"]", "bad-placement"),
        ("inject = { header = \"connection\" }", "bad-inject"),
        ("inject = { query = \"\" }", "bad-inject"),
        ("inject = { path = \"/bot\" }", "bad-inject"),
        ("inject = { query = \"a\", path = \"/{token}\" }", "bad-inject"),
        ("inject = { query = \"a\", scheme = \"Bearer\" }", "bad-inject"),
        ("inject = { sigv4 = true }", "unknown-key"),
        ("env = { A = \"sk-live\" }", "bad-placeholder"),
        ("clients = [\"everyone\"]", "bad-client"),
        ("port = 0", "bad-port"),
        ("port = 70000", "wrong-type"),
    ] {
        let found = codes(&format!("{GOOD}{key}\n"));
        assert!(found.contains(&(12, code)), "{key}: {found:?}");
    }
}

#[test]
fn endpoints_are_https_or_loopback() {
    for url in [
        "http://idp.example/t",
        "https://u@idp.example/t",
        "https://idp.example/t#f",
        "idp",
        "http://127.1/t",
        "http://localhost/t",
    ] {
        assert!(load(&GOOD.replace("https://idp.example/token", url)).is_err(), "{url}");
    }
    load(&GOOD.replace("https://idp.example/token", "http://127.0.0.1:9/t")).unwrap();
}
