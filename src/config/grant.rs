//! `[credentials.NAME]`, checked: the grants, and where their secrets come from.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{Exec, Helper, Http};

/// `[credentials.NAME]`
#[derive(Clone, Debug)]
pub struct Credential {
    /// How it mints.
    pub grant: Grant,
    /// Upper bound of a token's life, and its life where the issuer names none.
    pub ttl: Option<Duration>,
    /// Where it stands in the file.
    pub line: usize,
}

/// The grant of a credential with all it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// RFC 6749 section 4.4.
    ClientCredentials(ClientCredentials),
    /// What a program prints.
    Exec(Exec),
    /// An exchange that config describes.
    Http(Box<Http>),
    /// A standing secret, handed on as it is.
    StaticKey(StaticKey),
}

impl Grant {
    /// As written in config.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ClientCredentials(_) => "client-credentials",
            Self::Exec(_) => "exec",
            Self::Http(_) => "http",
            Self::StaticKey(_) => "static-key",
        }
    }

    /// Every secret that it is minted from: for `check`, and for what `run` takes out of a child's
    /// environment. Here, because a grant that forgot its secret there would hand it to the tool.
    pub fn secrets(&self) -> Vec<&SecretSource> {
        match self {
            Self::ClientCredentials(grant) => vec![&grant.client_secret],
            // The helper has its own ways to its secret.
            Self::Exec(_) => vec![],
            Self::Http(grant) => grant.secrets.values().collect(),
            Self::StaticKey(grant) => vec![&grant.secret],
        }
    }
}

/// `grant = "client-credentials"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCredentials {
    /// The token endpoint, `https`, or `http` to a loopback literal.
    pub token_url: ::http::Uri,
    /// RFC 6749 section 2.2.
    pub client_id: String,
    /// RFC 6749 section 2.3.1.
    pub client_secret: SecretSource,
    /// How the client authenticates at the token endpoint.
    pub auth: ClientAuth,
    /// Scopes asked for; empty: the issuer's default.
    pub scope: Vec<String>,
}

/// `auth` of `client-credentials`: how client_id and client_secret travel (RFC 6749 section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// In the `Authorization` field, form-encoded first.
    Basic,
    /// In the form body.
    Post,
}

/// `grant = "static-key"`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticKey {
    /// Where the key is.
    pub secret: SecretSource,
    /// The age beyond which it is refused.
    pub max_age: Option<Duration>,
    /// Since when it has been in use; `None`: since its file was changed.
    pub since: Option<SystemTime>,
}

/// Where a secret is read from: never a literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable of the daemon.
    Env(String),
    /// What a program prints; one trailing newline is dropped.
    Exec(Box<Helper>),
    /// A file; one trailing newline is dropped.
    File(PathBuf),
    /// `$CREDENTIALS_DIRECTORY/NAME` (systemd.exec(5), `LoadCredential=`).
    Systemd(String),
}

impl SecretSource {
    /// The environment variable that holds it, where one does.
    pub fn variable(&self) -> Option<&str> {
        match self {
            Self::Env(name) => Some(name),
            Self::Exec(_) | Self::File(_) | Self::Systemd(_) => None,
        }
    }

    /// The file that holds it, where config names one.
    pub fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Env(_) | Self::Exec(_) | Self::Systemd(_) => None,
        }
    }
}
