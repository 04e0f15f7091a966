//! [`Generation`]: one root and its one intermediate. The root signs once, then its key is
//! gone: it never touches a disk. What is kept is the intermediate's key.

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rcgen::{Issuer, PublicKeyData as _};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use ulid::Ulid;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::error::CaError;
use super::key::CaKey;
use super::profile::{self, Blanks};
use super::scope::Scope;

/// The name of a generation, on disk and in the cache: a ULID in its canonical spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct GenerationId(Ulid);

impl GenerationId {
    /// `None` for any other text, so that no foreign directory is taken for ours.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let id: Ulid = text.parse().ok()?;
        (id.to_string() == text).then_some(Self(id))
    }
}

impl TryFrom<String> for GenerationId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not the id of a generation")
    }
}

impl From<GenerationId> for String {
    fn from(id: GenerationId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for GenerationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A CA that can sign: root certificate, intermediate certificate, intermediate key.
pub(super) struct Generation {
    pub(super) id: GenerationId,
    pub(super) root: Root,
    pub(super) intermediate: CertificateDer<'static>,
    /// The names it may sign for, read from the intermediate itself.
    pub(super) scope: Scope,
    pub(super) issuer: Issuer<'static, CaKey>,
}

/// How long before its end a generation stops signing, at most ([`Generation::signs`]).
const LAST_HOUR: Duration = Duration::from_secs(3600);

/// A root certificate. There is no key to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    pub(super) der: CertificateDer<'static>,
    pub(super) subject: String,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
}

impl Generation {
    /// Makes both certificates; the root's key lives for the length of this call.
    pub(super) fn mint(
        scope: &Scope,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Self, CaError> {
        let profiles = profile::own()?;
        let id = GenerationId(Ulid::generate());
        let label = label()?;
        let life = profiles.root.life(now, lifetime);
        let blanks = Blanks { host: "", label: &label, scope, life };

        let root_key = CaKey::generate()?;
        let root_params = profiles.root.params(blanks)?;
        let root = root_params.self_signed(&root_key)?;
        let key = CaKey::generate()?;
        let signer = Issuer::from_params(&root_params, &root_key);
        let intermediate = profiles.intermediate.params(blanks)?.signed_by(&key, &signer)?;
        drop(root_key);

        Self::assemble(id, root.into(), intermediate.into(), key)
            .map_err(|what| CaError::Profile { what: what.to_owned() })
    }

    /// From its parts, checked: each is signed by the one above, and the key is the intermediate's.
    /// The error says what is wrong.
    pub(super) fn assemble(
        id: GenerationId,
        root: CertificateDer<'static>,
        intermediate: CertificateDer<'static>,
        key: CaKey,
    ) -> Result<Self, &'static str> {
        let root = Root::parse(root)?;
        let above = parse(&root.der)?;
        let scope = {
            let parsed = parse(&intermediate)?;
            signed_by(&parsed, &above).ok_or("the root did not sign the intermediate")?;
            if parsed.public_key().subject_public_key.as_ref() != key.der_bytes() {
                return Err("the key is not the intermediate's");
            }
            if parsed.validity() != above.validity() {
                return Err("root and intermediate differ in their life");
            }
            Scope::of_certificate(&parsed).ok_or("the name constraints are not of our making")?
        };
        let issuer = Issuer::from_ca_cert_der(&intermediate, key)
            .map_err(|_| "the intermediate cannot be read")?;
        Ok(Self { id, root, intermediate, scope, issuer })
    }

    /// When a successor should be at hand: at two thirds of the life.
    pub(super) fn successor_due(&self) -> SystemTime {
        self.root.not_before + self.root.life() * 2 / 3
    }

    /// Whether it signs as long as it is the oldest that may. It stops an hour before its end, or a
    /// tenth of its life where that is less: there are clocks that are fast.
    pub(super) fn signs(&self, now: SystemTime) -> bool {
        let root = &self.root;
        root.not_before <= now && now < root.not_after - LAST_HOUR.min(root.life() / 10)
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("id", &self.id)
            .field("root", &self.root.subject)
            .finish_non_exhaustive()
    }
}

impl Root {
    /// Parsed, and found to be signed by itself.
    pub(super) fn parse(der: CertificateDer<'static>) -> Result<Self, &'static str> {
        let (subject, not_before, not_after) = {
            let parsed = parse(&der)?;
            signed_by(&parsed, &parsed).ok_or("the root did not sign itself")?;
            let validity = parsed.validity();
            let (begin, end) = (validity.not_before.timestamp(), validity.not_after.timestamp());
            (parsed.subject().to_string(), time(begin), time(end))
        };
        if not_after <= not_before {
            return Err("the root ends before it begins");
        }
        Ok(Self { der, subject, not_before, not_after })
    }

    pub(super) fn life(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }

    pub(super) fn has_ended(&self, now: SystemTime) -> bool {
        now >= self.not_after
    }
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, &'static str> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err("a certificate cannot be read"),
    }
}

fn signed_by(certificate: &X509Certificate<'_>, above: &X509Certificate<'_>) -> Option<()> {
    let key = above.public_key().subject_public_key.as_ref();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
        .verify(certificate.tbs_certificate.as_ref(), certificate.signature_value.as_ref())
        .ok()
}

fn time(unix: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(unix).unwrap_or_default())
}

/// Eight hex digits: two roots in one bundle must not share a subject, since some verifiers find
/// issuers by it.
fn label() -> Result<String, CaError> {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| CaError::Crypto { doing: "draw a label" })?;
    Ok(format!("{:08x}", u32::from_be_bytes(bytes)))
}
