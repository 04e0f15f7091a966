//! `[[routes]]`, checked; patterns are still text, which `policy` compiles.

use std::collections::BTreeMap;

use super::slot::PathSlot;
use super::{OnStaticKey, Rate, Timeouts};
use crate::model::ask::Ask;
use crate::model::id::{CredentialName, RouteName, SessionName};
use crate::model::placeholder::Kind;

#[derive(Clone, Debug)]
pub struct Route {
    pub name: RouteName,
    /// DNS name, exact or with one leading `*.` label.
    pub host: String,
    pub port: u16,
    /// Upper case; empty: all but TRACE and TRACK.
    pub methods: Vec<String>,
    /// Globs of paths, one of which must match; empty: all.
    pub path: Vec<String>,
    /// What mints the token; `None`: pass without one.
    pub credential: Option<CredentialName>,
    /// How it narrows that credential.
    pub ask: Ask,
    /// Placements emptied before anything is put in.
    pub strip: Vec<Placement>,
    pub inject: Inject,
    /// Variables that `run` gives the tool: name to placeholder kind.
    pub env: BTreeMap<String, Kind>,
    /// Whom it serves; `None`: everyone.
    pub clients: Option<Vec<ClientSelector>>,
    /// Protocols that an upgrade may switch to, lower case.
    pub upgrade: Vec<Box<str>>,
    /// Fields that are passed on though they could override something of the request.
    pub keep: Vec<::http::HeaderName>,
    /// How long its requests may take where nothing moves.
    pub timeouts: Timeouts,
    /// What each client may have of it.
    pub rate_limit: Option<Rate>,
    pub deny: bool,
    /// Whether answers to requests with a token are searched for it, bodies included.
    pub redact: bool,
    /// Whether cookies that were bought with a token stay behind.
    pub strips_cookies: bool,
    /// Whether an answer without a length that ends without TLS's word for it is an error.
    pub refuses_unvouched: bool,
    /// Whether the token goes in only where one of our placeholders stands.
    pub only_placeholders: bool,
    /// What to do where the tool sends what looks like a real key.
    pub on_static_key: OnStaticKey,
    /// Whether endpoints that give out tokens may be reached with this route's own.
    pub allow_token_endpoint: bool,
}

/// A place that `strip` empties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// A header field, lower case.
    Header(::http::HeaderName),
    /// A query parameter, decoded name.
    Query(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inject {
    /// RFC 7617: user of config, the token as password.
    Basic {
        /// May not hold a colon.
        user: String,
    },
    /// A header field, with a scheme before the token or none.
    Header {
        /// The field's name, in lower case.
        name: ::http::HeaderName,
        /// `Bearer`, `token`, …
        scheme: Option<String>,
    },
    /// One segment of the path.
    Path(PathSlot),
    /// A query parameter, decoded name.
    Query(String),
}

impl Inject {
    /// The field that it writes, if it is one.
    pub fn header(&self) -> Option<&::http::HeaderName> {
        match self {
            Self::Basic { .. } => Some(&::http::header::AUTHORIZATION),
            Self::Header { name, .. } => Some(name),
            Self::Path(_) | Self::Query(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientSelector {
    /// `session:NAME`
    Session(SessionName),
    /// `uid:N`
    Uid(u32),
    /// `user:NAME`
    User(String),
}
