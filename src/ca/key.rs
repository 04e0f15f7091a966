//! [`CaKey`]: a P-256 key as rcgen wants it. Lives in the crypto library, which wipes it when it
//! is dropped; leaves it only as PKCS#8 in a buffer that is wiped as well.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::Zeroizing;

use super::error::CaError;

/// A P-256 private key. No `Debug`, no `Clone`.
pub(super) struct CaKey(EcdsaKeyPair);

impl CaKey {
    pub(super) fn generate() -> Result<Self, CaError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)
            .map(Self)
            .map_err(|_| CaError::Crypto { doing: "generate a key" })
    }

    /// From PKCS#8; `None` where it is anything but a P-256 key.
    pub(super) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der).ok().map(Self)
    }

    /// As PKCS#8 DER.
    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, CaError> {
        let document = self.0.to_pkcs8v1().map_err(|_| CaError::Crypto { doing: "write a key" })?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature = self
            .0
            .sign(&SystemRandom::new(), message)
            .map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signature.as_ref().to_vec())
    }
}
