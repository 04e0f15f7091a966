//! [`Secret`]: the one type for bytes that nobody may read by accident.
//!
//! Silent in `Debug` and `Display`, not serialisable, wiped on drop. `expose()` is called in
//! the handful of files where bytes must leave (`lib.rs` names them); comparing and
//! fingerprinting are methods here so that they never need it.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{constant_time, digest, hmac};
use zeroize::Zeroizing;

use super::hex::hex;

/// Long-lived or minted bytes that must not appear in logs, errors, argv or environment.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of the bytes; the caller keeps no copy.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// 32 random bytes, base64url without padding (43 characters, 256 bits).
    pub fn random() -> Self {
        Self::new(super::id::random_text())
    }

    /// The bytes themselves. Only the files named in `lib.rs` call this.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Hands a session's secret, which is base64url, to whoever opened the session.
    pub fn into_text(self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in time that depends on the lengths only.
    pub fn matches(&self, other: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.0, other).is_ok()
    }

    /// How many such bytes stand in a row in it, at most.
    pub fn longest_row(&self, of: impl Fn(&u8) -> bool) -> usize {
        self.0.split(|byte| !of(byte)).map(<[u8]>::len).max().unwrap_or_default()
    }

    /// Whether every byte may stand in an HTTP field value without being a separator or
    /// white space: visible ASCII (RFC 9110 section 5.5, `VCHAR`).
    pub fn is_visible_ascii(&self) -> bool {
        self.0.iter().all(|b| (0x21..=0x7e).contains(b))
    }

    /// SHA-256 of the bytes, to keep in place of a high-entropy secret that only has to be
    /// recognised.
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, &self.0).as_ref());
        hash
    }

    /// A name for a high-entropy value (a minted token): the first 16 bytes of its SHA-256.
    /// Whoever holds the token can compute it, nobody can go back.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_digest("sha256:", &self.sha256())
    }

    /// A name for a value that might be guessable (a static key): HMAC-SHA-256 under a key
    /// that stays in the state directory.
    pub fn keyed_fingerprint(&self, key: &Secret) -> Fingerprint {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key.0);
        Fingerprint::from_digest("hmac-sha256:", hmac::sign(&key, &self.0).as_ref())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// A short, stable, irreversible name for a secret, fit for logs: `sha256:` and 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(Arc<str>);

impl Fingerprint {
    fn from_digest(prefix: &str, digest: &[u8]) -> Self {
        Self(format!("{prefix}{}", hex(&digest[..16])).into())
    }

    /// The text, as it stands in audit records.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_silent() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "**** **** Some(****)");
    }

    #[test]
    fn fingerprints_are_stable_and_differ() {
        let secret = Secret::new("abc");
        assert_eq!(secret.fingerprint().as_str(), "sha256:ba7816bf8f01cfea414140de5dae2223");
        assert_ne!(secret.keyed_fingerprint(&Secret::new("k")), secret.fingerprint());
    }

    #[test]
    fn compares() {
        assert!(Secret::new("a").matches(b"a"));
        assert!(!Secret::new("a").matches(b"b"));
        assert!(!Secret::new("a").matches(b"ab"));
    }
}
