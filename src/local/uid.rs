//! [`Uid`]: a user of this machine that the kernel really named.

mod platform;

use std::sync::OnceLock;

/// A user of this machine. Never the overflow uid of a user namespace: every user that the
/// namespace does not know reads as that one (user_namespaces(7)), so it is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(u32);

impl Uid {
    /// `None` for the overflow uid, where that may stand for any user.
    pub fn known(raw: u32) -> Option<Self> {
        (overflow() != Some(raw)).then_some(Self(raw))
    }

    /// Whom this process acts as; `None`: its user cannot be told from others here.
    pub fn own() -> Option<Self> {
        Self::known(rustix::process::geteuid().as_raw())
    }

    /// Whether this process acts as it.
    pub fn is_ours(self) -> bool {
        Self::own() == Some(self)
    }

    /// Whether it may do anything here anyway: being wary of it protects nobody.
    pub fn is_root(self) -> bool {
        self.0 == 0
    }

    pub fn raw(self) -> u32 {
        self.0
    }
}

/// Whether a uid of the kernel's is ours, beyond doubt.
pub fn is_ours(raw: u32) -> bool {
    Uid::known(raw).is_some_and(Uid::is_ours)
}

/// The uid that stands for unknown users; `None` where all users are known.
pub(super) fn overflow() -> Option<u32> {
    static OVERFLOW: OnceLock<Option<u32>> = OnceLock::new();
    *OVERFLOW.get_or_init(platform::overflow_uid)
}

/// Whether anybody but `owner` and root may be in a group: a directory service may know of more
/// than the files.
pub(super) fn is_shared(gid: u32, owner: u32) -> bool {
    platform::is_shared(gid, owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_ourselves() {
        let own = rustix::process::geteuid().as_raw();
        assert_eq!(is_ours(own), overflow() != Some(own));
        assert!(!is_ours(own + 1));
        assert!(Uid::known(0).is_some_and(Uid::is_root));
    }
}
