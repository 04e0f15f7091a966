//! Signing: tokens of the `jwt` grant, assertions of `jwt-bearer`, proofs of `private-key-jwt` (RFC
//! 7515).
//!
//! Here a private key becomes bytes, for the length of one signature; it is read anew for each.

use jsonwebtoken::{Algorithm as Alg, EncodingKey, Header};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};
use x509_parser::asn1_rs::{Any, FromDer as _, Integer, OctetString, Oid, Sequence};

use super::MintError;
use crate::config::{Algorithm, Claim, KeyJwt, Signed};
use crate::model::ask::{Ask, Template, Who};
use crate::model::id;
use crate::model::secret::Secret;
use crate::store;

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Encrypted, which needs a passphrase that nobody is there to type.
    #[error("the key is encrypted")]
    Encrypted,
    /// No PEM private key at all.
    #[error("this is not a private key in PEM")]
    NotAKey,
    /// The signature library refuses it: too short, or damaged.
    #[error("the key cannot be used: it is damaged, or too short")]
    Unusable,
    /// A key for other algorithms.
    #[error("the key is of another kind than its algorithm needs")]
    WrongKind,
}

impl KeyError {
    pub fn code(self) -> &'static str {
        match self {
            Self::Encrypted => "key-encrypted",
            Self::NotAKey => "key-not-pem",
            Self::Unusable => "key-unusable",
            Self::WrongKind => "key-wrong-kind",
        }
    }

    pub fn hint(self) -> &'static str {
        match self {
            Self::Encrypted => {
                "`openssl pkcs8 -topk8 -nocrypt` takes the passphrase off; keep the file at mode 0600"
            }
            Self::NotAKey => {
                "it begins with `-----BEGIN PRIVATE KEY-----`; a certificate or public key will not do"
            }
            Self::Unusable => {
                "RSA needs 2048 bits or more, HS256 a secret of 32 bytes, HS384 48, HS512 64"
            }
            Self::WrongKind => {
                "RS and PS need an RSA key, ES256 one on P-256, ES384 one on P-384, EdDSA an Ed25519 key, HS a bare secret"
            }
        }
    }
}

/// Signs what config describes, for `who`. `times`: claims of time and identity that the caller
/// sets.
pub(super) async fn sign(
    signed: &Signed,
    ask: &Ask,
    aud: &[String],
    times: Map<String, Value>,
) -> Result<Secret, MintError> {
    let nobody = Who::default();
    let who = ask.who.as_ref().unwrap_or(&nobody);
    let mut claims = times;
    for (name, value) in &signed.claims {
        claims.insert(name.clone(), claim(value, who)?);
    }
    for (name, text) in &ask.claims {
        claims.insert(name.clone(), fill(text, who)?.into());
    }
    for (name, text) in [("iss", &signed.iss), ("sub", &signed.sub)] {
        if let Some(text) = text {
            claims.insert(name.into(), fill(text, who)?.into());
        }
    }
    match aud {
        [] => None,
        [one] => claims.insert("aud".into(), one.as_str().into()),
        many => claims.insert("aud".into(), many.into()),
    };
    let mut header = Header::new(algorithm(signed.algorithm));
    for (name, text) in &signed.header {
        let text = fill(text, who)?;
        match name.as_str() {
            "kid" => header.kid = Some(text),
            "typ" => header.typ = Some(text),
            "cty" => header.cty = Some(text),
            _ => header.extras.insert(name.as_str(), text),
        }
    }
    let key = store::read_key_soon(&signed.key).await?;
    Ok(encode(&header, &claims, signed.algorithm, &key)?)
}

/// A client's proof (RFC 7523 section 2.2): it is good for a minute, for this endpoint.
pub(super) async fn prove(
    key: &KeyJwt,
    client_id: &str,
    audience: &str,
    now: u64,
) -> Result<Secret, MintError> {
    let mut header = Header::new(algorithm(key.algorithm));
    header.kid = key.key_id.clone();
    let claims = json!({
        "iss": client_id, "sub": client_id, "aud": key.audience.as_deref().unwrap_or(audience),
        "iat": now, "exp": now.saturating_add(60), "jti": id::random_text(),
    });
    let Value::Object(claims) = claims else { return Err(KeyError::Unusable.into()) };
    let private = store::read_key_soon(&key.key).await?;
    Ok(encode(&header, &claims, key.algorithm, &private)?)
}

/// Whether a key fits its algorithm, for `valetkey check`: by one signature that nobody sees.
pub fn check(algorithm: Algorithm, key: &Secret) -> Result<(), KeyError> {
    encode(&Header::new(self::algorithm(algorithm)), &Map::new(), algorithm, key).map(|_| ())
}

fn encode(
    header: &Header,
    claims: &Map<String, Value>,
    algorithm: Algorithm,
    key: &Secret,
) -> Result<Secret, KeyError> {
    let key = encoding_key(algorithm, key)?;
    let text = jsonwebtoken::encode(header, claims, &key).map_err(|_| KeyError::Unusable)?;
    Ok(Secret::new(text))
}

fn fill(text: &Template, who: &Who) -> Result<String, MintError> {
    text.fill(who).map_err(MintError::Client)
}

fn claim(value: &Claim, who: &Who) -> Result<Value, MintError> {
    Ok(match value {
        Claim::Bool(value) => (*value).into(),
        Claim::Number(value) => (*value).into(),
        Claim::Text(text) => fill(text, who)?.into(),
        Claim::List(list) => {
            Value::Array(list.iter().map(|value| claim(value, who)).collect::<Result<_, _>>()?)
        }
        Claim::Object(object) => Value::Object(
            object
                .iter()
                .map(|(name, value)| Ok((name.clone(), claim(value, who)?)))
                .collect::<Result<_, MintError>>()?,
        ),
    })
}

