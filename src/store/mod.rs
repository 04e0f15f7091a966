//! Floor 2: where secrets are read from.
//!
//! A secret is read when it is needed and kept by nobody here. Errors name the variable or file,
//! never the content.

mod bus;
mod env;
mod file;
pub mod helper;
mod kernel_keyring;
mod keyring;
mod keyring_error;
pub mod logins;
mod platform;
mod replace;
mod systemd;
pub mod watch;

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

use crate::config::SecretSource;
use crate::model::secret::Secret;
use helper::HelperError;
pub use kernel_keyring::KernelKeyringError;
pub use keyring_error::KeyringError;

pub use platform::close_inherited;

/// The longest secret that is taken, in bytes.
pub const MAX_SECRET: usize = 64 * 1024;

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It holds something other than printable ASCII (RFC 6749 appendix A.2), a line break or NUL
    /// for instance: it could break out of a header.
    #[error("the secret in {0} holds bytes other than printable ASCII")]
    Bytes(Place),
    /// There is nothing in it.
    #[error("the secret in {0} is empty")]
    Empty(Place),
    /// The program that should print it did not.
    #[error("cannot read the secret in {0}: {1}")]
    Helper(Place, #[source] HelperError),
    /// The keyring does not give it.
    #[error("cannot read the secret in {0}: {1}")]
    Keyring(Place, KeyringError),
    /// There is no such variable or file, or it may not be read.
    #[error("cannot read the secret in {0}")]
    Unreadable(Place, #[source] io::Error),
    #[error("the secret in {0} is longer than {MAX_SECRET} bytes")]
    TooLong(Place),
    /// The new secret is the old one.
    #[error("the new secret is the one that is already in {0}")]
    Unchanged(Place),
    /// The variable is not set.
    #[error("{0} is not set")]
    Unset(Place),
    /// The new secret cannot be put there.
    #[error("cannot write the secret to {0}")]
    Unwritable(Place, #[source] io::Error),
}

/// Where a secret should have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An environment variable of ours.
    Env(String),
    File(PathBuf),
    Exec(PathBuf),
    /// Bytes that were handed in, as over stdin.
    Input,
    /// An item of the keyring.
    Keyring(String),
    /// A credential that systemd hands over.
    Systemd(String),
}

/// A secret that others of this machine may read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` can be read by group or others (mode {mode:04o})", path.display())]
pub struct Loose {
    pub path: PathBuf,
    pub mode: u32,
}

impl StoreError {
    /// The stable word for `check` and `status`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bytes(_) => "secret-invalid",
            Self::Empty(_) => "secret-empty",
            Self::Helper(_, error) => error.code(),
            Self::Keyring(_, error) => error.code(),
            Self::TooLong(_) => "secret-too-long",
            Self::Unreadable(..) => "secret-unreadable",
            Self::Unchanged(_) => "secret-unchanged",
            Self::Unset(_) => "secret-unset",
            Self::Unwritable(..) => "secret-unwritable",
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::Bytes(_) => {
                "store the bare value; one trailing newline is dropped, no other byte is"
            }
            Self::Empty(_) => "write the secret into it",
            Self::Helper(_, error) => error.hint(),
            Self::Keyring(_, error) => error.hint(),
            Self::TooLong(_) => "check that the source is the secret and not something else",
            Self::Unreadable(..) => "check the path and its permissions",
            Self::Unchanged(_) => "make a new key at its provider first",
            Self::Unwritable(..) => "the file and its directory must be there and writable",
            Self::Unset(Place::Systemd(_)) => {
                "add LoadCredential= to the unit; a daemon that `run` starts has no such credentials"
            }
            Self::Unset(_) => "set it in the environment that starts the daemon",
        }
    }
}

impl Loose {
    pub fn hint(&self) -> String {
        format!("chmod 600 {}", self.path.display())
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable `{name}`"),
            Self::File(path) => write!(f, "the file `{}`", path.display()),
            Self::Exec(path) => write!(f, "what `{}` prints", path.display()),
            Self::Input => f.write_str("what was handed in"),
            Self::Keyring(name) => write!(f, "the keyring's item `{name}`"),
            Self::Systemd(name) => write!(f, "the systemd credential `{name}`"),
        }
    }
}

