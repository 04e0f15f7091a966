//! The keyring that the Linux kernel keeps for each user (user-keyring(7)): where logins may rest
//! on machines without a desktop, and the keys that they are bound to.
//!
//! Memory of the kernel, never swapped and on no disk: what is here outlives the daemon and every
//! session of its user, and ends with the machine. Any process of the same user can read it, as
//! with the other places. Each operation has a thread of its own: only so does it reach the user's
//! keyring whatever session it was started in (system units have one that does not lead there), and
//! leaves nothing behind.

use std::time::SystemTime;

use linux_keyutils::{
    Key, KeyError, KeyPermissionsBuilder, KeyRing, KeyRingIdentifier, Permission,
};
use zeroize::Zeroizing;

/// Why the kernel's keyring does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelKeyringError {
    /// It said something that is not understood.
    #[error("the kernel's keyring does not answer as it should (error {0})")]
    Failed(i32),
    /// The user's share of it is used up.
    #[error("the kernel's keyring is full")]
    Full,
    /// More than one key of it holds.
    #[error("the kernel's keyring takes {MAX} bytes at most, and this is longer")]
    TooLong,
    /// It is not to be had here.
    #[error("the kernel's keyring is not to be had here")]
    Unavailable,
}

impl KernelKeyringError {
    pub fn code(self) -> &'static str {
        match self {
            Self::Failed(_) => "kernel-keyring-failed",
            Self::Full => "kernel-keyring-full",
            Self::TooLong => "kernel-keyring-too-long",
            Self::Unavailable => "kernel-keyring-unavailable",
        }
    }

    pub fn hint(self) -> &'static str {
        match self {
            Self::Failed(_) => {
                "see keyctl(2) for the error's number; `cat /proc/keys` shows what is there"
            }
            Self::Full => {
                "/proc/key-users shows what is used: take keys out, or let root raise kernel.keys.maxbytes and kernel.keys.maxkeys"
            }
            Self::TooLong => "`protection = \"key-file\"` of `[logins]` takes longer tokens",
            Self::Unavailable => {
                "containers mostly forbid it: let their seccomp profile allow add_key and keyctl, or run this outside; a login that is bound to no key may take `protection = \"key-file\"` of `[logins]`"
            }
        }
    }
}