fn algorithm(algorithm: Algorithm) -> Alg {
    match algorithm {
        Algorithm::EdDsa => Alg::EdDSA,
        Algorithm::Es256 => Alg::ES256,
        Algorithm::Es384 => Alg::ES384,
        Algorithm::Hs256 => Alg::HS256,
        Algorithm::Hs384 => Alg::HS384,
        Algorithm::Hs512 => Alg::HS512,
        Algorithm::Ps256 => Alg::PS256,
        Algorithm::Ps384 => Alg::PS384,
        Algorithm::Ps512 => Alg::PS512,
        Algorithm::Rs256 => Alg::RS256,
        Algorithm::Rs384 => Alg::RS384,
        Algorithm::Rs512 => Alg::RS512,
    }
}

/// What kind of key an algorithm signs with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Ed25519,
    P256,
    P384,
    Rsa,
}

fn encoding_key(algorithm: Algorithm, key: &Secret) -> Result<EncodingKey, KeyError> {
    let kind = match algorithm {
        Algorithm::EdDsa => KeyKind::Ed25519,
        Algorithm::Es256 => KeyKind::P256,
        Algorithm::Es384 => KeyKind::P384,
        Algorithm::Hs256 => return shared(key, 32),
        Algorithm::Hs384 => return shared(key, 48),
        Algorithm::Hs512 => return shared(key, 64),
        Algorithm::Ps256 | Algorithm::Ps384 | Algorithm::Ps512 => KeyKind::Rsa,
        Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => KeyKind::Rsa,
    };
    match private_key(key)? {
        PrivateKeyDer::Pkcs1(der) if kind == KeyKind::Rsa => {
            Ok(EncodingKey::from_rsa_der(der.secret_pkcs1_der()))
        }
        PrivateKeyDer::Pkcs8(der) => {
            let der = der.secret_pkcs8_der();
            let (found, inner) = open_pkcs8(der).ok_or(KeyError::NotAKey)?;
            match found {
                found if found != Some(kind) => Err(KeyError::WrongKind),
                Some(KeyKind::Rsa) => Ok(EncodingKey::from_rsa_der(inner)),
                Some(KeyKind::Ed25519) => Ok(EncodingKey::from_ed_der(der)),
                _ => Ok(EncodingKey::from_ec_der(der)),
            }
        }
        PrivateKeyDer::Sec1(der) if matches!(kind, KeyKind::P256 | KeyKind::P384) => {
            sec1(kind, der.secret_sec1_der())
        }
        _ => Err(KeyError::WrongKind),
    }
}

/// RFC 7518 section 3.2: a key at least as long as the hash. A PEM file here is a mistake of kind,
/// and a dangerous one: a verifier that knows it as public would take anybody's token.
fn shared(key: &Secret, least: usize) -> Result<EncodingKey, KeyError> {
    if key.expose().starts_with(b"-----BEGIN") {
        return Err(KeyError::WrongKind);
    }
    if key.len() < least {
        return Err(KeyError::Unusable);
    }
    Ok(EncodingKey::from_secret(key.expose()))
}

fn private_key(key: &Secret) -> Result<PrivateKeyDer<'static>, KeyError> {
    let pem = key.expose();
    let has = |words: &[u8]| pem.windows(words.len()).any(|window| window == words);
    if has(b"ENCRYPTED") {
        return Err(KeyError::Encrypted);
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::NotAKey)
}

/// RFC 5208 section 5: version, algorithm with its parameters, the key. The kind is `None` for one
/// that no algorithm here signs with.
fn open_pkcs8(der: &[u8]) -> Option<(Option<KeyKind>, &[u8])> {
    let (_, outer) = Sequence::from_der(der).ok()?;
    let std::borrow::Cow::Borrowed(content) = outer.content else { return None };
    let (rest, _version) = Integer::from_der(content).ok()?;
    let (rest, algorithm) = Sequence::from_der(rest).ok()?;
    let (parameters, oid) = Oid::from_der(&algorithm.content).ok()?;
    let kind = match oid.to_id_string().as_str() {
        "1.2.840.113549.1.1.1" => Some(KeyKind::Rsa),
        "1.3.101.112" => Some(KeyKind::Ed25519),
        "1.2.840.10045.2.1" => {
            let curve = Any::from_der(parameters).ok().and_then(|(_, any)| any.oid().ok());
            match curve.map(|curve| curve.to_id_string()).as_deref() {
                Some("1.2.840.10045.3.1.7") => Some(KeyKind::P256),
                Some("1.3.132.0.34") => Some(KeyKind::P384),
                _ => None,
            }
        }
        _ => None,
    };
    let (_, key) = OctetString::from_der(rest).ok()?;
    match key.into_cow() {
        std::borrow::Cow::Borrowed(inner) => Some((kind, inner)),
        std::borrow::Cow::Owned(_) => None,
    }
}

/// `BEGIN EC PRIVATE KEY`, which is what `openssl ecparam -genkey` writes.
fn sec1(kind: KeyKind, der: &[u8]) -> Result<EncodingKey, KeyError> {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    };
    let algorithm = match kind {
        KeyKind::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
        _ => &ECDSA_P384_SHA384_FIXED_SIGNING,
    };
    let pair =
        EcdsaKeyPair::from_private_key_der(algorithm, der).map_err(|_| KeyError::WrongKind)?;
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyError::Unusable)?;
    Ok(EncodingKey::from_ec_der(pkcs8.as_ref()))
}

/// What a client certificate's key is for TLS.
pub(super) fn tls_key(key: &Secret) -> Result<PrivateKeyDer<'static>, KeyError> {
    private_key(key)
}
