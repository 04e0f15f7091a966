//! The form of a stored login: a line that anybody may read, then what is encrypted (AES-256-GCM,
//! which vouches for the first line as well).

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::Whose;
use super::key::Key;
use super::protection::Protection;
use crate::model::id::CredentialName;

#[derive(Serialize, Deserialize)]
struct Head {
    valetkey_login: u32,
    protected_by: Protection,
    note: String,
    issuer: String,
    client: String,
    credential: String,
}

/// A stored login, not yet opened.
pub(super) struct Sealed {
    pub(super) protection: Protection,
    head: Head,
    line: Vec<u8>,
    sealed: Zeroizing<Vec<u8>>,
}

impl Sealed {
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = text.split_at(end);
        let head: Head = serde_json::from_slice(line)
            .ok()
            .filter(|head: &Head| head.valetkey_login == VERSION)?;
        let sealed = STANDARD.decode(rest.trim_ascii()).ok()?;
        Some(Self {
            protection: head.protected_by,
            head,
            line: line.to_vec(),
            sealed: Zeroizing::new(sealed),
        })
    }

    /// Whose it says that it is.
    pub(super) fn whose(&self) -> Whose {
        Whose {
            issuer: self.head.issuer.clone(),
            client: self.head.client.clone(),
            credential: CredentialName::new(self.head.credential.as_str()),
        }
    }

    /// Whether it stands in its own place.
    pub(super) fn is_of(&self, whose: &Whose) -> bool {
        let head = &self.head;
        head.issuer == whose.issuer
            && head.client == whose.client
            && head.credential == whose.credential.as_str()
    }

    pub(super) fn open(&self, key: &Key) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = self.sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, key.bytes()).ok()?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let length = key.open_in_place(nonce, Aad::from(&self.line), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

/// The whole text of a file. `None`: the library refused the key, which has the right length
/// always.
pub(super) fn seal(
    whose: &Whose,
    protection: Protection,
    key: &Key,
    mut plain: Zeroizing<Vec<u8>>,
) -> Option<Vec<u8>> {
    let line = head(whose, protection)?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, key.bytes()).ok()?;
    let nonce = key.seal_in_place_append_tag(Aad::from(&line), &mut *plain).ok()?;
    let mut sealed = nonce.as_ref().to_vec();
    sealed.extend_from_slice(&plain);
    let mut text = line;
    text.push(b'\n');
    text.extend_from_slice(STANDARD.encode(sealed).as_bytes());
    text.push(b'\n');
    Some(text)
}

/// A file with nothing in it but the line that says where the login is.
pub(super) fn bare(whose: &Whose, protection: Protection) -> Option<Vec<u8>> {
    let mut text = head(whose, protection)?;
    text.push(b'\n');
    Some(text)
}

fn head(whose: &Whose, protection: Protection) -> Option<Vec<u8>> {
    let head = Head {
        valetkey_login: VERSION,
        protected_by: protection,
        note: protection.note().to_owned(),
        issuer: whose.issuer.clone(),
        client: whose.client.clone(),
        credential: whose.credential.to_string(),
    };
    serde_json::to_vec(&head).ok()
}

const VERSION: u32 = 1;
