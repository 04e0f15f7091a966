//! A login in a keyring, that of the desktop session or the kernel's: one item, whose secret is the
//! whole record.
//!
//! Before the record stands a key, a new one with each write. Where the keyring does not take a
//! renewed login (it was locked meanwhile, or is full), its file does, encrypted with the key of
//! the item that is there: nothing is lost, and nobody reads it without the keyring. What an older
//! write left in the file no later key opens.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::key::Key;
use super::record::{self, Login};
use super::{Entry, LoginsError, MAX_FILE};
use crate::model::hex::hex;
use crate::store::kernel_keyring;
use crate::store::keyring::{self, Attributes};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ring {
    Desktop,
    Kernel,
}

/// What is there. `None`: the kernel has forgotten it, as it does when the machine goes down.
pub(super) fn find(entry: &Entry, ring: Ring) -> Result<Option<(Login, Key)>, LoginsError> {
    let text = match ring {
        Ring::Desktop => keyring::get(attributes(entry))?,
        Ring::Kernel => match kernel_keyring::get(&description(entry))? {
            Some(text) => text,
            None => return Ok(None),
        },
    };
    let end = text.iter().position(|byte| *byte == b'\n').ok_or_else(|| entry.damaged())?;
    let (key, plain) = text.split_at(end);
    let key = STANDARD.decode(key).ok().map(Zeroizing::new);
    let key = key.and_then(|key| Key::of(&key)).ok_or_else(|| entry.damaged())?;
    let login = record::read(plain).ok_or_else(|| entry.damaged())?;
    Ok(Some((login, key)))
}

/// Stores it, in the place of what was there, with the key that this returns.
pub(super) fn put(entry: &Entry, ring: Ring, login: &Login) -> Result<Key, LoginsError> {
    let key = Key::random();
    // Full size from the start: a buffer that grows leaves copies behind that nobody wipes.
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_FILE as usize));
    text.extend_from_slice(Zeroizing::new(STANDARD.encode(key.bytes())).as_bytes());
    text.push(b'\n');
    text.extend_from_slice(&record::write(login));
    match ring {
        Ring::Desktop => {
            let label = format!("Valetkey: `{}` at {}", entry.whose.credential, entry.whose.issuer);
            keyring::put(label, attributes(entry), text)?;
        }
        Ring::Kernel => kernel_keyring::put(&description(entry), text, login.until)?,
    }
    Ok(key)
}

pub(super) fn delete(entry: &Entry, ring: Ring) -> Result<(), LoginsError> {
    match ring {
        Ring::Desktop => Ok(keyring::delete(attributes(entry))?),
        Ring::Kernel => Ok(kernel_keyring::delete(&description(entry))?),
    }
}

/// Of one directory: others on this machine may keep a login of the same name, and each has its
/// own.
fn attributes(entry: &Entry) -> Attributes {
    let (dir, name) = place(entry);
    vec![("application", "valetkey".to_owned()), ("logins", dir), ("login", name)]
}

/// The same for the kernel. Anybody may see it who looks into /proc/keys.
pub(super) fn description(entry: &Entry) -> String {
    let (dir, name) = place(entry);
    format!("valetkey:{dir}:{name}")
}

fn place(entry: &Entry) -> (String, String) {
    // It is there by now, unless somebody has just removed it.
    let dir = fs::canonicalize(&entry.dir).unwrap_or_else(|_| entry.dir.clone());
    let dir = hex(&digest(&SHA256, dir.as_os_str().as_bytes()).as_ref()[..16]);
    let name = entry.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    (dir, name)
}
