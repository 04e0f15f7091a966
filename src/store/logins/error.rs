//! [`LoginsError`]: why a login cannot be read or written, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::store::{KernelKeyringError, KeyringError};

/// Why a login cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LoginsError {
    /// The key that it is bound to cannot be kept, or not be had.
    #[error(
        "the refresh token of this client is bound to a key (DPoP) that only the kernel's keyring may keep: {0}"
    )]
    Bound(KernelKeyringError),
    /// Another process has held it for too long.
    #[error("another process has been using the login for too long: {}", .0.display())]
    Busy(PathBuf),
    /// It is not what was written, or the key is another.
    #[error("the stored login cannot be decrypted: {}", .0.display())]
    Damaged(PathBuf),
    /// The file with its key is gone.
    #[error("the key of the stored login is gone: {}", .0.display())]
    Key(PathBuf),
    /// The kernel's keyring does not give it, or does not take it.
    #[error("the login is to be kept in the kernel's keyring: {0}")]
    Kernel(#[from] KernelKeyringError),
    /// The keyring does not give it, or does not take it.
    #[error("the login is to be kept in the keyring: {0}")]
    Keyring(#[from] KeyringError),
    /// Others may read or change it.
    #[error("{} must belong to us, with mode 0700 or 0600", .0.display())]
    Unsafe(PathBuf),
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
}

impl LoginsError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Bound(error) | Self::Kernel(error) => error.code(),
            Self::Busy(_) => "login-busy",
            Self::Damaged(_) => "login-damaged",
            Self::Key(_) => "login-key-unavailable",
            Self::Keyring(error) => error.code(),
            Self::Unsafe(_) => "login-store-unsafe",
            Self::Unreadable { .. } => "login-store-unreadable",
            Self::Unwritable { .. } => "login-store-unwritable",
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::Bound(error) => super::bound::hint(*error),
            Self::Busy(_) => {
                "repeat it; a stopped `valetkey` process holds the lock until it goes on"
            }
            Self::Damaged(_) => "log in anew: `valetkey login CREDENTIAL` takes its place",
            Self::Key(_) => "bring its key back, or log in anew",
            Self::Kernel(error) => error.hint(),
            Self::Keyring(error) => error.hint(),
            Self::Unsafe(_) => {
                "chmod 700 the directory and 600 what is in it, and see who else was there"
            }
            Self::Unreadable { .. } | Self::Unwritable { .. } => {
                "check disk space and permissions; nothing is spent that could not be stored"
            }
        }
    }
}
