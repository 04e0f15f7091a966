//! The token-endpoint call that most grants end in (RFC 6749 section 3.2), and its strict answer.
//!
//! Grants hand their parameters over and never see a secret's bytes: [`Form`] and [`basic`] are
//! where they become bytes for the wire.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use zeroize::Zeroizing;

use super::answer::{Expect, Granted};
use super::beside::{self, Beside, DeviceAnswer};
use super::json::Document;
use super::{AnswerError, DEFAULT_LIFE, MintError, answer, jws, retry_after};
use crate::config::oauth::origin_of;
use crate::model::clock::{Clock, Deadline, Moment};
use crate::model::dpop::{self, ProofKey};
use crate::model::secret::Secret;
use crate::model::token::Token;
use crate::net::client::{self, Client, ClientError, IssuerAnswer};

pub struct Endpoint {
    url: Uri,
    client: Arc<Client>,
    clock: Arc<dyn Clock>,
}

/// One call of a token endpoint.
pub struct Call<'a> {
    /// The `Authorization` field, where the client authenticates there.
    pub authorization: Option<Secret>,
    pub form: Form,
    /// The scopes that are asked for and those that an answer may have.
    pub scopes: Scopes<'a>,
    /// The upper bound of the token's life.
    pub ttl: Option<Duration>,
    /// What kind of token is asked for.
    pub(super) expect: Expect<'a>,
    /// What the token is to be bound to.
    pub(super) dpop: Option<&'a Arc<ProofKey>>,
}

/// What is asked for, and what may come of it; empty: the issuer's default.
#[derive(Clone, Copy, Debug)]
pub struct Scopes<'a> {
    pub asked: &'a [String],
    /// What config asks for, which the answer may not exceed: more than `asked` where a login was
    /// granted less.
    pub most: &'a [String],
}

impl<'a> Scopes<'a> {
    /// All that config asks for.
    pub fn all(most: &'a [String]) -> Self {
        Self { asked: most, most }
    }
}

impl Endpoint {
    /// At `url`, which config has checked.
    pub fn new(url: Uri, client: Arc<Client>, clock: Arc<dyn Clock>) -> Self {
        Self { url, client, clock }
    }

    /// Asks once. The token's life counts from before the request was sent, so that it never
    /// ends later here than at the issuer.
    pub async fn ask(&self, ask: Call<'_>) -> Result<Token, MintError> {
        self.ask_all(ask).await?.token
    }

    /// As [`Self::ask`], with what stands beside the token. An error means that nothing was given
    /// at all.
    pub(super) async fn ask_all(&self, ask: Call<'_>) -> Result<Given, MintError> {
        let asked = self.clock.now();
        let answer = self.post(ask.authorization, ask.form, ask.dpop).await?;
        let now = self.clock.now();
        let body = match answer.status.as_u16() {
            200 => json_body(&answer)?,
            _ => return Err(failure(&answer, now)),
        };
        let granted =
            answer::granted(body, ask.expect, ask.dpop.is_some()).map_err(MintError::from);
        let token = granted.and_then(|granted| token(granted, ask.scopes, ask.ttl, asked, now));
        let token = match ask.dpop {
            Some(key) => token.map(|token| token.bound_to(Arc::clone(key))),
            None => token,
        };
        Ok(Given { token, beside: beside::beside(body) })
    }

    /// With a proof where a token is to be bound; the nonce that comes back is kept.
    async fn post(
        &self,
        authorization: Option<Secret>,
        form: Form,
        key: Option<&Arc<ProofKey>>,
    ) -> Result<IssuerAnswer, MintError> {
        let form = form.into_secret();
        let Some(key) = key else {
            return Ok(self.client.post_form(&self.url, authorization, form).await?);
        };
        // Config and discovery take http(s) URLs only.
        let origin = origin_of(&self.url).ok_or(ClientError::Insecure)?;
        let proof = key.prove("POST", &origin, self.url.path(), None);
        let proof = proof.ok_or(MintError::Key(jws::KeyError::Unusable))?;
        let authorization = authorization.map(|value| (AUTHORIZATION, value));
        let headers = authorization
            .into_iter()
            .chain([(HeaderName::from_static(dpop::PROOF), proof)])
            .collect();
        let body = Some(("application/x-www-form-urlencoded", form));
        let call = client::Call { method: Method::POST, url: &self.url, headers, body };
        let answer = self.client.call(call).await?;
        let nonces = answer.headers.get_all(dpop::NONCE).iter().map(HeaderValue::as_bytes);
        key.learn(&origin, nonces);
        Ok(answer)
    }

