//! [`ProofKey`]: what a token is bound to (DPoP, RFC 9449), and the proofs that it signs.
//!
//! The key is made where it is used and lives in memory as long as its credential does. It is on no
//! disk: after a restart there is another one, and tokens of the old one are of no use to anybody,
//! which is the point. Only that of a public client's login is kept, in the kernel's keyring: its
//! refresh token is bound to it as well (section 5).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use zeroize::Zeroizing;

use super::id::random_text;
use super::secret::Secret;
use super::target::Origin;

use crate::model::lock::lock;

/// The field that carries a proof.
pub const PROOF: &str = "dpop";
/// The field in which a server says what the next proof must repeat.
pub const NONCE: &str = "dpop-nonce";

/// A P-256 key that nobody else has.
pub struct ProofKey {
    /// `None`: the library made none.
    pair: Option<EcdsaKeyPair>,
    /// The header of each proof, encoded.
    header: String,
    /// The SHA-256 of its public half (RFC 7638), by which issuers name it.
    thumbprint: String,
    /// What each server said last (RFC 9449 section 8.2).
    nonces: Mutex<HashMap<Origin, Arc<str>>>,
}

impl ProofKey {
    pub fn new() -> Self {
        Self::of(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).ok())
    }

    /// One that was kept. `None`: that is no such key.
    pub fn restored(kept: &[u8]) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, kept).ok()?;
        Some(Self::of(Some(pair)))
    }

    /// As it is kept, where no disk is (PKCS #8).
    pub fn to_keep(&self) -> Option<Zeroizing<Vec<u8>>> {
        let document = self.pair.as_ref()?.to_pkcs8v1().ok()?;
        Some(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// The name of its public half (RFC 7638).
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    fn of(pair: Option<EcdsaKeyPair>) -> Self {
        let point = pair.as_ref().map(|pair| pair.public_key().as_ref().to_vec());
        // Uncompressed (SEC 1 section 2.3.3): 4, then both coordinates.
        let (x, y) = match point.as_deref() {
            Some([4, rest @ ..]) if rest.len() == 64 => rest.split_at(32),
            _ => (&[][..], &[][..]),
        };
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // Section 3 of RFC 7638: these members, in this order, without a space.
        let plain = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA256, plain.as_bytes()));
        let header = json!({
            "typ": "dpop+jwt",
            "alg": "ES256",
            "jwk": { "kty": "EC", "crv": "P-256", "x": x, "y": y },
        });
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        Self { pair, header, thumbprint, nonces: Mutex::default() }
    }

    /// A proof for one request (section 4.2). `path`: as it is sent, without the query. `token`:
    /// what it is sent with; `None` where one is asked for. `None` comes back only where the
    /// library refuses to sign.
    pub fn prove(
        &self,
        method: &str,
        origin: &Origin,
        path: &str,
        token: Option<&Secret>,
    ) -> Option<Secret> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut claims = json!({
            "jti": random_text(), "htm": method, "htu": format!("{origin}{path}"), "iat": now,
        });
        if let Some(token) = token {
            claims["ath"] = URL_SAFE_NO_PAD.encode(token.sha256()).into();
        }
        if let Some(nonce) = self.nonces().get(origin) {
            claims["nonce"] = (**nonce).into();
        }
        let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
        let mut proof = format!("{}.{claims}", self.header);
        let signature = self.pair.as_ref()?.sign(&SystemRandom::new(), proof.as_bytes()).ok()?;
        proof.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut proof);
        Some(Secret::new(proof))
    }

    /// Keeps the nonce of an answer, for the next proof to the same origin. `said`: every value of
    /// the field. Whether there was one.
    pub fn learn<'a>(&self, origin: &Origin, said: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut all = said.into_iter();
        let (Some(nonce), None) = (all.next(), all.next()) else { return false };
        // Section 8.1: 1*NQCHAR.
        let legal = |b: &u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if !(1..=MAX_NONCE).contains(&nonce.len()) || !nonce.iter().all(legal) {
            return false;
        }
        let nonce = String::from_utf8_lossy(nonce);
        let mut nonces = self.nonces();
        if nonces.len() >= MAX_ORIGINS && !nonces.contains_key(origin) {
            nonces.clear();
        }
        nonces.insert(origin.clone(), (*nonce).into());
        true
    }

    fn nonces(&self) -> std::sync::MutexGuard<'_, HashMap<Origin, Arc<str>>> {
        lock(&self.nonces)
    }
}

