//! The table and `run` agree about the variables: what `run` sets is tried, and what is tried is set.

use std::collections::BTreeSet;

use super::{Client, Ends, command_line, node, python};
use crate::docs;
use crate::harness::valetkey::Valetkey;

/// Those that name a proxy.
pub const PROXY: [&str; 5] =
    ["CARGO_HTTP_PROXY", "HTTPS_PROXY", "grpc_proxy", "https_proxy", "npm_config_https_proxy"];
/// Those that name a CA.
pub const CA: [&str; 17] = [
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "CODEX_CA_CERTIFICATE",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "NIX_SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "TWINE_CERT",
    "WGETRC",
    "npm_config_cafile",
];
/// One that names both.
pub const JAVA: &str = "JAVA_TOOL_OPTIONS";
/// Those that name neither but change how a tool uses them.
const MANNERS: [&str; 4] =
    ["GIT_HTTP_PROXY_AUTHMETHOD", "NODE_USE_ENV_PROXY", "NO_PROXY", "no_proxy"];
/// Set for tools that no row tries, because no package registry that the tests use has them.
const UNTRIED: [(&str, &str); 3] = [
    ("DENO_CERT", "Deno"),
    ("HTTPLIB2_CA_CERTS", "programs with httplib2"),
    ("NIX_SSL_CERT_FILE", "Nix"),
];

/// The whole table.
pub fn all_rows() -> impl Iterator<Item = &'static Client> {
    command_line::ROWS.iter().chain(python::ROWS).chain(node::ROWS).copied()
}

#[tokio::test]
async fn run_sets_what_the_table_tries_and_nothing_else() {
    let home = Valetkey::new().start().await;
    let printed = home.home.run(&["env", "--json"]).await;
    let printed: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
    let set: BTreeSet<&str> = printed["set"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        // What `env --unset` goes by; no tool reads it.
        .filter(|name| *name != "VALETKEY_ENV")
        .collect();
    let known: BTreeSet<&str> = PROXY.into_iter().chain(CA).chain(MANNERS).chain([JAVA]).collect();
    assert_eq!(set, known);

    let mut tried: BTreeSet<&str> =
        all_rows().flat_map(|row| row.proxy.iter().chain(row.ca)).copied().collect();
    for (name, _) in UNTRIED {
        assert!(tried.insert(name), "{name} is tried after all");
    }
    tried.extend(MANNERS);
    assert_eq!(tried, known, "each variable is tried alone with at least one client");
}

/// The docs' table is this one.
#[test]
fn every_client_is_in_the_docs() {
    let tools = docs::section("Tools");
    let told: BTreeSet<&str> = tools
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" |").map(|(cell, _)| cell))
        .flat_map(split_outside_brackets)
        .collect();
    let missing: Vec<_> = all_rows().map(|row| row.name).filter(|n| !told.contains(n)).collect();
    assert!(missing.is_empty(), "not in the docs: {missing:?}");
    let cannot = |name: &str| {
        tools.lines().any(|l| l.starts_with(&format!("| {name} |")) && l.contains("cannot"))
    };
    for row in all_rows() {
        let fails = matches!(row.ends, Ends::Cannot { .. });
        assert_eq!(cannot(row.name), fails, "{} in the docs", row.name);
    }
}

/// `a (b, c), d` is two.
fn split_outside_brackets(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    let parts = list.split(move |c: char| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    });
    parts.map(str::trim)
}
