//! A real issuer in small: OAuth 2.0 client credentials (RFC 6749 section 4.4) on loopback, JWTs
//! (RFC 7519) signed with ES256 by a key that is made at start and never written down.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, encode, get_current_timestamp};
use rcgen::KeyPair;
use serde::{Deserialize, Serialize};

use super::net::{self, DemoAnswer};
use crate::cli::failure::Failure;
use crate::model::id::random_text;
use crate::model::lock::lock;

/// The life of the demo's tokens, in seconds.
pub(super) const LIFE_S: u64 = 5;
/// Whom its tokens are for.
pub(super) const AUDIENCE: &str = "https://api.orders.example";
pub(super) const SCOPE: &str = "orders:read";
/// The one client it knows.
pub(super) const CLIENT_ID: &str = "orders-cli";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    /// [`AUDIENCE`].
    pub(super) aud: String,
    /// [`SCOPE`].
    pub(super) scope: String,
    /// When it was made, in seconds since 1970.
    pub(super) iat: u64,
    pub(super) exp: u64,
    pub(super) jti: String,
}

/// The issuer: its key, its one client, and what it has minted.
pub(in crate::cli) struct Issuer {
    url: String,
    client_secret: String,
    life_s: u64,
    key: EncodingKey,
    /// For the API, which verifies with it.
    pub(super) public_key: DecodingKey,
    /// Kept so that the demo can look for each of them where none may be.
    minted: Mutex<Vec<String>>,
}

impl Issuer {
    /// Starts it on a free port of loopback; its tokens live `life_s` seconds. Must be called
    /// inside a runtime.
    pub(super) async fn start(client_secret: String, life_s: u64) -> Result<Arc<Self>, Failure> {
        let (listener, address) = net::listen().await?;
        let pair =
            KeyPair::generate().map_err(|error| net::broken("make the issuer's key", &error))?;
        let issuer = Arc::new(Self {
            url: format!("http://{address}"),
            client_secret,
            life_s,
            key: EncodingKey::from_ec_der(pair.serialized_der()),
            public_key: DecodingKey::from_ec_der(pair.public_key_raw()),
            minted: Mutex::default(),
        });
        let serving = Arc::clone(&issuer);
        net::serve(listener, None, move |request| {
            let issuer = Arc::clone(&serving);
            async move { issuer.answer(request).await }
        });
        Ok(issuer)
    }

    /// As its tokens name it.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn token_url(&self) -> String {
        format!("{}/token", self.url)
    }

    pub(super) fn minted(&self) -> Vec<String> {
        lock(&self.minted).clone()
    }

    async fn answer(&self, request: Request<Incoming>) -> DemoAnswer {
        let authorized = net::basic(request.headers())
            .is_some_and(|(user, password)| user == CLIENT_ID && password == self.client_secret);
        if request.uri().path() != "/token" || !authorized {
            return json(StatusCode::UNAUTHORIZED, r#"{"error":"invalid_client"}"#.to_owned());
        }
        let body = Limited::new(request.into_body(), 4096).collect().await;
        let form = body.map(|body| body.to_bytes()).unwrap_or_default();
        if !form.split(|b| *b == b'&').any(|pair| pair == b"grant_type=client_credentials") {
            return json(
                StatusCode::BAD_REQUEST,
                r#"{"error":"unsupported_grant_type"}"#.to_owned(),
            );
        }
        match self.mint() {
            Some(token) => json(
                StatusCode::OK,
                format!(
                    // `exp` has whole seconds and may come up to one sooner.
                    r#"{{"access_token":"{token}","token_type":"Bearer","expires_in":{},"scope":"{SCOPE}"}}"#,
                    self.life_s - 1
                ),
            ),
            None => {
                json(StatusCode::INTERNAL_SERVER_ERROR, r#"{"error":"server_error"}"#.to_owned())
            }
        }
    }

    /// A token for [`AUDIENCE`].
    pub(in crate::cli) fn mint(&self) -> Option<String> {
        let now = get_current_timestamp();
        let claims = Claims {
            iss: self.url.clone(),
            sub: CLIENT_ID.to_owned(),
            aud: AUDIENCE.to_owned(),
            scope: SCOPE.to_owned(),
            iat: now,
            exp: now + self.life_s,
            jti: random_text().chars().take(12).collect(),
        };
        let token = encode(&Header::new(Algorithm::ES256), &claims, &self.key).ok()?;
        lock(&self.minted).push(token.clone());
        Some(token)
    }
}

fn json(status: StatusCode, body: String) -> DemoAnswer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    headers.insert("cache-control", http::HeaderValue::from_static("no-store"));
    answer
}