impl Default for ProofKey {
    fn default() -> Self {
        Self::new()
    }
}

/// Says nothing of the key.
impl fmt::Debug for ProofKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// Servers encrypt a time into them; nobody needs more.
const MAX_NONCE: usize = 512;
/// Of one credential. With a wildcard route there may be more: then some are learnt again.
const MAX_ORIGINS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::target::Target;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    fn origin(text: &str) -> Origin {
        Origin::https(Target::parse(text, Some(443)).unwrap())
    }

    fn opened(proof: &Secret) -> (serde_json::Value, serde_json::Value) {
        let text = String::from_utf8(proof.expose().to_vec()).unwrap();
        let mut parts = text.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
        let mut json = || serde_json::from_slice(&parts.next().unwrap()).unwrap();
        (json(), json())
    }

    #[test]
    fn a_proof_says_what_it_is_for() {
        let key = ProofKey::new();
        let token = Secret::new("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU");
        let proof = key.prove("GET", &origin("api.example:8443"), "/a%2Fb", Some(&token)).unwrap();
        let (header, claims) = opened(&proof);
        assert_eq!((&header["typ"], &header["alg"]), (&json!("dpop+jwt"), &json!("ES256")));
        assert_eq!(claims["htu"], "https://api.example:8443/a%2Fb");
        assert_eq!(claims["htm"], "GET");
        // RFC 9449 section 7.1, figure 13.
        assert_eq!(claims["ath"], "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo");
        let decode = |name: &str| URL_SAFE_NO_PAD.decode(header["jwk"][name].as_str().unwrap());
        let point = [&[4][..], &decode("x").unwrap(), &decode("y").unwrap()].concat();
        let text = String::from_utf8(proof.expose().to_vec()).unwrap();
        let (signed, signature) = text.rsplit_once('.').unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap();
        let another = key.prove("GET", &origin("api.example:8443"), "/a%2Fb", None).unwrap();
        assert_ne!(opened(&another).1["jti"], claims["jti"]);
        assert!(opened(&another).1.get("ath").is_none());
    }

    #[test]
    fn a_kept_key_is_the_same_key() {
        let key = ProofKey::new();
        let again = ProofKey::restored(&key.to_keep().unwrap()).unwrap();
        assert_eq!((again.thumbprint(), &again.header), (key.thumbprint(), &key.header));
        assert_ne!(ProofKey::new().thumbprint(), key.thumbprint());
        assert!(ProofKey::restored(b"no key").is_none());
    }

    #[test]
    fn each_origin_has_its_own_nonce() {
        let key = ProofKey::new();
        let nonce = |host: &str| {
            opened(&key.prove("GET", &origin(host), "/", None).unwrap()).1["nonce"].clone()
        };
        assert!(nonce("a.example").is_null());
        assert!(key.learn(&origin("a.example"), [&b"one"[..]]));
        assert_eq!((nonce("a.example"), nonce("b.example")), (json!("one"), json!(null)));
        for bad in ["", "with space", "with\"quote", &"x".repeat(MAX_NONCE + 1)] {
            assert!(!key.learn(&origin("a.example"), [bad.as_bytes()]), "{bad}");
        }
        let twice = [&b"two"[..], b"three"];
        assert!(!key.learn(&origin("a.example"), twice), "which of them is meant?");
        assert_eq!(nonce("a.example"), "one");
        for host in 0..2 * MAX_ORIGINS {
            key.learn(&origin(&format!("h{host}.example")), [&b"n"[..]]);
        }
        assert!(key.nonces().len() <= MAX_ORIGINS);
    }
}
