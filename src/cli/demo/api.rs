//! A real API in small: TLS, and a bearer JWT whose signature, issuer, audience, scope and end
//! it verifies on every request. It keeps what it saw, for the demo to tell.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use jsonwebtoken::{Algorithm, Validation, decode, get_current_timestamp};

use super::issuer::{AUDIENCE, Claims, Issuer, SCOPE};
use super::net::{self, DemoAnswer};
use super::pki::Pki;
use crate::cli::failure::Failure;
use crate::model::lock::lock;
use crate::model::placeholder::Placeholder;

/// What arrived in one request.
#[derive(Clone, Debug)]
pub(super) struct SeenRequest {
    /// Fields named `authorization`.
    pub(super) authorizations: usize,
    /// Fields named `x-api-key`.
    pub(super) api_keys: usize,
    /// Whether a placeholder came in any field or in the target.
    pub(super) placeholder: bool,
    /// The token's claims, where they were accepted.
    pub(super) claims: Option<Claims>,
    /// The token itself, so that its end can be shown; never printed.
    pub(super) token: Option<String>,
}

pub(in crate::cli) struct Api {
    issuer: Arc<Issuer>,
    validation: Validation,
    /// Where it really listens.
    pub(in crate::cli) address: SocketAddr,
    seen: Mutex<Vec<SeenRequest>>,
}

impl Api {
    /// Starts it on a free port of loopback. Must be called inside a runtime.
    pub(super) async fn start(issuer: Arc<Issuer>, pki: &Pki) -> Result<Arc<Self>, Failure> {
        let (listener, address) = net::listen().await?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&[AUDIENCE]);
        validation.set_issuer(&[issuer.url()]);
        validation.set_required_spec_claims(&["aud", "exp", "iss", "sub"]);
        // A token that lives 5 s has no room for the usual minute.
        validation.leeway = 0;
        let api = Arc::new(Self { issuer, validation, address, seen: Mutex::default() });
        let serving = Arc::clone(&api);
        net::serve(listener, Some(pki.server()?), move |request| {
            let api = Arc::clone(&serving);
            async move { api.answer(&request) }
        });
        Ok(api)
    }

    pub(super) fn seen(&self) -> Vec<SeenRequest> {
        lock(&self.seen).clone()
    }

    /// What it would say to this token now.
    pub(super) fn judge(&self, token: &str) -> Result<Claims, &'static str> {
        let claims = decode::<Claims>(token, &self.issuer.public_key, &self.validation)
            .map_err(|error| match error.kind() {
                jsonwebtoken::errors::ErrorKind::ExpiredSignature => "the token has ended",
                jsonwebtoken::errors::ErrorKind::InvalidSignature => "the signature is wrong",
                _ => "not a token of our issuer for us",
            })?
            .claims;
        // The library takes a token during the second it ends in; RFC 7519 section 4.1.4 doesn't.
        if claims.exp <= get_current_timestamp() {
            return Err("the token has ended");
        }
        if claims.scope.split(' ').any(|scope| scope == SCOPE) {
            Ok(claims)
        } else {
            Err("the scope does not allow it")
        }
    }

    fn answer(&self, request: &Request<Incoming>) -> DemoAnswer {
        let headers = request.headers();
        let token = bearer(headers);
        let verdict = token.map_or(Err("no bearer token"), |token| self.judge(token));
        let in_headers = headers.values().any(|value| Placeholder::found_in(value.as_bytes()));
        let in_target = Placeholder::found_in(request.uri().to_string().as_bytes());
        lock(&self.seen).push(SeenRequest {
            authorizations: headers.get_all("authorization").iter().count(),
            api_keys: headers.get_all("x-api-key").iter().count(),
            placeholder: in_headers || in_target,
            claims: verdict.clone().ok(),
            token: token.map(str::to_owned),
        });
        match verdict {
            Err(why) => answer(StatusCode::UNAUTHORIZED, format!(r#"{{"error":"{why}"}}"#)),
            Ok(_) if request.method() == Method::GET => {
                let body = r#"{"orders":[{"id":1,"item":"a lamp"},{"id":2,"item":"a chair"}]}"#;
                answer(StatusCode::OK, body.to_owned())
            }
            Ok(_) => answer(StatusCode::NO_CONTENT, String::new()),
        }
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}

fn answer(status: StatusCode, body: String) -> DemoAnswer {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_its_issuers_tokens_and_no_others() {
        let runtime = crate::cli::context::runtime().unwrap();
        runtime.block_on(async {
            let pki = Pki::make().unwrap();
            let issuer = Issuer::start("secret".into(), 5).await.unwrap();
            let other = Issuer::start("secret".into(), 5).await.unwrap();
            let api = Api::start(Arc::clone(&issuer), &pki).await.unwrap();
            let token = issuer.mint().unwrap();
            assert_eq!(api.judge(&token).unwrap().aud, AUDIENCE);
            assert!(api.judge(&other.mint().unwrap()).is_err());
            let (signed, _) = token.rsplit_once('.').unwrap();
            assert!(api.judge(&format!("{signed}.AAAA")).is_err());
            assert!(api.judge("vk-placeholder-x").is_err());
        });
    }
}