/// What the key of this name holds, where there is one.
pub(super) fn get(name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KernelKeyringError> {
    with_ring(name.to_owned(), |ring, name| {
        let Some(key) = find(ring, name)? else { return Ok(None) };
        let mut payload = Zeroizing::new(vec![0; MAX]);
        match key.read(&mut *payload) {
            Ok(length) => {
                payload.truncate(length);
                Ok(Some(payload))
            }
            Err(error) if is_gone(error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    })
}

/// Stores it under this name, in the place of what was there: at once, and whole. `until`: when the
/// kernel forgets it.
pub(super) fn put(
    name: &str,
    payload: Zeroizing<Vec<u8>>,
    until: Option<SystemTime>,
) -> Result<(), KernelKeyringError> {
    if payload.len() > MAX {
        return Err(KernelKeyringError::TooLong);
    }
    with_ring(name.to_owned(), move |ring, name| {
        let key = ring.add_key(name, &**payload)?;
        // Whoever has the user's keyring in his own; the user himself only sees that it is there.
        let possessor = Permission::VIEW
            | Permission::READ
            | Permission::WRITE
            | Permission::SEARCH
            | Permission::SETATTR;
        let permissions = KeyPermissionsBuilder::builder().posessor(possessor);
        key.set_perms(permissions.user(Permission::VIEW).build())?;
        let left = until.map(|until| until.duration_since(SystemTime::now()).unwrap_or_default());
        // 0 would be for ever.
        if let Some(seconds) = left.and_then(|left| usize::try_from(left.as_secs()).ok()) {
            key.set_timeout(seconds.clamp(1, MAX_SECONDS))?;
        }
        Ok(())
    })
}

/// Forgets it, where there is something.
pub(super) fn delete(name: &str) -> Result<(), KernelKeyringError> {
    with_ring(name.to_owned(), |ring, name| {
        let Some(key) = find(ring, name)? else { return Ok(()) };
        // Revoked, it holds nothing at once; unlinked, it would until the kernel sweeps.
        for done in [key.revoke(), ring.unlink_key(key)] {
            match done {
                Err(error) if !is_gone(error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    })
}

/// Whether something could be stored there now.
pub fn ready() -> Result<(), KernelKeyringError> {
    with_ring(String::new(), |_, _| {
        // Into this thread's own, which ends with it.
        let own = KeyRing::from_special_id(KeyRingIdentifier::Thread, true)?;
        own.add_key("valetkey:probe", b"?")?;
        Ok(())
    })
}

fn find(ring: &KeyRing, name: &str) -> Result<Option<Key>, KernelKeyringError> {
    match ring.search(name) {
        Ok(key) => Ok(Some(key)),
        Err(error) if is_gone(error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_gone(error: KeyError) -> bool {
    matches!(error, KeyError::KeyDoesNotExist | KeyError::KeyExpired | KeyError::KeyRevoked)
}

/// Does something with the user's keyring, on a thread that has it in its own.
fn with_ring<T: Send + 'static>(
    name: String,
    work: impl FnOnce(&KeyRing, &str) -> Result<T, KernelKeyringError> + Send + 'static,
) -> Result<T, KernelKeyringError> {
    let thread = std::thread::Builder::new().name("kernel-keyring".into()).spawn(move || {
        let ring = KeyRing::from_special_id(KeyRingIdentifier::User, true)?;
        let own = KeyRing::from_special_id(KeyRingIdentifier::Thread, true)?;
        own.link_keyring(ring)?;
        work(&ring, &name)
    });
    // It ends by a panic only where the library below has a bug.
    thread.map_or(Err(KernelKeyringError::Failed(0)), |thread| {
        thread.join().unwrap_or(Err(KernelKeyringError::Failed(0)))
    })
}

impl From<KeyError> for KernelKeyringError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::QuotaExceeded | KeyError::OutOfMemory => Self::Full,
            KeyError::AccessDenied
            | KeyError::OperationNotSupported
            | KeyError::PermissionDenied
            | KeyError::Unknown(NO_SUCH_CALL) => Self::Unavailable,
            KeyError::Unknown(number) => Self::Failed(number),
            _ => Self::Failed(0),
        }
    }
}

/// Of a key of the type "user" (user-keyring(7)).
const MAX: usize = 32_767;
/// The kernel counts in 32 bits; ten years are as good as for ever.
const MAX_SECONDS: usize = 10 * 365 * 24 * 3600;
/// ENOSYS: a kernel without keyrings, or a sandbox that says so.
const NO_SUCH_CALL: i32 = 38;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::random_text;
    use std::time::Duration;

    fn bytes(text: &[u8]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(text.to_vec())
    }

    #[test]
    fn what_is_stored_is_there_until_it_is_deleted() {
        if ready() == Err(KernelKeyringError::Unavailable) {
            // `tests/it` says so past the captured output, and tests what is said then.
            return;
        }
        let name = format!("valetkey:test:{}", random_text());
        assert!(get(&name).unwrap().is_none());
        put(&name, bytes(b"one"), None).unwrap();
        let long = vec![b'x'; MAX];
        put(&name, bytes(&long), None).unwrap();
        assert_eq!(**get(&name).unwrap().unwrap(), long, "in its place, and the longest there is");
        let longer = bytes(&[&long[..], b"x"].concat());
        assert_eq!(put(&name, longer, None), Err(KernelKeyringError::TooLong));
        put(&name, bytes(b"two"), Some(SystemTime::now() + Duration::from_secs(999))).unwrap();
        let listed = std::fs::read_to_string("/proc/keys").unwrap();
        let line = listed.lines().find(|line| line.contains(&name)).unwrap();
        assert!(line.contains("16m") && line.contains(" 2f010000 "), "{line}");
        assert_eq!(**get(&name).unwrap().unwrap(), *b"two");
        delete(&name).unwrap();
        delete(&name).unwrap();
        assert!(get(&name).unwrap().is_none());
    }
}
