//! The TOML shapes of helpers: programs that print a secret or a token.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;

/// A program that is run, without a shell, to print something secret.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HelperTable {
    /// The program, by an absolute path, and its arguments. No shell reads them; no secret belongs in them.
    pub command: Vec<String>,
    /// Names of further variables of the daemon that it gets, beside PATH, HOME and LANG.
    #[serde(default)]
    pub env: BTreeSet<String>,
    /// How long it may take. Default, and most: "10s".
    #[serde(default)]
    pub timeout: Option<String>,
}

/// `grant = "exec"`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecTable {
    /// The program, by an absolute path, and its arguments. No shell reads them; no secret belongs in them.
    pub command: Vec<String>,
    /// Names of further variables of the daemon that it gets, beside PATH, HOME and LANG.
    #[serde(default)]
    pub env: BTreeSet<String>,
    /// How long it may take. Default, and most: "10s".
    #[serde(default)]
    pub timeout: Option<String>,
    /// What it prints: "plain" (the default: the token and nothing else), "json", "kubectl", "aws" or "git".
    #[serde(default)]
    pub format: OutputFormat,
    /// Where the token stands in JSON, as a pointer (RFC 6901). Default: "/access_token".
    #[serde(default)]
    pub token: Option<String>,
    /// Where its end stands in JSON: RFC 3339, or a number of seconds from now or since 1970. Default: "/expires_in".
    #[serde(default)]
    pub expires: Option<String>,
    /// The URL that a git credential helper is asked about.
    #[serde(default)]
    pub url: Option<String>,
    /// Upper bound of a token's life, and its life where the helper names none. Default of the latter: "5m".
    #[serde(default)]
    pub ttl: Option<String>,
}

/// `format` of `exec`
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OutputFormat {
    /// AWS `credential_process`, version 1; the session token is what is injected.
    Aws,
    /// A git credential helper: `get` is asked, the password is the token.
    Git,
    /// JSON.
    Json,
    /// An `ExecCredential` of `client.authentication.k8s.io/v1`.
    Kubectl,
    /// The token alone, one trailing newline dropped.
    #[default]
    Plain,
}
