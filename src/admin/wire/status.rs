//! What `status` and `session list` are answered: what holds, what is held, how it fares; never a
//! value of a secret.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `GET /v1/status`: what holds, what is held, how it fares; never a value of a secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct DaemonStatus {
    /// The version of the daemon's program.
    pub version: String,
    /// The number of the daemon's process.
    pub pid: u32,
    /// Either `running` or `stopping`; empty: an older daemon does not say.
    pub state: String,
    /// Where its config really is.
    pub config: PathBuf,
    /// Addresses of the proxy, and `unix:PATH`.
    pub listen: Vec<String>,
    /// Where scrapers are answered; `None`: nowhere.
    pub metrics: Option<String>,
    /// What becomes of hosts without a route: `deny` or `tunnel`.
    pub unmatched: String,
    /// The hash of the policy that holds.
    pub policy: String,
    /// How many configs it has taken up.
    pub generation: u64,
    /// The config's routes, in its order.
    pub routes: Vec<RouteStatus>,
    /// The config's credentials, by name.
    pub credentials: Vec<CredentialStatus>,
    /// One for each credential that a person logs in for, and those left behind.
    pub logins: Vec<LoginStatus>,
    /// Tokens that are held, or could not be had.
    pub tokens: Vec<TokenStatus>,
    /// Open sessions, in the order of their names.
    pub sessions: Vec<ListedSession>,
    /// What is refused until somebody takes it back.
    pub revoked: RevokedStatus,
    /// Programs that broke off TLS handshakes with us, the last one first.
    pub distrust: Vec<DistrustStatus>,
    /// Connections of clients that are open.
    pub connections: usize,
    /// Requests and tunnels since the daemon started.
    pub requests: u64,
    /// Whether the audit can be written, and where.
    pub audit: AuditStatus,
    /// What was changed and takes effect at a start only; `None`: nothing.
    pub restart: Option<RestartNeeded>,
    /// When the local CA ends, RFC 3339.
    pub ca_ends: String,
    /// How many roots tools have to trust.
    pub ca_roots: usize,
    /// What would have spared all roots but one.
    pub ca_hint: Option<String>,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
}

/// A route, as `status` shows it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct RouteStatus {
    /// The name that the config gives it.
    pub name: String,
    /// The host or its pattern.
    pub host: String,
    /// The port; 443 unless the config says another.
    pub port: u16,
    /// Whose token goes in; `None`: nobody's.
    pub credential: Option<String>,
    /// Whether it refuses what it matches.
    pub deny: bool,
}

/// A credential, as `status` shows it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct CredentialStatus {
    /// The name that the config gives it.
    pub name: String,
    /// How its tokens are made, as in the config.
    pub grant: String,
    /// `Some(true)`: its secret is what goes to the API.
    pub standing: Option<bool>,
    /// How the last mint ended, `ok` or a code; `None`: there was none.
    pub last_mint: Option<CodeAt>,
    /// Why the last mint failed; `None`: it did not.
    pub last_error: Option<MintError>,
    /// Seconds that its token lives on; `None`: there is none.
    pub remaining_s: Option<u64>,
}

/// A code, and when it was met.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct CodeAt {
    /// A stable word, or `ok` where nothing failed.
    pub code: String,
    /// When that was, RFC 3339.
    pub time: String,
}

/// Why the last mint of a credential failed.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct MintError {
    /// A stable word, or `ok` where nothing failed.
    pub code: String,
    /// When that was, RFC 3339.
    pub time: String,
    /// What the issuer said to it, cleaned.
    pub issuer: Option<String>,
}

