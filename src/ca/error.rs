//! What can go wrong with the local CA, each with a stable code and a hint.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of the CA. None of them ever leads to a new CA made in silence.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The machine's clock stands before the CA's beginning.
    #[error("the local ca is not valid yet: begins {begins}")]
    Clock {
        /// When it begins, in RFC 3339.
        begins: String,
    },
    /// What is on disk is not what we wrote.
    #[error("the local ca is damaged: {what}: {path}")]
    Corrupt {
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The CA's life is over and no successor has been made.
    #[error("the local ca has expired: ended {ended}")]
    Expired {
        /// When it ended, in RFC 3339.
        ended: String,
    },
    /// Its files have gone away under the daemon that uses it.
    #[error("the files of the local ca are gone: {path}")]
    Gone { path: PathBuf },
    #[error("cannot {doing}: {path}")]
    Io {
        /// A verb and its object.
        doing: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Others may read or write what only we may.
    #[error("mode {mode:04o} is too open: {path}")]
    Loose { path: PathBuf, mode: u32 },
    /// A name that no certificate of ours can carry.
    #[error("not a DNS name: `{name}`")]
    Name {
        /// The name as it was given.
        name: String,
    },
    /// A symbolic link, device or directory where a plain file should be, or the reverse.
    #[error("not a plain file or directory: {path}")]
    NotPlain { path: PathBuf },
    /// A host outside the constraints.
    #[error("the local ca may not sign for this host: `{host}`")]
    OutOfScope { host: String },
    /// It belongs to another user.
    #[error("owned by uid {uid}, not by us: {path}")]
    Owner { path: PathBuf, uid: u32 },
    /// A certificate profile does not parse; only a test or a changed build can see this.
    #[error("certificate profile is wrong: {what}")]
    Profile { what: String },
    /// The random number generator or a key operation failed.
    #[error("the crypto library failed: {doing}")]
    Crypto {
        /// What it was asked for.
        doing: &'static str,
    },
    /// A certificate could not be put together.
    #[error("cannot make a certificate")]
    Sign(#[from] rcgen::Error),
    /// rustls does not take the certificate, key or settings.
    #[error("cannot prepare tls")]
    Tls(#[from] rustls::Error),
}

impl CaError {
    pub fn code(&self) -> &'static str {
        match self {
            Self::Clock { .. } => "ca-not-yet-valid",
            Self::Corrupt { .. } => "ca-corrupt",
            Self::Crypto { .. } => "ca-crypto",
            Self::Expired { .. } => "ca-expired",
            Self::Gone { .. } => "ca-gone",
            Self::Io { .. } => "ca-io",
            Self::Loose { .. } => "ca-permissions",
            Self::Name { .. } => "ca-name",
            Self::NotPlain { .. } => "ca-not-plain",
            Self::OutOfScope { .. } => "ca-out-of-scope",
            Self::Owner { .. } => "ca-owner",
            Self::Profile { .. } => "ca-profile",
            Self::Sign(_) => "ca-sign",
            Self::Tls(_) => "ca-tls",
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Self::Clock { .. } => "set the machine's clock, or run `valetkey ca rotate`",
            Self::Corrupt { .. } => {
                "restore the CA directory from a copy, or remove it to begin anew (clients then have to trust the new root)"
            }
            Self::Expired { .. } => "run `valetkey ca rotate`, or restart the daemon",
            Self::Gone { .. } => {
                "restore the CA directory from a copy, or restart the daemon to begin anew (clients then have to trust the new root)"
            }
            Self::Io { .. } => "check that the disk has room and that the directory is ours",
            Self::Loose { .. } => {
                "chmod 700 the directory and 600 the key; if others could read the key, run `valetkey ca rotate --compromised`"
            }
            Self::Name { .. } => "routes and `ca.permit` take DNS names, not addresses or patterns",
            Self::NotPlain { .. } => "put a real directory with plain files there, no links",
            Self::OutOfScope { .. } => {
                "name the host in a route or its domain in `ca.permit`, then reload"
            }
            Self::Owner { .. } => {
                "run valetkey as the owner, or give it a state directory of its own"
            }
            Self::Crypto { .. } | Self::Profile { .. } | Self::Sign(_) | Self::Tls(_) => {
                "this is a bug in valetkey; please report it"
            }
        }
    }

    pub(super) fn io(doing: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { doing, path: path.to_owned(), source: source.into() }
    }

    pub(super) fn corrupt(path: &Path, what: &'static str) -> Self {
        Self::Corrupt { path: path.to_owned(), what }
    }
}
