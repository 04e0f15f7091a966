//! The OAuth grants and what is signed here, from their tables.

use std::collections::BTreeMap;

use super::Check;
use super::asks::{RESERVED_CLAIMS, TEMPLATE, check_words, is_audience, is_resource};
use super::credentials::{is_scope, parse_endpoint};
use super::tables::parse_duration;
use crate::config::file::oauth::{self as table, TokenEndpointAuth};
use crate::config::oauth::origin_of;
use crate::config::problem::Problems;
use crate::config::wording::{meant, named};
use crate::config::{
    Algorithm, Claim, ClientAuth, Endpoints, Identity, Jwt, JwtBearer, KeyJwt, Oauth, SecretSource,
    Signed, TokenExchange, TypedToken, file,
};
use crate::model::ask::Template;

/// Parameters that the grants set themselves, or that would be a secret written into the config.
pub(super) const RESERVED_PARAMS: &[&str] = &[
    "actor_token",
    "actor_token_type",
    "assertion",
    "audience",
    "client_assertion",
    "client_assertion_type",
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "device_code",
    "grant_type",
    "password",
    "refresh_token",
    "requested_token_type",
    "resource",
    "scope",
    "subject_token",
    "subject_token_type",
    "token",
];

/// Notes problems of one credential, all on its line.
pub(super) struct Notes<'a> {
    line: usize,
    problems: &'a mut Problems,
}

impl<'a> Notes<'a> {
    pub(super) fn new(line: usize, problems: &'a mut Problems) -> Self {
        Self { line, problems }
    }

    pub(super) fn error(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.problems.error(self.line, code, message, hint);
    }

    pub(super) fn missing(&mut self, key: &str, why: &str) {
        self.error("missing-key", format!("`{key}` is missing"), why);
    }

    fn template(&mut self, text: &str) -> Template {
        Template::parse(text).unwrap_or_else(|error| {
            self.error("bad-template", error.to_string(), TEMPLATE);
            Template::default()
        })
    }

    fn algorithm(&mut self, word: &str) -> Option<Algorithm> {
        let found = Algorithm::parse(word);
        if found.is_none() {
            let all: Vec<_> = Algorithm::ALL.iter().map(|a| a.as_str()).collect();
            let message = format!("there is no such signature algorithm{}", named(word));
            let meant = meant(word, all.iter().copied());
            self.error("bad-algorithm", message, format!("{meant}{}", all.join(", ")));
        }
        found
    }
}