    /// Asks for a code that a person types (RFC 8628 section 3.1).
    pub(super) async fn device(
        &self,
        authorization: Option<Secret>,
        form: Form,
    ) -> Result<DeviceAnswer, MintError> {
        let answer = self.client.post_form(&self.url, authorization, form.into_secret()).await?;
        match answer.status.as_u16() {
            200 => Ok(beside::device(json_body(&answer)?)?),
            _ => Err(failure(&answer, self.clock.now())),
        }
    }

    /// Asks for a revocation (RFC 7009 section 2.2): 200 is done, whatever the body.
    pub async fn revoke(&self, authorization: Option<Secret>, form: Form) -> Result<(), MintError> {
        let answer = self.client.post_form(&self.url, authorization, form.into_secret()).await?;
        match answer.status.as_u16() {
            200 => Ok(()),
            _ => Err(failure(&answer, self.clock.now())),
        }
    }
}

#[derive(Debug)]
pub(super) struct Given {
    /// The token, or what is wrong with it.
    pub token: Result<Token, MintError>,
    /// What came beside the token: a refresh token, an id token.
    pub beside: Beside,
}

fn token(
    granted: Granted,
    scopes: Scopes<'_>,
    ttl: Option<Duration>,
    asked: Moment,
    now: Moment,
) -> Result<Token, MintError> {
    let life = match (granted.expires_in, ttl) {
        (Some(expires_in), Some(ttl)) => expires_in.min(ttl),
        (Some(life), None) | (None, Some(life)) => life,
        (None, None) => DEFAULT_LIFE,
    };
    let end = Deadline::after(asked, life);
    if end.passed(now) {
        return Err(AnswerError::ExpiresIn.into());
    }
    let scope = granted_scope(scopes, granted.scope)?;
    let token = Token::new(granted.value, asked, end, scope.map(Arc::from));
    token.map_err(|_| AnswerError::AccessTokenBytes.into())
}

/// The body, where it says that it is JSON.
pub(super) fn json_body(answer: &IssuerAnswer) -> Result<&[u8], AnswerError> {
    if !is_json(&answer.headers) {
        return Err(AnswerError::ContentType);
    }
    Ok(answer.body.expose())
}

impl IssuerAnswer {
    /// Its body as a document of any shape.
    pub(super) fn document(&self) -> Result<Document, AnswerError> {
        Document::read(self.body.expose())
    }
}

/// What a status other than 200 means.
pub(super) fn failure(answer: &IssuerAnswer, now: Moment) -> MintError {
    let retry_after = retry_after::parse(&answer.headers, now.wall);
    let refusal = || match is_json(&answer.headers) {
        true => answer::refusal(answer.body.expose()),
        false => answer::IssuerRefusal::default(),
    };
    match answer.status.as_u16() {
        300..=399 => AnswerError::Redirect.into(),
        status @ (408 | 425 | 429 | 500..=599) => {
            MintError::Busy { status, said: refusal().said, retry_after }
        }
        400..=499 => {
            let answer::IssuerRefusal { error, said } = refusal();
            MintError::Refused { error, said, retry_after }
        }
        _ => AnswerError::Status.into(),
    }
}