/// A login, as `status` shows it. What is not known of it is absent.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct LoginStatus {
    /// The credential that the login is for.
    pub credential: String,
    /// The URL of the issuer that it was made at.
    pub issuer: String,
    /// `logged-in`, `ended`, `none`, `unreadable` or `left-behind`.
    pub state: String,
    /// The client that it was made as, of one that is left behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Why it has ended, or cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Who, by the issuer's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What was granted, words with spaces between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// What the config asks for and was not granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_granted: Option<Vec<String>>,
    /// When somebody logged in, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When it was last renewed, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewed: Option<String>,
    /// Its end, RFC 3339; `None`: the issuer does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Seconds until its end; `None`: that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_s: Option<u64>,
    /// What keeps it from being read at rest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protected_by: Option<String>,
    /// The command for what an upstream wants more of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_up: Option<String>,
}

/// A program that broke off TLS handshakes: it does not trust the local CA, or one of its TLS
/// libraries does not.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct DistrustStatus {
    /// The path of the program; `None`: its process was not found.
    pub exe: Option<String>,
    /// How many of the last 256 handshakes that were broken off.
    pub times: usize,
    /// The host that it asked for last.
    pub host: String,
    /// When that was, RFC 3339.
    pub last: String,
    /// It has ended other handshakes.
    pub ends_others: bool,
}

/// A token that is held, or why there is none; never its value.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct TokenStatus {
    /// The credential that it was minted for.
    pub credential: String,
    /// The client that it is for, as the audit names it.
    pub client: String,
    /// What the audit calls it.
    pub fingerprint: Option<String>,
    /// Its end, RFC 3339; `None`: there is no token.
    pub expires: Option<String>,
    /// Seconds since it was minted.
    pub age_s: Option<u64>,
    /// Seconds until its end; `None`: that is not known.
    pub remaining_s: Option<u64>,
    /// Why the last try failed, while the next one waits.
    pub last_error: Option<CodeAt>,
}

/// A session, as anybody of this user may see it; never its secret.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct SessionStatus {
    /// The name that it is listed and ended by.
    pub name: String,
    /// What opened it: `env`, `open`, `preshared` or `run`.
    pub kind: String,
    /// The login name of the person that it is for.
    pub user: Option<String>,
    /// What it is for, in words of whoever opened it.
    pub reason: Option<String>,
    /// The directory that it was opened in.
    pub project: Option<String>,
    /// Routes that it is limited to; `None`: all.
    pub routes: Option<Vec<String>>,
    /// The user of this machine that it is bound to.
    pub uid: Option<u32>,
    /// Its end, RFC 3339; `None`: that of its process, or none.
    pub until: Option<String>,
}

/// `GET /v1/sessions` gives a list of these.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ListedSession {
    /// The session itself, in the same object.
    #[serde(flatten)]
    pub session: SessionStatus,
    /// The address that it was given, where that is not the daemon's any more.
    pub holds_address: Option<String>,
}

/// `GET /v1/sessions/NAME`: what came since it was opened.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct CountedSession {
    /// The session itself, in the same object.
    #[serde(flatten)]
    pub session: SessionStatus,
    /// How often something came in its name.
    pub admitted: u64,
    /// How often something came in nobody's, which may have been its tool's: Java reads no proxy
    /// credentials.
    pub unnamed: u64,
}

/// What is revoked, and since when (RFC 3339).
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct RevokedStatus {
    /// Since when everything is refused; `None`: it is not.
    pub all: Option<String>,
    /// Since when credentials are refused, by name.
    pub credentials: BTreeMap<String, String>,
    /// Sessions of the config by name.
    pub sessions: BTreeMap<String, String>,
    /// Since when users are refused, by login name.
    pub users: BTreeMap<String, String>,
}

/// Whether the audit can be written, and what was lost.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct AuditStatus {
    /// The file that is written now.
    pub path: PathBuf,
    /// Why it cannot be written; `None`: it can.
    pub failing: Option<String>,
    /// Since when it cannot, RFC 3339.
    pub since: Option<String>,
    /// Records that were not written.
    pub lost: u64,
}

/// What only a restart takes up.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct RestartNeeded {
    /// Keys of the config that differ from the start.
    pub changed: Vec<String>,
    /// The command that restarts this daemon.
    pub command: String,
}
