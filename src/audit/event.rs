//! The shape of a record, for writing and for reading: one struct, fields in PRODUCT.md's order.
//!
//! What is absent is left out. [`Event`] builds the records that belong to no single request;
//! `recorder` builds the others. Query values never get here: see [`RequestFacts::new`].
//!
//! [`RequestFacts::new`]: super::request::RequestFacts::new

use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use super::who::ClientFacts;
use super::who::key_facts;
pub(crate) use super::who::{client_facts, process_facts};
use crate::model::client::{Client, ClientKey};
use crate::model::clock::rfc3339_millis;
pub use crate::model::decision::Decision;
use crate::model::id::{CredentialName, PolicyHash, RequestId};
use crate::model::reason::Reason;
use crate::model::secret::Fingerprint;
use crate::model::target::Target;
use crate::model::token::Token;

/// One line of the audit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// Version of this shape: 1.
    pub v: u32,
    /// One more than the record before, from 1.
    pub seq: u64,
    /// When it was written: RFC 3339 with milliseconds, UTC.
    pub time: Cow<'a, str>,
    pub event: EventKind,
    /// The request's ULID, the same in its decisions and its outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Cow<'a, str>>,
    /// Who asked; `None`: nobody is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientFacts<'a>>,
    /// What was asked for; `None`: it is about no request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetFacts<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Why not, or what went wrong: a stable kebab-case word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Cow<'a, str>>,
    /// The policy snapshot that judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Cow<'a, str>>,
    /// The policies within it that decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<Cow<'a, str>>,
    /// The approval that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Cow<'a, str>>,
    /// Further facts of events that are not about one request.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub context: Map<String, Value>,
    /// The token that was minted or put in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenFacts<'a>>,
    /// A standing key that the client sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub static_key: Option<StaticKeyFacts<'a>>,
    /// The client's own credential passed where a token would have gone in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub client_credential: bool,
    /// The method that a field of the request names, judged as its own was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method_override: Option<Cow<'a, str>>,
    /// Fields of the request that stayed behind, because they could override what was judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<OutcomeFacts>,
    /// The hash of the record before; see `chain`.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub prev: Cow<'a, str>,
    /// The hash of this one.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub hash: Cow<'a, str>,
}

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// An approval was asked for, given or denied.
    Approval,
    /// The local CA was made or changed.
    Ca,
    /// A config was loaded or refused, or the audit itself has something to say.
    Config,
    Decision,
    /// A token was asked for.
    Mint,
    Outcome,
    /// A session was opened or ended.
    Session,
}

impl EventKind {
    /// The word that stands in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approval => "approval",
            Self::Ca => "ca",
            Self::Config => "config",
            Self::Decision => "decision",
            Self::Mint => "mint",
            Self::Outcome => "outcome",
            Self::Session => "session",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFacts<'a> {
    /// As sent; `CONNECT` for tunnels; `-` where the head of a request in one could not be read.
    pub method: Cow<'a, str>,
    /// The host in its canonical form.
    pub host: Cow<'a, str>,
    pub port: u16,
    /// Without the query; absent for CONNECT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Cow<'a, str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenFacts<'a> {
    /// The token's name: [`crate::model::secret::Secret::fingerprint`].
    pub fingerprint: Cow<'a, str>,
    /// When the token ends, in RFC 3339.
    pub expires: Cow<'a, str>,
    /// The scope that was granted; `None`: the issuer did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Cow<'a, str>>,
    /// Whether it is a static key, which no end here ends.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standing: bool,
}

