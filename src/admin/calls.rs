//! What is asked and answered over the socket: the bodies of its calls.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::audit::Event;
use crate::model::id::CredentialName;

/// `GET /v1/who`
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Who {
    /// The config that it runs, as it was named.
    pub config: PathBuf,
    /// The same, where it really is.
    pub path: PathBuf,
    /// Its process.
    pub pid: u32,
}

/// `POST /v1/sessions`
#[derive(Clone, Debug, Deserialize)]
pub struct OpenSession {
    /// What opens it.
    pub kind: SessionKind,
    /// The person.
    #[serde(default)]
    pub user: Option<String>,
    /// The process with which it ends.
    #[serde(default)]
    pub pid: Option<u32>,
    /// The user of this machine that it is bound to; absent: the daemon's own, which the caller is.
    #[serde(default)]
    pub uid: Option<u32>,
    /// Its life in seconds.
    #[serde(default)]
    pub lifetime_s: Option<u64>,
    /// The digest of the config as the caller read it: an edited one is taken up first.
    #[serde(default)]
    pub config: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub reason: Option<String>,
    /// The directory it is opened in.
    #[serde(default)]
    pub project: Option<String>,
    /// Routes it is limited to; absent: all.
    #[serde(default)]
    pub only: Option<Vec<String>>,
    /// Who opens it, for the audit: for `user` somebody else may.
    #[serde(default)]
    pub by: Option<String>,
}

/// `POST /v1/rotations`
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Rotated {
    /// Whose standing key is another now.
    pub credential: CredentialName,
    /// Who says so, for the audit.
    pub by: String,
}

impl Rotated {
    /// What the audit is to say of it.
    pub fn event(&self) -> Event<'_> {
        Event::rotated(&self.credential).with("by", self.by.as_str())
    }
}

/// `POST /v1/logins`
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Login {
    /// For which credential.
    pub credential: CredentialName,
    /// Whether in or out.
    pub logged_in: bool,
    /// Who, by the issuer's word.
    pub user: Option<String>,
}

impl Login {
    /// What the audit is to say of it.
    pub fn event(&self) -> Event<'_> {
        let action = if self.logged_in { "logged-in" } else { "logged-out" };
        Event::login(action, &self.credential, self.user.as_deref())
    }
}

/// `POST /v1/revoke`
#[derive(Clone, Debug, Deserialize)]
pub struct Revoke {
    /// Whom or what.
    pub what: What,
    /// Takes it back.
    #[serde(default)]
    pub undo: bool,
    /// Who says so, for the audit.
    #[serde(default)]
    pub by: Option<String>,
}

/// Whom or what to revoke.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Everybody and everything.
    All,
    /// A credential, by name.
    Credential(String),
    /// A session, by name.
    Session(String),
    /// A person, by login name.
    User(String),
}

/// Who asks for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionKind {
    /// `valetkey env`
    Env,
    /// `valetkey session open`
    Open,
    /// `valetkey run`
    Run,
}

/// A new session, secret included: for whoever asked, once.
#[derive(Serialize)]
pub struct OpenedSession {
    /// The user part of the proxy credentials.
    pub name: String,
    /// The password part.
    pub secret: String,
    /// `http://127.0.0.1:8383`
    pub proxy: String,
    /// Variables and the placeholders they get.
    pub placeholders: BTreeMap<String, String>,
    /// Its end, RFC 3339.
    pub until: Option<String>,
    /// Host patterns of routes.
    pub routed_hosts: Vec<String>,
    /// Variables that secrets are read from: the tool must not have them.
    pub remove_env: Vec<String>,
    /// Those of them that the daemon's own environment lacks.
    pub missing_env: Vec<String>,
    /// The daemon's process.
    pub pid: u32,
    /// The proxy that the daemon goes through, as `host:port`.
    pub parent: Option<String>,
    /// Roots that the tool must trust.
    pub ca_pem: String,
}

/// An answer that is no success: RFC 9457.
#[derive(Clone, Debug, Serialize)]
pub struct AdminError {
    /// The HTTP status.
    pub status: u16,
    /// The stable word.
    pub code: &'static str,
    /// What happened.
    pub detail: String,
    /// What to do next.
    pub hint: String,
}