impl Check<'_> {
    fn noted(&self, source: file::SecretTable, notes: &mut Notes<'_>) -> Option<SecretSource> {
        self.secret(source, notes.line, notes.problems)
    }

    pub(super) fn oauth(
        &self,
        table: table::OauthTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<Oauth> {
        check_words(&table.scope, "scope", line, is_scope, problems);
        check_words(&table.audience, "audience", line, is_audience, problems);
        check_words(&table.resource, "resource", line, is_resource, problems);
        let mut notes = Notes { line, problems };
        for name in table.params.keys() {
            if RESERVED_PARAMS.contains(&name.to_ascii_lowercase().as_str()) {
                let message = format!("`params` cannot set `{name}`");
                notes.error("reserved-param", message, "it has a key of its own, or is a secret");
            }
        }
        let endpoints = endpoints(&table, &mut notes);
        let auth = self.client_auth(&table, &mut notes);
        Some(Oauth {
            endpoints: endpoints?,
            auth: auth?,
            client_id: table.client_id,
            scope: table.scope,
            audience: table.audience,
            resource: table.resource,
            params: table.params,
            dpop: table.dpop_bound_access_tokens,
        })
    }

    fn client_auth(&self, table: &table::OauthTable, notes: &mut Notes<'_>) -> Option<ClientAuth> {
        use TokenEndpointAuth::{Basic, None as Nothing, Post, PrivateKeyJwt, TlsClientAuth};
        let default = if table.client_secret.is_some() { Basic } else { Nothing };
        let auth = table.auth.unwrap_or(default);
        let mut uses = |given: bool, key: &str, by: &[TokenEndpointAuth]| {
            let same = |other: &TokenEndpointAuth| {
                std::mem::discriminant(other) == std::mem::discriminant(&auth)
            };
            match (given, by.iter().any(same)) {
                (true, false) => {
                    let message = format!("`{key}` does not go with this `auth`");
                    notes.error("unused-key", message, "take it out, or choose another `auth`");
                }
                (false, true) => notes.missing(key, "`auth` asks for it"),
                _ => {}
            }
        };
        uses(table.client_secret.is_some(), "client_secret", &[Basic, Post]);
        uses(table.client_key.is_some(), "client_key", &[PrivateKeyJwt, TlsClientAuth]);
        uses(table.client_key_algorithm.is_some(), "client_key_algorithm", &[PrivateKeyJwt]);
        uses(table.client_cert.is_some(), "client_cert", &[TlsClientAuth]);
        if table.client_id.is_none() && !matches!(auth, Nothing) {
            notes.missing("client_id", "`auth` asks for it");
        }
        Some(match auth {
            Nothing => ClientAuth::None,
            Basic => ClientAuth::Basic(self.noted(table.client_secret.clone()?, notes)?),
            Post => ClientAuth::Post(self.noted(table.client_secret.clone()?, notes)?),
            PrivateKeyJwt => {
                let algorithm = notes.algorithm(table.client_key_algorithm.as_deref()?)?;
                if algorithm.is_shared() {
                    let hint = "\"RS256\", \"PS256\", \"ES256\", \"ES384\" or \"EdDSA\"";
                    notes.error(
                        "bad-algorithm",
                        "a client's proof is signed by a private key",
                        hint,
                    );
                }
                ClientAuth::PrivateKeyJwt(KeyJwt {
                    key: self.noted(table.client_key.clone()?, notes)?,
                    algorithm,
                    key_id: table.client_key_id.clone(),
                    audience: table.client_assertion_audience.clone(),
                })
            }
            TlsClientAuth => ClientAuth::TlsClientAuth(Identity {
                chain: self.held(self.beside_config(table.client_cert.clone()?)),
                key: self.noted(table.client_key.clone()?, notes)?,
            }),
        })
    }

    pub(super) fn jwt(
        &self,
        table: file::oauth::JwtTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<Jwt> {
        let backdate = table
            .backdate
            .as_deref()
            .map_or(Ok(std::time::Duration::ZERO), |text| parse_duration(text, 0));
        let mut notes = Notes { line, problems };
        if let Err(message) = &backdate {
            let message = format!("`backdate`: {message}");
            notes.error("bad-duration", message, "for example backdate = \"30s\"");
        }
        let aud = table.aud.into_vec();
        let key = self.noted(table.key, &mut notes)?;
        let (iss, sub) = (table.iss, table.sub);
        let signed =
            signed(key, &table.algorithm, table.header, iss, sub, aud, table.claims, &mut notes);
        Some(Jwt { signed: signed?, backdate: backdate.ok()? })
    }

    pub(super) fn jwt_bearer(
        &self,
        mut table: file::oauth::JwtBearerTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<JwtBearer> {
        let oauth = self.oauth(table.oauth(), line, problems);
        let mut notes = Notes { line, problems };
        let id = oauth.as_ref().and_then(|oauth| oauth.client_id.clone());
        let iss = table.iss.or(id.map(|id| id.replace('{', "{{").replace('}', "}}")));
        if iss.is_none() {
            notes.missing("iss", "who signs the assertion; `client_id` stands in for it");
        }
        let sub = table.sub.or_else(|| iss.clone());
        let (key, aud) = (self.noted(table.key, &mut notes)?, table.aud.into_vec());
        let assertion =
            signed(key, &table.algorithm, table.header, iss, sub, aud, table.claims, &mut notes);
        Some(JwtBearer { oauth: oauth?, assertion: assertion? })
    }

    pub(super) fn token_exchange(
        &self,
        mut table: file::oauth::TokenExchangeTable,
        line: usize,
        problems: &mut Problems,
    ) -> Option<TokenExchange> {
        let oauth = self.oauth(table.oauth(), line, problems);
        let mut notes = Notes { line, problems };
        if table.actor_token.is_none() && table.actor_token_type.is_some() {
            notes.error(
                "unused-key",
                "`actor_token_type` without `actor_token`",
                "give both or none",
            );
        }
        let subject = TypedToken {
            token: self.noted(table.subject_token, &mut notes)?,
            kind: token_type(table.subject_token_type.as_deref().unwrap_or("jwt"), &mut notes),
        };
        let actor = match table.actor_token {
            Some(token) => Some(TypedToken {
                token: self.noted(token, &mut notes)?,
                kind: token_type(table.actor_token_type.as_deref().unwrap_or("jwt"), &mut notes),
            }),
            None => None,
        };
        let requested =
            table.requested_token_type.as_deref().map(|kind| token_type(kind, &mut notes));
        if requested.as_deref() == Some("urn:ietf:params:oauth:token-type:refresh_token") {
            let hint = "ask for an access token";
            notes.error("bad-token-type", "a refresh token never goes to an API", hint);
        }
        Some(TokenExchange { oauth: oauth?, subject, actor, requested })
    }
}

pub(super) fn endpoint(text: &str, key: &str, notes: &mut Notes<'_>) -> Option<http::Uri> {
    parse_endpoint(text)
        .map_err(|message| {
            let hint = "an https URL without user or fragment, or http to 127.0.0.1 or [::1]";
            notes.error("bad-endpoint", format!("`{key}` {message}{}", named(text)), hint);
        })
        .ok()
}

/// `https://host[:port]` and nothing else, in canonical form.
pub(super) fn origin(text: &str) -> Option<String> {
    let url = parse_endpoint(text).ok()?;
    let bare = url.path() == "/" && url.query().is_none();
    origin_of(&url).filter(|_| bare).map(|origin| origin.to_string())
}

fn endpoints(table: &table::OauthTable, notes: &mut Notes<'_>) -> Option<Endpoints> {
    let token = table.token_url.as_deref().map(|text| endpoint(text, "token_url", notes));
    let revocation =
        table.revocation_url.as_deref().map(|text| endpoint(text, "revocation_url", notes));
    let issuer = table.issuer.as_deref().map(|text| endpoint(text, "issuer", notes));
    let mut origins = Vec::with_capacity(table.endpoint_origins.len());
    for text in &table.endpoint_origins {
        match origin(text) {
            Some(origin) => origins.push(origin),
            None => notes.error(
                "bad-endpoint",
                format!("an entry of `endpoint_origins` is no origin{}", named(text)),
                "\"https://host\" or \"https://host:port\"",
            ),
        }
    }
    match (token, issuer) {
        (Some(token), None) => {
            if !origins.is_empty() {
                notes.error("unused-key", "`endpoint_origins` goes with `issuer`", "take it out");
            }
            let revocation = match revocation {
                Some(url) => Some(url?),
                None => None,
            };
            Some(Endpoints::Named { token: token?, revocation })
        }
        (None, Some(url)) => {
            if revocation.is_some() {
                notes.error(
                    "unused-key",
                    "`revocation_url` goes with `token_url`",
                    "take it out: the issuer's document names it",
                );
            }
            let url = url?;
            if url.query().is_some() {
                notes.error("bad-endpoint", "`issuer` has a query", "RFC 8414 allows none");
            }
            Some(Endpoints::Discovered { issuer: table.issuer.clone()?, url, origins })
        }
        (None, None) => {
            notes.missing("token_url", "give it, or `issuer` for discovery");
            None
        }
        (Some(_), Some(_)) => {
            notes.error(
                "two-endpoints",
                "both `token_url` and `issuer` are given",
                "give one: `issuer` finds the endpoints by itself",
            );
            None
        }
    }
}

#[allow(clippy::too_many_arguments, reason = "two tables hold the same eight keys")]
fn signed(
    key: SecretSource,
    algorithm: &str,
    header: BTreeMap<String, String>,
    iss: Option<String>,
    sub: Option<String>,
    aud: Vec<String>,
    claims: BTreeMap<String, table::ClaimValue>,
    notes: &mut Notes<'_>,
) -> Option<Signed> {
    check_words(&aud, "aud", notes.line, is_audience, notes.problems);
    for name in ["alg", "crit", "jku", "jwk", "x5u"].iter().filter(|n| header.contains_key(**n)) {
        let message = format!("`header` cannot set `{name}`");
        notes.error(
            "reserved-header",
            message,
            "`kid`, `typ` and names of the verifier's own go there",
        );
    }
    let reserved = |name: &&String| RESERVED_CLAIMS.contains(&name.as_str()) || *name == "sub";
    if let Some(name) = claims.keys().find(reserved) {
        let message = format!("`claims` cannot set `{name}`");
        notes.error(
            "reserved-claim",
            message,
            "`iss`, `sub`, `aud` and `ttl` are keys of their own",
        );
    }
    let algorithm = notes.algorithm(algorithm);
    let header = header.into_iter().map(|(name, text)| (name, notes.template(&text))).collect();
    let iss = iss.map(|text| notes.template(&text));
    let sub = sub.map(|text| notes.template(&text));
    let claims = claims.into_iter().map(|(name, value)| (name, claim(value, notes))).collect();
    Some(Signed { key, algorithm: algorithm?, header, iss, sub, aud, claims })
}

fn claim(value: table::ClaimValue, notes: &mut Notes<'_>) -> Claim {
    match value {
        table::ClaimValue::Bool(value) => Claim::Bool(value),
        table::ClaimValue::Number(value) => Claim::Number(value),
        table::ClaimValue::Text(text) => Claim::Text(notes.template(&text)),
        table::ClaimValue::List(list) => {
            Claim::List(list.into_iter().map(|value| claim(value, notes)).collect())
        }
        table::ClaimValue::Object(object) => Claim::Object(
            object.into_iter().map(|(name, value)| (name, claim(value, notes))).collect(),
        ),
    }
}

/// RFC 8693 section 3: a short word for a registered type, else a URI.
fn token_type(text: &str, notes: &mut Notes<'_>) -> String {
    let registered = ["access_token", "refresh_token", "id_token", "saml1", "saml2", "jwt"];
    if registered.contains(&text) {
        return format!("urn:ietf:params:oauth:token-type:{text}");
    }
    if !is_resource(text) {
        let hint = "\"access_token\", \"id_token\", \"jwt\", \"saml1\", \"saml2\", or a URI";
        notes.error("bad-token-type", format!("this is no token type{}", named(text)), hint);
    }
    text.to_owned()
}
