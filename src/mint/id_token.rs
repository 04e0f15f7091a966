//! Who has logged in: the checks of an ID token (OpenID Connect Core 1.0 section 3.1.3.7).
//!
//! It came straight from the token endpoint, over TLS; its signature is checked all the same.

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use crate::model::secret::Secret;

/// What is wrong with an ID token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// Not signed by a key of the issuer's, or not by an algorithm that proves that.
    #[error("its signature is not the issuer's")]
    Signature,
    /// It is for another client, of another issuer, or its time is over.
    #[error("issuer, audience or time are not as they should be")]
    Claims,
    /// It belongs to another login.
    #[error("it does not repeat the nonce of this login")]
    Nonce,
    /// The issuer's keys cannot be read.
    #[error("the issuer publishes no usable keys")]
    Keys,
}

impl IdTokenError {
    pub fn code(self) -> &'static str {
        match self {
            Self::Keys => "issuer-keys-invalid",
            Self::Claims | Self::Nonce | Self::Signature => "id-token-invalid",
        }
    }

    pub fn hint(self) -> &'static str {
        match self {
            Self::Claims => "check client_id and issuer, and this machine's clock",
            Self::Keys => {
                "open the issuer's `jwks_uri`; without `openid` in `scope` there is no ID token"
            }
            Self::Nonce | Self::Signature => {
                "begin anew; if it stays so, somebody stands between, or the issuer is not the right one"
            }
        }
    }
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    aud: OneOrMany,
    #[serde(default)]
    azp: Option<String>,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    preferred_username: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(#[allow(dead_code, reason = "the library has compared it")] String),
    Many(Vec<String>),
}

/// The name of the person, where there is one that can be shown.
pub(super) fn judge(
    token: &Secret,
    keys: &Secret,
    issuer: &str,
    client: &str,
    nonce: Option<&str>,
) -> Result<Option<String>, IdTokenError> {
    let keys: JwkSet = serde_json::from_slice(keys.expose()).map_err(|_| IdTokenError::Keys)?;
    let header = decode_header(token.expose()).map_err(|_| IdTokenError::Signature)?;
    // By whoever knows the client's secret, or by nobody at all: no proof.
    if !SIGNED.contains(&header.alg) {
        return Err(IdTokenError::Signature);
    }
    let mut wanted = Validation::new(header.alg);
    wanted.set_audience(&[client]);
    wanted.set_issuer(&[issuer]);
    wanted.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    let named = |key: &&Jwk| match &header.kid {
        Some(kid) => key.common.key_id.as_ref() == Some(kid),
        None => true,
    };
    let mut error = IdTokenError::Signature;
    for key in keys.keys.iter().filter(named) {
        let Ok(key) = DecodingKey::from_jwk(key) else { continue };
        match decode::<Claims>(token.expose(), &key, &wanted) {
            Ok(token) => return name(token.claims, client, nonce),
            Err(wrong) => {
                use jsonwebtoken::errors::ErrorKind as Kind;
                if !matches!(wrong.kind(), Kind::InvalidSignature | Kind::InvalidAlgorithm) {
                    error = IdTokenError::Claims;
                }
            }
        }
    }
    Err(error)
}

fn name(claims: Claims, client: &str, nonce: Option<&str>) -> Result<Option<String>, IdTokenError> {
    let several = matches!(&claims.aud, OneOrMany::Many(all) if all.len() > 1);
    let party = claims.azp.as_deref();
    if (several && party.is_none()) || party.is_some_and(|party| party != client) {
        return Err(IdTokenError::Claims);
    }
    if nonce.is_some() && claims.nonce.as_deref() != nonce {
        return Err(IdTokenError::Nonce);
    }
    let shown = |name: &String| {
        name.len() <= MAX_NAME && !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic())
    };
    let names = [claims.email, claims.preferred_username, Some(claims.sub)];
    Ok(names.into_iter().flatten().find(shown))
}

const SIGNED: &[Algorithm] = &[
    Algorithm::EdDSA,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
];
/// A terminal shows it: what is longer, or not plain text, is passed over.
const MAX_NAME: usize = 128;