/// One `application/json`, in UTF-8 (RFC 8259 section 8.1) and without content coding.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return false };
    let Ok(kind) = kind.to_str() else { return false };
    let mut parts = kind.split(';').map(str::trim);
    let json = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let utf8 = parts.filter_map(|parameter| parameter.split_once('=')).all(|(name, value)| {
        !name.eq_ignore_ascii_case("charset")
            || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    let plain = headers.get_all(CONTENT_ENCODING).iter().all(|coding| coding == "identity");
    json && utf8 && plain
}

/// The scope of the token: what the issuer says, else what was asked (RFC 6749 section 5.1).
/// More than config asks for is refused: somebody reviewed that.
fn granted_scope(
    Scopes { asked, most }: Scopes<'_>,
    granted: Option<String>,
) -> Result<Option<String>, AnswerError> {
    let Some(granted) = granted else {
        return Ok((!asked.is_empty()).then(|| asked.join(" ")));
    };
    let within = |word: &str| most.iter().any(|most| most == word);
    if !most.is_empty() && !granted.split(' ').filter(|word| !word.is_empty()).all(within) {
        return Err(AnswerError::ScopeWidened);
    }
    Ok(Some(granted))
}

/// An `application/x-www-form-urlencoded` body, wiped when dropped.
pub struct Form(Zeroizing<Vec<u8>>);

impl Form {
    /// A form with `grant_type`.
    pub fn new(grant_type: &str) -> Self {
        Self::empty().text("grant_type", grant_type)
    }

    /// A form without a parameter.
    pub(super) fn empty() -> Self {
        Self(Zeroizing::default())
    }

    /// The same form once more, for a second try.
    pub(super) fn again(&self) -> Self {
        Self(self.0.clone())
    }

    /// Adds what is asked for: `scope`, and `audience` and `resource`, once for each.
    pub fn asking(mut self, scope: &[String], audience: &[String], resource: &[String]) -> Self {
        if !scope.is_empty() {
            self = self.text("scope", &scope.join(" "));
        }
        for name in audience {
            self = self.text("audience", name);
        }
        for uri in resource {
            self = self.text("resource", uri);
        }
        self
    }

    pub fn text(mut self, name: &str, value: &str) -> Self {
        self.add(name, value.as_bytes());
        self
    }

    pub fn secret(mut self, name: &str, value: &Secret) -> Self {
        self.add(name, value.expose());
        self
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        // Into a buffer that has room for all of it: one that grows leaves copies behind that
        // nobody wipes; the old one is wiped here.
        let room = self.0.len() + 2 + 3 * (name.len() + value.len());
        let mut form = Zeroizing::new(Vec::with_capacity(room));
        form.extend_from_slice(&self.0);
        if !form.is_empty() {
            form.push(b'&');
        }
        form_encode(name.as_bytes(), &mut form);
        form.push(b'=');
        form_encode(value, &mut form);
        self.0 = form;
    }

    /// For an address: nothing secret is in it.
    pub(super) fn into_query(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    pub(super) fn into_secret(mut self) -> Secret {
        Secret::new(std::mem::take(&mut *self.0))
    }
}

/// `Basic` of a client id and secret, both form-encoded first (RFC 6749 section 2.3.1).
pub fn basic(id: &str, secret: &Secret) -> Secret {
    let mut pair = Zeroizing::new(Vec::with_capacity(3 * (id.len() + secret.len()) + 1));
    form_encode(id.as_bytes(), &mut pair);
    pair.push(b':');
    form_encode(secret.expose(), &mut pair);
    let mut value = Zeroizing::new(String::with_capacity(8 + pair.len().div_ceil(3) * 4));
    value.push_str("Basic ");
    STANDARD.encode_string(&*pair, &mut value);
    Secret::new(std::mem::take(&mut *value))
}

/// The URL standard's form encoding: letters, digits and `*-._` stay, a space becomes `+`.
fn form_encode(bytes: &[u8], to: &mut Vec<u8>) {
    // In pieces, none of which is a copy: what is encoded may be a secret.
    for piece in percent_encode(bytes, FORM) {
        to.extend_from_slice(if piece == "%20" { b"+" } else { piece.as_bytes() });
    }
}

/// What is written as `%XX`; a space becomes `+`.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');