impl<'a> From<&'a Token> for TokenFacts<'a> {
    fn from(token: &'a Token) -> Self {
        Self {
            fingerprint: token.fingerprint().as_str().into(),
            expires: token.expires_text().into(),
            scope: token.scope().map(Into::into),
            standing: token.is_standing(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticKeyFacts<'a> {
    /// The key's name: [`crate::model::secret::Secret::keyed_fingerprint`].
    pub fingerprint: Cow<'a, str>,
    /// What it looks like: `github`, `jwt`, …
    pub kind: Cow<'a, str>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeFacts {
    /// HTTP status that the client got; absent for tunnels and where it got none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Body (or tunnel) bytes from the client.
    pub bytes_in: u64,
    /// Body (or tunnel) bytes to the client.
    pub bytes_out: u64,
    /// From the first byte judged to the end.
    pub ms: u64,
}

/// A record that belongs to no single request (or, as `mint`, to more than one).
#[derive(Clone, Debug)]
pub struct Event<'a>(Record<'a>, Option<(&'a Client, Reason)>);

impl<'a> Event<'a> {
    pub fn minted(credential: &'a CredentialName, token: &'a Token) -> Self {
        let mut event = Self::mint(credential, "minted");
        event.0.token = Some(token.into());
        if token.is_standing() {
            event = event.with("standing", true);
        }
        event
    }

    /// A token could not be minted.
    pub fn mint_failed(credential: &'a CredentialName, reason: Reason) -> Self {
        Self::mint(credential, "failed").code(reason.code())
    }

    /// A token was revoked at its issuer, or could not be.
    pub fn revoked(
        credential: &'a CredentialName,
        token: &'a Token,
        failed: Option<Reason>,
    ) -> Self {
        let action = if failed.is_some() { "revocation-failed" } else { "revoked" };
        let mut event = Self::mint(credential, action);
        event.0.token = Some(token.into());
        match failed {
            Some(reason) => event.code(reason.code()),
            None => event,
        }
    }

    /// `action`: `opened`, `ended`, `revoked`. `until`: its end, where it has one.
    pub fn session(action: &'a str, client: &'a Client, until: Option<SystemTime>) -> Self {
        let mut event = Self::new(EventKind::Session, action);
        event.0.client = client_facts(client);
        match until {
            Some(until) => event.with("until", rfc3339_millis(until)),
            None => event,
        }
    }

    /// `action`: `logged-in`, `logged-out`: a person, for a credential. `user`: by the issuer's
    /// word.
    pub fn login(action: &'a str, credential: &'a CredentialName, user: Option<&str>) -> Self {
        let mut event = Self::new(EventKind::Session, action);
        event.0.credential = Some(credential.as_str().into());
        match user {
            Some(user) => event.with("user", user),
            None => event,
        }
    }

    /// A standing key took the place of another.
    pub fn rotated(credential: &'a CredentialName) -> Self {
        let mut event = Self::new(EventKind::Config, "credential-rotated");
        event.0.credential = Some(credential.as_str().into());
        event
    }

    /// `action`: `loaded`, `refused`. `policy`: the snapshot that holds from now on.
    pub fn config(action: &'a str, policy: Option<&'a PolicyHash>) -> Self {
        let mut event = Self::new(EventKind::Config, action);
        event.0.policy = policy.map(|p| p.as_str().into());
        event
    }

    /// `action`: `created`, `rotated`, `installed`, …
    pub fn ca(action: &'a str) -> Self {
        Self::new(EventKind::Ca, action)
    }

    /// A request that was refused before it named a target that can be written down.
    pub fn malformed(request: RequestId, client: &'a Client, reason: Reason) -> Self {
        let mut record = Record::empty(EventKind::Decision);
        record.client = client_facts(client);
        record.decision = Some(Decision::Deny);
        Self(record, Some((client, reason))).request(request).code(reason.code())
    }

    /// So many refusals of a client that have no records of their own.
    pub(crate) fn refusals(client: &'a Client, reason: Reason, count: u64) -> Self {
        let mut record = Record::empty(EventKind::Decision);
        record.client = client_facts(client);
        record.decision = Some(Decision::Deny);
        Self(record, None).code(reason.code()).with("refusals", count)
    }

    /// What the audit says about itself.
    pub(crate) fn notice(code: &'a str) -> Self {
        Self::new(EventKind::Config, "audit").code(code)
    }

    /// Adds a fact to `context`. Never a secret, never a query value.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.context.insert(key.into(), value.into());
        self
    }

    /// Adds the stable word for what went wrong.
    #[must_use]
    pub fn code(mut self, code: &'a str) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// Says whose token it is.
    #[must_use]
    pub fn of(mut self, client: &'a ClientKey) -> Self {
        self.0.client = key_facts(client);
        self
    }

    /// In which tunnel it was, and what would have judged it.
    #[must_use]
    pub fn within(mut self, tunnel: &Target, policy: &'a PolicyHash) -> Self {
        self.0.target = Some(TargetFacts {
            method: "-".into(),
            host: tunnel.host.to_string().into(),
            port: tunnel.port,
            path: None,
        });
        self.0.policy = Some(policy.as_str().into());
        self
    }

    /// Names the request that caused it.
    #[must_use]
    pub fn request(mut self, request: RequestId) -> Self {
        self.0.request = Some(request.to_string().into());
        self
    }

    /// Whose request, without a recorder, was refused, and why.
    pub(crate) fn refused(&self) -> Option<(&'a Client, Reason)> {
        self.1
    }

    pub(crate) fn into_record(self) -> Record<'a> {
        self.0
    }

    fn mint(credential: &'a CredentialName, action: &'a str) -> Self {
        let mut event = Self::new(EventKind::Mint, action);
        event.0.credential = Some(credential.as_str().into());
        event
    }

    fn new(kind: EventKind, action: &str) -> Self {
        Self(Record::empty(kind), None).with("action", action)
    }
}

impl Record<'_> {
    /// A record with nothing in it but its kind; the audit numbers, dates and seals it.
    pub(crate) fn empty(event: EventKind) -> Self {
        Self {
            v: 1,
            seq: 0,
            time: Cow::Borrowed(""),
            event,
            request: None,
            client: None,
            target: None,
            route: None,
            credential: None,
            decision: None,
            code: None,
            policy: None,
            policies: Vec::new(),
            approval: None,
            context: Map::new(),
            token: None,
            static_key: None,
            client_credential: false,
            method_override: None,
            dropped: Vec::new(),
            outcome: None,
            prev: Cow::Borrowed(""),
            hash: Cow::Borrowed(""),
        }
    }
}

impl<'a> StaticKeyFacts<'a> {
    /// Of what `inject` found. `kind`: what the key looks like.
    pub fn new(fingerprint: &'a Fingerprint, kind: &'a str) -> Self {
        Self { fingerprint: fingerprint.as_str().into(), kind: kind.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let name = CredentialName::new("orders");
        let record = Event::mint_failed(&name, Reason::IssuerRefused).with("n", 1).into_record();
        let text = serde_json::to_string(&record).unwrap();
        let back: Record<'static> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, record);
    }
}
