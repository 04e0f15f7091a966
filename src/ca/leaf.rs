//! Signing a leaf, as a message: whoever has a [`Signer`] need not be the process that has the key.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::SubjectPublicKeyInfo;
use rustls::pki_types::CertificateDer;

use super::error::CaError;
use super::profile::{self, Blanks};
use super::root::Generation;
use super::scope;
use crate::model::clock::rfc3339_seconds;

/// "Sign this key for this host."
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafRequest {
    /// The host that CONNECT named.
    pub host: Arc<str>,
    /// The key to vouch for: SubjectPublicKeyInfo in DER. The private half stays with whoever asks.
    pub public_key: Arc<[u8]>,
}

/// A leaf that was signed, with its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedLeaf {
    pub chain_der: Vec<CertificateDer<'static>>,
    /// The leaf's beginning; some time in the past.
    pub not_before: SystemTime,
    /// The leaf's end; never after the intermediate's.
    pub not_after: SystemTime,
}

/// Whoever can sign leaves: the authority on disk, later a process of its own.
pub trait Signer: Send + Sync {
    /// Signs, or refuses a host outside its scope.
    fn sign(&self, request: &LeafRequest) -> Result<SignedLeaf, CaError>;
}

/// Signs with this generation. The host must be a canonical DNS name within its scope.
pub(super) fn sign(
    generation: &Generation,
    request: &LeafRequest,
    lifetime: Duration,
    now: SystemTime,
) -> Result<SignedLeaf, CaError> {
    let host = scope::dns_name(&request.host)?;
    if !generation.scope.covers(&host) {
        return Err(CaError::OutOfScope { host: host.to_string() });
    }
    check_life(generation, now)?;
    let leaf = &profile::own()?.leaf;
    let (begin, end) = leaf.life(now, lifetime);
    let life = (begin.max(generation.root.not_before), end.min(generation.root.not_after));
    let blanks = Blanks { host: &host, label: "", scope: &generation.scope, life };
    let key = SubjectPublicKeyInfo::from_der(&request.public_key)?;
    let certificate = leaf.params(blanks)?.signed_by(&key, &generation.issuer)?;
    Ok(SignedLeaf {
        chain_der: vec![certificate.into(), generation.intermediate.clone()],
        not_before: life.0,
        not_after: life.1,
    })
}

/// Root and intermediate live equally long.
pub(super) fn check_life(generation: &Generation, now: SystemTime) -> Result<(), CaError> {
    let root = &generation.root;
    if now < root.not_before {
        let begins = rfc3339_seconds(root.not_before);
        return Err(CaError::Clock { begins });
    }
    if root.has_ended(now) {
        let ended = rfc3339_seconds(root.not_after);
        return Err(CaError::Expired { ended });
    }
    Ok(())
}
