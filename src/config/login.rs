//! The grants in which a person logs in, and where their logins are kept.

use std::path::PathBuf;

use super::{Oauth, SecretSource};

/// `[logins]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logins {
    /// The directory; configs that name the same one share their logins.
    pub dir: PathBuf,
}

/// `grant = "refresh-token"` (RFC 6749 section 6)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshToken {
    /// Where it is spent.
    pub oauth: Oauth,
    /// The first one; those that come after it are kept with the logins.
    pub first: SecretSource,
}
