//! Helpers, checked: programs that print a secret or a token.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Fence;
use super::json::Pointer;

/// A program that is run, without a shell, to print something secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    /// The program, by an absolute path.
    pub program: PathBuf,
    /// Its arguments; no shell reads them.
    pub arguments: Vec<String>,
    /// Names of variables that it gets, beside PATH, HOME and LANG.
    pub env: Vec<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// What it is kept out of, where its config is used because it was trusted.
    pub fence: Option<Arc<Fence>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    pub helper: Helper,
    /// How its output is read.
    pub format: ExecFormat,
}

/// How a helper's output is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecFormat {
    /// What `credential_process` of AWS's tools prints; the session token is the token.
    Aws,
    /// What `git credential get` speaks, asked about these.
    Git {
        /// The scheme that is asked about: `https`.
        protocol: String,
        /// The host, with a port where it has one.
        host: String,
        /// Without a leading slash; empty: none.
        path: String,
    },
    Json {
        token: Pointer,
        /// Where its end stands: RFC 3339, or a number of seconds.
        expires: Pointer,
    },
    /// An `ExecCredential` of `client.authentication.k8s.io/v1`.
    Kubectl,
    Plain,
}