/// Reads a secret of one line. Blocks on files: call it where that may be.
pub fn read(source: &SecretSource) -> Result<Secret, StoreError> {
    one_line(read_key(source)?, place(source))
}

/// Reads a key or certificate, which may have many lines: it goes to a parser, never into a header.
/// Blocks as [`read`] does.
pub fn read_key(source: &SecretSource) -> Result<Secret, StoreError> {
    match source {
        SecretSource::Env(name) => env::read(name, std::env::var_os(name)),
        SecretSource::File(path) => file::read(path),
        SecretSource::Exec(helper) => printed(source, helper::run_here(helper)),
        SecretSource::Keyring(name) => keyring::read(name),
        SecretSource::Systemd(name) => systemd::read(name),
    }
}

/// As [`read`], where others must not be held up. Dropping the future ends a program that is asked.
pub async fn read_soon(source: &SecretSource) -> Result<Secret, StoreError> {
    one_line(read_key_soon(source).await?, place(source))
}

/// As [`read_key`], in the way of [`read_soon`].
pub async fn read_key_soon(source: &SecretSource) -> Result<Secret, StoreError> {
    if let SecretSource::Exec(helper) = source {
        return printed(source, helper::run(helper, &[], &[]).await);
    }
    let owned = source.clone();
    // A file may lie on a slow disk.
    match tokio::task::spawn_blocking(move || read_key(&owned)).await {
        Ok(result) => result,
        // The runtime is going down.
        Err(error) => Err(StoreError::Unreadable(place(source), io::Error::other(error))),
    }
}

/// What a program printed as a secret.
fn printed(
    source: &SecretSource,
    printed: Result<Zeroizing<Vec<u8>>, HelperError>,
) -> Result<Secret, StoreError> {
    match printed {
        Ok(printed) => checked(without_newline(printed), place(source)),
        Err(error) => Err(StoreError::Helper(place(source), error)),
    }
}

fn place(source: &SecretSource) -> Place {
    match source {
        SecretSource::Env(name) => Place::Env(name.clone()),
        SecretSource::File(path) => Place::File(path.clone()),
        SecretSource::Exec(helper) => Place::Exec(helper.program.clone()),
        SecretSource::Keyring(name) => Place::Keyring(name.clone()),
        SecretSource::Systemd(name) => Place::Systemd(name.clone()),
    }
}

/// Puts a new secret into the file of an old one, with one trailing newline dropped and one
/// written.
pub fn replace(path: &Path, bytes: Zeroizing<Vec<u8>>) -> Result<(), StoreError> {
    replace::replace(path, bytes)
}

/// Since when a secret has been what it is, where that can be seen.
pub fn changed(source: &SecretSource) -> Option<SystemTime> {
    match source {
        SecretSource::File(path) => std::fs::metadata(path).ok()?.modified().ok(),
        SecretSource::Env(_)
        | SecretSource::Exec(_)
        | SecretSource::Keyring(_)
        | SecretSource::Systemd(_) => None,
    }
}

/// What should be said aloud about a source, although it works.
pub fn loose(source: &SecretSource) -> Option<Loose> {
    match source {
        SecretSource::Env(_)
        | SecretSource::Exec(_)
        | SecretSource::Keyring(_)
        | SecretSource::Systemd(_) => None,
        SecretSource::File(path) => file::loose(path),
    }
}

/// Without one trailing `\n` or `\r\n`, which editors, `echo` and most programs leave.
pub fn without_newline(mut bytes: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

/// The rules for every source.
fn checked(mut bytes: Zeroizing<Vec<u8>>, place: Place) -> Result<Secret, StoreError> {
    if bytes.is_empty() {
        return Err(StoreError::Empty(place));
    }
    if bytes.len() > MAX_SECRET {
        return Err(StoreError::TooLong(place));
    }
    if !bytes.iter().all(|byte| matches!(byte, 0x20..=0x7e | b'\t' | b'\r' | b'\n')) {
        return Err(StoreError::Bytes(place));
    }
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}

/// The further rule for what may get into a header.
fn one_line(secret: Secret, place: Place) -> Result<Secret, StoreError> {
    if secret.expose().iter().all(|byte| (0x20..=0x7e).contains(byte)) {
        Ok(secret)
    } else {
        Err(StoreError::Bytes(place))
    }
}
