//! Where an issuer's endpoints are, by its own document (RFC 8414, OpenID Connect Discovery 1.0).
//!
//! The document is believed only as far as config named its issuer: the identifier must be repeated
//! to the letter, and every endpoint used must be on the issuer's origin or on one that config
//! names.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Uri;

use super::answer::{Metadata, metadata};
use super::endpoint::{failure, json_body};
use super::{AnswerError, MintError};
use crate::config::oauth::origin_of;
use crate::model::clock::{Clock, Deadline};
use crate::model::lock::lock;
use crate::model::target::Scheme;
use crate::net::client::Client;

/// What is wrong with an issuer's document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// Not found, not JSON, or without what is needed.
    #[error("the issuer's metadata is missing or malformed")]
    Document,
    /// The document names an endpoint at an origin that is neither its own nor in
    /// `endpoint_origins`.
    #[error("the issuer's metadata names an endpoint on an origin that config does not")]
    ForeignEndpoint,
    /// The document of somebody else.
    #[error("the metadata is that of another issuer")]
    OtherIssuer,
}

impl DiscoveryError {
    pub fn code(self) -> &'static str {
        match self {
            Self::Document => "discovery-invalid",
            Self::ForeignEndpoint => "discovery-foreign-endpoint",
            Self::OtherIssuer => "discovery-other-issuer",
        }
    }

    pub fn hint(self) -> &'static str {
        match self {
            Self::Document => {
                "open ISSUER/.well-known/openid-configuration; where there is none, use token_url in place of issuer"
            }
            Self::ForeignEndpoint => "if it is meant, name that origin in endpoint_origins",
            Self::OtherIssuer => {
                "`issuer` must be what the document says, to the letter, a final slash included"
            }
        }
    }
}

/// One issuer's document, and what of it is kept.
pub(super) struct Discovery {
    issuer: String,
    url: Uri,
    origins: Vec<String>,
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
    /// Endpoints are no secret; until then they need no second look.
    kept: Mutex<Option<(Found, Deadline)>>,
}

/// The endpoints of one issuer, each on an origin that config names.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub token: Uri,
    pub revocation: Option<Uri>,
    pub authorization: Later,
    pub device: Later,
    pub keys: Later,
    /// Whether it names itself in every answer that a browser brings (RFC 9207).
    pub says_issuer: bool,
    /// The same for clients that authenticate by certificate (RFC 8705 section 5).
    pub mtls_token: Option<Uri>,
    pub mtls_revocation: Option<Uri>,
}

/// An endpoint that only logins need, or what is wrong with it.
pub(super) type Later = Option<Result<Uri, DiscoveryError>>;

impl Discovery {
    pub(super) fn new(
        issuer: String,
        url: Uri,
        origins: Vec<String>,
        client: Arc<Client>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { issuer, url, origins, client, clock, kept: Mutex::default() }
    }

    pub(super) async fn endpoints(&self) -> Result<Found, MintError> {
        if let Some((found, until)) = &*lock(&self.kept)
            && !until.passed(self.clock.now())
        {
            return Ok(found.clone());
        }
        let found = self.look().await?;
        let until = Deadline::after(self.clock.now(), KEPT);
        *lock(&self.kept) = Some((found.clone(), until));
        Ok(found)
    }

    /// An endpoint that is gone, or no longer one, may have moved: the next mint looks again.
    pub(super) fn doubt(&self, error: &MintError) {
        let moved = match error {
            MintError::Unreachable(_) | MintError::Answer(_) => true,
            MintError::Refused { error, .. } => error.is_none(),
            _ => false,
        };
        if moved {
            *lock(&self.kept) = None;
        }
    }

    /// OpenID's place first, which most issuers serve, then RFC 8414's.
    async fn look(&self) -> Result<Found, MintError> {
        let path = self.url.path().trim_end_matches('/');
        let openid = format!("{path}/.well-known/openid-configuration");
        let oauth = format!("/.well-known/oauth-authorization-server{path}");
        for place in [openid, oauth] {
            let mut parts = self.url.clone().into_parts();
            parts.path_and_query = place.parse().ok();
            let url = Uri::from_parts(parts).map_err(|_| DiscoveryError::Document)?;
            let answer = self.client.get(&url).await?;
            match answer.status.as_u16() {
                200 => {
                    let body = json_body(&answer).map_err(DiscoveryError::from)?;
                    return self.judge(metadata(body).map_err(DiscoveryError::from)?);
                }
                404 | 410 => {}
                _ => return Err(failure(&answer, self.clock.now())),
            }
        }
        Err(DiscoveryError::Document.into())
    }

    fn judge(&self, document: Metadata) -> Result<Found, MintError> {
        if document.issuer.as_deref() != Some(&self.issuer) {
            return Err(DiscoveryError::OtherIssuer.into());
        }
        let endpoint = |text: Option<String>| text.map(|text| self.endpoint(&text)).transpose();
        // Judged where they are used: who only mints does not care where people log in.
        let later = |text: Option<String>| text.map(|text| self.endpoint(&text));
        let token = endpoint(document.token_endpoint)?.ok_or(DiscoveryError::Document)?;
        Ok(Found {
            token,
            revocation: endpoint(document.revocation_endpoint)?,
            authorization: later(document.authorization_endpoint),
            device: later(document.device_endpoint),
            keys: later(document.jwks),
            says_issuer: document.says_issuer,
            mtls_token: endpoint(document.mtls_token_endpoint)?,
            mtls_revocation: endpoint(document.mtls_revocation_endpoint)?,
        })
    }

    fn endpoint(&self, text: &str) -> Result<Uri, DiscoveryError> {
        let url: Uri = text.parse().map_err(|_| DiscoveryError::Document)?;
        let origin = origin_of(&url).ok_or(DiscoveryError::Document)?;
        let own = origin_of(&self.url).is_some_and(|own| own == origin);
        let named = self.origins.iter().any(|named| *named == origin.to_string());
        // The client refuses plain http to anything but loopback once more.
        let plain = origin.scheme == Scheme::Http && self.url.scheme_str() != Some("http");
        if plain || !(own || named) {
            return Err(DiscoveryError::ForeignEndpoint);
        }
        Ok(url)
    }
}

impl From<DiscoveryError> for MintError {
    fn from(error: DiscoveryError) -> Self {
        Self::Discovery(error)
    }
}

impl From<AnswerError> for DiscoveryError {
    fn from(_: AnswerError) -> Self {
        Self::Document
    }
}

/// Endpoints hardly ever move; one that is gone is looked up again at once.
const KEPT: Duration = Duration::from_secs(3600);
