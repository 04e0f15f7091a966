//! Floor 2: where secrets are read from.
//!
//! A secret is read when it is needed and kept by nobody here. Errors name the variable or file,
//! never the content.

mod env;
mod file;

use std::io;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::config::SecretSource;
use crate::model::secret::Secret;

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
    /// There is no such variable or file, or it may not be read.
    #[error("cannot read the secret in {0}")]
    Unreadable(Place, #[source] io::Error),
    /// Longer than [`MAX_SECRET`].
    #[error("the secret in {0} is longer than {MAX_SECRET} bytes")]
    TooLong(Place),
    /// The variable is not set.
    #[error("{0} is not set")]
    Unset(Place),
}

/// Where a secret should have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// An environment variable of ours.
    Env(String),
    /// A file.
    File(PathBuf),
}

/// A secret that others of this machine may read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` can be read by group or others (mode {mode:04o})", path.display())]
pub struct Loose {
    /// The file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

impl StoreError {
    /// The stable word for `check` and `status`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bytes(_) => "secret-invalid",
            Self::Empty(_) => "secret-empty",
            Self::TooLong(_) => "secret-too-long",
            Self::Unreadable(..) => "secret-unreadable",
            Self::Unset(_) => "secret-unset",
        }
    }

    /// What to do next.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Bytes(_) => {
                "store the bare value; one trailing newline is dropped, no other byte is"
            }
            Self::Empty(_) => "write the secret into it",
            Self::TooLong(_) => "check that the source is the secret and not something else",
            Self::Unreadable(..) => "check the path and its permissions",
            Self::Unset(_) => "set it in the environment that starts the daemon",
        }
    }
}

impl Loose {
    /// What to do next.
    pub fn hint(&self) -> String {
        format!("chmod 600 {}", self.path.display())
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable `{name}`"),
            Self::File(path) => write!(f, "the file `{}`", path.display()),
        }
    }
}

/// Reads a secret. Blocks on files: call it where that may be.
pub fn read(source: &SecretSource) -> Result<Secret, StoreError> {
    match source {
        SecretSource::Env(name) => env::read(name, std::env::var_os(name)),
        SecretSource::File(path) => file::read(path),
    }
}

/// Reads a secret on a thread that may block: a file may lie on a slow disk.
pub async fn read_soon(source: &SecretSource) -> Result<Secret, StoreError> {
    let owned = source.clone();
    match tokio::task::spawn_blocking(move || read(&owned)).await {
        Ok(result) => result,
        // The runtime is going down.
        Err(error) => Err(StoreError::Unreadable(place(source), io::Error::other(error))),
    }
}

fn place(source: &SecretSource) -> Place {
    match source {
        SecretSource::Env(name) => Place::Env(name.clone()),
        SecretSource::File(path) => Place::File(path.clone()),
    }
}

/// What should be said aloud about a source, although it works.
pub fn loose(source: &SecretSource) -> Option<Loose> {
    match source {
        SecretSource::Env(_) => None,
        SecretSource::File(path) => file::loose(path),
    }
}

/// The rules for every source.
fn checked(mut bytes: Zeroizing<Vec<u8>>, place: Place) -> Result<Secret, StoreError> {
    if bytes.is_empty() {
        return Err(StoreError::Empty(place));
    }
    if bytes.len() > MAX_SECRET {
        return Err(StoreError::TooLong(place));
    }
    if !bytes.iter().all(|byte| (0x20..=0x7e).contains(byte)) {
        return Err(StoreError::Bytes(place));
    }
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}
