//! What keeps a login, and how that is said to whoever has just logged in or opens its file.

use serde::{Deserialize, Serialize};

use super::item::Ring;

/// What keeps a login, or the key that it is encrypted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// The kernel's keyring, which holds the login itself.
    KernelKeyring,
    /// A file beside the logins.
    KeyFile,
    /// The keyring of the desktop session, which holds the login itself.
    Keyring,
}

impl Protection {
    /// As it stands in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KernelKeyring => "kernel-keyring",
            Self::KeyFile => "key-file",
            Self::Keyring => "keyring",
        }
    }

    /// What that means, for whoever opens the file.
    pub fn note(self) -> &'static str {
        match self {
            Self::KernelKeyring => {
                "the login is in the kernel's keyring of this user until the machine goes down; what may stand below is encrypted with a key that is there too"
            }
            Self::KeyFile => {
                "a refresh token, encrypted with the key in the file `key` beside it (mode 0600): whoever reads both can use it"
            }
            Self::Keyring => {
                "the login is in the keyring of the desktop session; what may stand below is encrypted with a key that is there too"
            }
        }
    }

    /// How a login is kept, for whoever has just logged in.
    pub fn kept(self) -> &'static str {
        match self {
            Self::KernelKeyring => "kept in the kernel's keyring until the machine goes down",
            Self::KeyFile => "kept encrypted, the key in the key file",
            Self::Keyring => "kept in the keyring",
        }
    }

    /// Where the login itself is, when its file only says so.
    pub(super) fn ring(self) -> Option<Ring> {
        match self {
            Self::KernelKeyring => Some(Ring::Kernel),
            Self::KeyFile => None,
            Self::Keyring => Some(Ring::Desktop),
        }
    }
}
