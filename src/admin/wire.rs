//! What is asked and answered over the socket: the bodies of its calls, for the daemon and the
//! command line alike.
//!
//! Either may be older than the other. What one does not know is let pass; what an answer lacks is
//! empty, but for what a tool cannot be given without.

mod status;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::audit::Event;
use crate::model::id::CredentialName;

pub use status::{
    AuditStatus, CodeAt, CountedSession, CredentialStatus, DaemonStatus, DistrustStatus,
    ListedSession, LoginStatus, MintError, RestartNeeded, RevokedStatus, RouteStatus,
    SessionStatus, TokenStatus,
};

/// The answer to `GET /v1/who`: which daemon it is.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Who {
    /// The config that it runs, as it was named.
    pub config: PathBuf,
    /// The same, where it really is.
    pub path: PathBuf,
    /// The number of the daemon's process.
    pub pid: u32,
}

/// The body of `POST /v1/sessions`: which session is wanted.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OpenSession {
    /// Which command opens it.
    pub kind: SessionKind,
    /// The login name of the person that it is for.
    #[serde(default)]
    pub user: Option<String>,
    /// The process with which it ends.
    #[serde(default)]
    pub pid: Option<u32>,
    /// The user of this machine that it is bound to; absent: the daemon's own, which the caller is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Its life in seconds; `None`: as long as its process.
    #[serde(default)]
    pub lifetime_s: Option<u64>,
    /// The digest of the config as the caller read it: an edited one is taken up first.
    #[serde(default)]
    pub config: Option<String>,
    /// What it is for, in words of whoever opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The directory it is opened in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Routes it is limited to; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<String>>,
    /// Who opens it, for the audit: for `user` somebody else may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// The body of `POST /v1/rotations`: a standing key is another now.
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

/// The body of `POST /v1/logins`: somebody has logged in or out.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Login {
    /// The credential that the login is for.
    pub credential: CredentialName,
    /// Whether somebody logged in; else it was out.
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

/// The body of `POST /v1/revoke`: an order to revoke.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Revoke {
    /// Whom or what to shut out.
    pub what: RevokeTarget,
    /// Whether the revocation is taken back instead.
    #[serde(default)]
    pub undo: bool,
    /// Who says so, for the audit.
    #[serde(default)]
    pub by: Option<String>,
}

/// Whom or what to revoke.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RevokeTarget {
    /// Everybody, and whatever they have under way.
    All,
    /// The credential of this name, for all.
    Credential(String),
    /// The session of this public name.
    Session(String),
    /// A person, by login name.
    User(String),
}

/// Who asks for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SessionKind {
    /// A shell, by `valetkey env`.
    Env,
    /// Anybody, by `valetkey session open`.
    Open,
    /// A command, by `valetkey run`.
    Run,
}

/// A new session, for whoever asked, once. No `Debug`: it holds the session's secret.
#[derive(Deserialize, Serialize)]
pub struct OpenedSession {
    /// The user part of the proxy credentials.
    pub name: String,
    /// The password part of the proxy credentials.
    pub secret: String,
    /// The proxy's URL without credentials, as `http://127.0.0.1:8383`.
    pub proxy: String,
    /// Variables and the placeholders they get.
    pub placeholders: BTreeMap<String, String>,
    /// Its end, RFC 3339; `None`: that of its process.
    #[serde(default)]
    pub until: Option<String>,
    /// Host patterns of all routes, for NO_PROXY.
    pub routed_hosts: Vec<String>,
    /// Variables that secrets are read from: the tool must not have them.
    #[serde(default)]
    pub remove_env: Vec<String>,
    /// Those of `remove_env` that the daemon's own environment lacks.
    #[serde(default)]
    pub missing_env: Vec<String>,
    /// The number of the daemon's process.
    #[serde(default)]
    pub pid: u32,
    /// The proxy that the daemon goes through, as `host:port`.
    #[serde(default)]
    pub parent: Option<String>,
    /// Roots that the tool must trust.
    pub ca_pem: String,
}

/// What a revocation ended: the answer to `POST /v1/revoke`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Ended {
    /// How many sessions were ended.
    pub sessions: usize,
    /// How many tokens were dropped.
    pub tokens: usize,
    /// How many running requests and tunnels were cut.
    pub requests: usize,
    /// Whether it is a user whom nobody knows here: an off-switch is not refused for a doubt.
    pub unknown: bool,
    /// Which known user may have been meant, where it is an unknown one.
    pub nearest: Option<String>,
}

/// An answer that is no success: RFC 9457.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct AdminError {
    /// The HTTP status of the answer.
    pub status: u16,
    /// The stable word, one of `valetkey explain --codes`.
    pub code: Cow<'static, str>,
    /// What happened, in lower case without a final stop.
    pub detail: String,
    /// What whoever asked should do next.
    pub hint: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A daemon of another version says more, or less.
    #[test]
    fn what_is_unknown_passes_and_what_is_missing_is_empty() {
        let status: DaemonStatus = serde_json::from_value(json!({
            "pid": 7, "new": {}, "sessions": [{ "name": "run-1", "kind": "agent", "new": 1 }],
            "logins": [{ "state": "sleeping" }], "audit": {}, "restart": null,
        }))
        .unwrap();
        assert_eq!((status.pid, status.metrics, status.uptime_s), (7, None, 0));
        assert_eq!(status.sessions[0].session.kind, "agent");
        assert_eq!(status.logins[0].state, "sleeping");
        let refused: AdminError = serde_json::from_value(json!({ "code": "x" })).unwrap();
        assert_eq!((&*refused.code, &*refused.hint), ("x", ""));
    }

    #[test]
    fn a_session_is_one_flat_object() {
        let session = ListedSession::default();
        let keys = |value: &Value| {
            let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        let listed = serde_json::to_value(&session).unwrap();
        assert_eq!(
            keys(&listed),
            [
                "holds_address",
                "kind",
                "name",
                "project",
                "reason",
                "routes",
                "uid",
                "until",
                "user"
            ]
        );
    }

    /// What a session is opened with has no keys but those that an older daemon has always been
    /// sent.
    #[test]
    fn what_is_not_asked_for_is_not_sent() {
        let open = OpenSession {
            kind: SessionKind::Run,
            user: Some("ann".into()),
            pid: None,
            uid: None,
            lifetime_s: None,
            config: Some("d".into()),
            reason: None,
            project: None,
            only: None,
            by: None,
        };
        let wanted =
            json!({ "kind": "run", "user": "ann", "pid": null, "lifetime_s": null, "config": "d" });
        assert_eq!(serde_json::to_value(open).unwrap(), wanted);
    }
}
