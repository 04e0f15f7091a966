//! The keys that refresh tokens of public clients are bound to (RFC 9449 section 5): in the
//! kernel's keyring, whatever protects the refresh token, and so on no disk. Without its key nobody
//! can use a refresh token, we included.

use zeroize::Zeroizing;

use super::{Entry, Locked, Login, LoginsError, item};
use crate::store::kernel_keyring::{self, KernelKeyringError};

/// Why a login ended whose key is gone: a stable word.
pub const KEY_GONE: &str = "login-key-gone";

/// The key of a login, and its name.
pub struct BoundKey {
    /// By which the login names it.
    pub thumbprint: String,
    pub key: Zeroizing<Vec<u8>>,
}

impl Entry {
    /// Whether a key could be kept now: before a person is sent off to log in.
    pub fn keeps_keys(&self) -> Result<(), LoginsError> {
        kernel_keyring::ready().map_err(LoginsError::Bound)
    }

    /// The key of this name. `None`: the kernel has forgotten it, as it does when the machine goes
    /// down.
    pub fn bound_key(&self, thumbprint: &str) -> Result<Option<Zeroizing<Vec<u8>>>, LoginsError> {
        kernel_keyring::get(&self.key_name(thumbprint)).map_err(LoginsError::Bound)
    }

    /// A login as it is of use: without its key its refresh token is of none.
    pub(super) fn with_key(&self, mut login: Login) -> Login {
        let gone = |thumbprint: &str| matches!(self.bound_key(thumbprint), Ok(None));
        if login.refresh.is_some() && login.bound_to.as_deref().is_some_and(gone) {
            login.refresh = None;
            login.ended = Some(KEY_GONE.to_owned());
        }
        login
    }

    fn key_name(&self, thumbprint: &str) -> String {
        format!("{}:{thumbprint}", item::description(self))
    }
}

impl Locked {
    /// Stores a new login, with the key that it is bound to. The key first, under a name of its
    /// own, and the one before it goes last: a kill at any point leaves a login with its key.
    pub fn begin(
        &mut self,
        login: &Login,
        bound: Option<&BoundKey>,
    ) -> Result<super::Protection, LoginsError> {
        let before = self.read().ok().flatten().and_then(|login| login.bound_to);
        if let Some(bound) = bound {
            let name = self.entry.key_name(&bound.thumbprint);
            kernel_keyring::put(&name, bound.key.clone(), None).map_err(LoginsError::Bound)?;
        }
        let protection = self.write(login)?;
        if before != login.bound_to {
            self.forget_key(before.as_deref());
        }
        Ok(protection)
    }

    /// Forgets the key of a login that is over. One that stays is of no use to anybody.
    pub fn forget_key(&self, thumbprint: Option<&str>) {
        let forgotten = thumbprint
            .map_or(Ok(()), |thumbprint| kernel_keyring::delete(&self.entry.key_name(thumbprint)));
        if let Err(error) = forgotten {
            tracing::warn!(code = error.code(), "the key of a login that is over stays: {error}");
        }
    }
}

/// What to do where such a key cannot be kept.
pub(super) fn hint(error: KernelKeyringError) -> &'static str {
    match error {
        KernelKeyringError::Unavailable => {
            "containers mostly forbid it: let their seccomp profile allow add_key and keyctl, or log in outside; or register the client as a confidential one (`client_secret`, `auth`), whose refresh token is bound to no key"
        }
        error => error.hint(),
    }
}
